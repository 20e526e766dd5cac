"""The site has every page and every public name, asks no other host, and shows what the commands answer."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyimount
from docs import manpages
from fixtures.workshop import fixtures
from pyimount import exceptions
from tests.needing import needs

TOP = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manual")
    done = subprocess.run(
        [sys.executable, TOP / "docs" / "make.py", folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=TOP,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_public_name_is_in_it_and_explained(manual: Path) -> None:
    page = (manual / "reference" / "pyimount.html").read_text()
    for name in set(pyimount.__all__) - {"__version__"}:
        assert f'id="{name}"' in page
        assert getattr(pyimount, name).__doc__
    interface = (manual / "reference" / "pyimount" / "imagemounter.html").read_text()
    for name in ("ImageParser", "Disk", "Volume", "VolumeSystem", "Unmounter"):
        kind = getattr(pyimount, name)
        for method in (each for each in vars(kind) if not each.startswith("_")):
            assert f'id="{name}.{method}"' in interface
    errors = (manual / "reference" / "pyimount" / "exceptions.html").read_text()
    for name, kind in vars(exceptions).items():
        if isinstance(kind, type):
            assert f'id="{name}"' in errors


def test_no_markup_is_left_unrendered(manual: Path) -> None:
    for page in manual.rglob("*.html"):
        text = re.sub(r"<(pre|code|style|script)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        assert re.findall(r"``|:param|:class:|:meth:|\n\| ", text) == [], page


def test_the_migration_page_is_a_page(manual: Path) -> None:
    page = (manual / "migration.html").read_text()
    assert "<h1" in page
    assert page.count("<table") >= 4
    statuses = re.findall(r"^\| (\d) \|", (TOP / "docs" / "migration.md").read_text(), re.MULTILINE)
    assert statuses == ["0", "1", "2", "3", "4", "5"]


def test_every_page_is_in_the_site(manual: Path) -> None:
    pages = [path.stem for path in (TOP / "docs").glob("*.md")]
    commands = [f"man/{name}" for name in manpages.commands()]
    lacking = [page for page in (*pages, *commands) if not (manual / f"{page}.html").exists()]
    assert lacking == []
    detect = (manual / "man" / "pyimount-detect.html").read_text()
    assert 'id="options"' in detect
    assert "<p>With --each," in detect


def test_no_page_asks_another_host_for_anything(manual: Path) -> None:
    tags = r"""<(?:link|script|img|iframe)\b[^>]*?\b(?:src|href)=["']"""
    asking = re.compile(rf"""(?:{tags}|@import\s*["']|url\(["']?)(?:https?:)?//""")
    for page in (*manual.rglob("*.html"), *manual.rglob("*.css")):
        assert asking.findall(page.read_text()) == [], page


IMAGES = {
    "disk.img": ("demo", "disk.img"),
    "image.itb": ("u-boot-fit", "image.itb"),
    "stick.E01": ("ewf", "stick.E01"),
    "vault.img": ("luks2", "disk.img"),
}
"""What the examples of the pages call their images: the fixture, and its file."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with them."""
    folder = tmp_path_factory.mktemp("images")
    unpacked = {each.name: each for each in fixtures()}
    for name, (fixture, file) in IMAGES.items():
        apart = tmp_path_factory.mktemp(fixture)
        unpacked[fixture].unpack(apart)
        (apart / file).rename(folder / name)
    return folder


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """In which ``pyimount`` is a command."""
    command = tmp_path / "pyimount"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pyimount "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "PYTHONPATH": str(TOP), "LC_ALL": "C.UTF-8"}


def examples(language: str) -> Iterator[tuple[str, str]]:
    """The blocks of a language in all pages, each with its page."""
    for path in sorted((TOP / "docs").glob("*.md")):
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE):
            yield path.name, found[1]


@pytest.mark.parametrize(("page", "block"), list(examples("console")))
def test_what_a_page_shows_is_what_comes(
    page: str, block: str, images: Path, surroundings: dict[str, str]
) -> None:
    """Lines after ``$`` are run, those below are their answer."""
    needs("bash", *(tool for tool in ("blkid", "jq") if tool in block))
    for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, answer = each.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=True, cwd=images, env=surroundings
        )
        assert done.stdout.rstrip("\n") == answer.rstrip("\n"), f"{page}: {command}"


@pytest.mark.parametrize(("page", "block"), list(examples("python")))
def test_the_programs_of_the_pages_run(
    page: str, block: str, images: Path, surroundings: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block],
        capture_output=True,
        text=True,
        check=False,
        cwd=images,
        env=surroundings,
    )
    assert (done.returncode, done.stderr) == (0, ""), page
    assert done.stdout
