"""The manual is made of the docstrings, and has every public name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyimount
from pyimount import exceptions

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
    page = (manual / "pyimount.html").read_text()
    for name in set(pyimount.__all__) - {"__version__"}:
        assert f'id="{name}"' in page
        assert getattr(pyimount, name).__doc__
    interface = (manual / "pyimount" / "imagemounter.html").read_text()
    for name in ("ImageParser", "Disk", "Volume", "VolumeSystem", "Unmounter"):
        kind = getattr(pyimount, name)
        for method in (each for each in vars(kind) if not each.startswith("_")):
            assert f'id="{name}.{method}"' in interface
    errors = (manual / "pyimount" / "exceptions.html").read_text()
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
