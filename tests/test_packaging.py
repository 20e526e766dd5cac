"""What is installed is what stands in the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pyimount
from pyimount.layers import SCHEMA

TOP = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built as pip builds it."""
    target = tmp_path_factory.mktemp("wheel")
    copy = tmp_path_factory.mktemp("tree") / "pyimount"
    # From a copy: setuptools leaves a build folder behind.
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        source, place = TOP / name, copy / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            place.symlink_to(source.readlink())
        elif source.is_file():
            place.write_bytes(source.read_bytes())
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
    assert {name.split("/")[0] for name in wheel.namelist()} == {
        "pyimount",
        f"pyimount-{pyimount.__version__}.dist-info",
    }


def test_the_schema_number_is_the_schema_files() -> None:
    import json

    schema = json.loads((TOP / "pyimount/reports/schema.json").read_text())
    assert schema["properties"]["schema"]["const"] == SCHEMA
