"""What is installed is what stands in the checkout."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import recipes
from pyimount import dependencies
from pyimount.version import SCHEMA
from tests.needing import PACKAGE_OF, PACKAGES, summary

TOP = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built as pip builds it."""
    target = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools leaves a build folder behind, and takes in what an earlier one has.
    copy = tmp_path_factory.mktemp("tree") / "pyimount"
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "images")
    shutil.copytree(TOP, copy, symlinks=True, ignore=left_out)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(copy)],
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_the_wheel_has_every_module(wheel: zipfile.ZipFile) -> None:
    ours = {f"pyimount/{path.relative_to(TOP)}" for path in (TOP / "parsers").rglob("*.py")}
    ours |= {
        str(path.relative_to(TOP))
        for path in (TOP / "pyimount").rglob("*.py")
        if (TOP / "pyimount/parsers") not in path.parents
    }
    theirs = {name for name in wheel.namelist() if name.endswith(".py")}
    assert theirs == ours


def test_the_wheel_has_its_data_and_its_licence(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "pyimount/py.typed" in names
    assert "pyimount/reports/schema.json" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_puts_nothing_else_into_site_packages(wheel: zipfile.ZipFile) -> None:
    own = f"pyimount-{pyimount.__version__}"
    assert {name.split("/")[0] for name in wheel.namelist()} == {
        "pyimount",
        f"{own}.dist-info",
        f"{own}.data",
    }


def test_the_wheel_has_the_manual_and_what_completes_in_shells(wheel: zipfile.ZipFile) -> None:
    """Below the prefix that it is installed to, where man and the shells look."""
    prefix = f"pyimount-{pyimount.__version__}.data/data/"
    shared = {name.removeprefix(prefix) for name in wheel.namelist() if name.startswith(prefix)}
    ours = {str(path.relative_to(TOP)) for path in (TOP / "share").rglob("*") if path.is_file()}
    assert shared == ours


def test_the_schema_number_is_the_schema_files() -> None:
    import json

    schema = json.loads((TOP / "pyimount/reports/schema.json").read_text())
    assert schema["properties"]["schema"]["const"] == SCHEMA


def test_what_the_base_needs_and_what_is_extra() -> None:
    """Without a compiler, and small: numpy alone is as large as twice the rest."""
    declared = tomllib.loads((TOP / "pyproject.toml").read_text())
    base = {re.split(r"[<>=;\[ ]", each)[0] for each in declared["project"]["dependencies"]}
    assert base == {"construct", "cryptography", "google-crc32c", "rich", "shtab"}
    extras = set(declared["project"]["optional-dependencies"])
    (everything,) = declared["project"]["optional-dependencies"]["all"]
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == extras - {"all"}
    named = {each.package for each in dependencies.MODULES if (each.package or "").startswith("pyimount[")}
    assert named == {f"pyimount[{extra}]" for extra in extras - {"all"}}


def test_ci_installs_every_tool_that_tests_use() -> None:
    installed = set((TOP / ".ci" / "packages").read_text().split())
    # What Debian has on every machine, and what those bring along.
    always = {"coreutils", "gzip", "tar", "mount", "dmsetup", "libfuse3-3"}
    assert set(PACKAGES) - installed - always == set()
    used = {tool for recipe in recipes().values() for tool in recipe.tools}
    assert used - PACKAGE_OF.keys() == set()


def test_what_was_skipped_is_summed_up_by_package() -> None:
    reasons = ["not root", "not installed: mkfs.ext4, sfdisk", "not installed: tune2fs", "not root"]
    assert list(summary(reasons)) == [
        "    2  not root",
        "    2  not installed: mkfs.ext4, tune2fs  (apt install e2fsprogs)",
        "    1  not installed: sfdisk  (apt install fdisk)",
    ]
