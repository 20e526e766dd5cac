"""What is installed is what stands in the checkout."""

import io
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import recipes
from pyimount import dependencies
from pyimount.version import SCHEMA
from releasing.dist import repacked
from releasing.lock import NOT_IN_CI
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


def test_every_dependency_is_locked_by_its_hash() -> None:
    files = sorted((TOP / ".ci").glob("locked*.txt"))
    assert [file.name for file in files] == ["locked-sbom.txt", "locked.txt"]
    lines = {line for file in files for line in file.read_text().splitlines() if not line.startswith("#")}
    form = re.compile(r"([\w.-]+)==\S+ --hash=sha256:[0-9a-f]{64}")
    locked = {re.sub(r"[-_.]+", "-", found[1]) for line in lines if (found := form.fullmatch(line))}
    assert [line for line in lines if form.fullmatch(line) is None] == []
    declared = tomllib.loads((TOP / "pyproject.toml").read_text())
    in_ci = (names for group, names in declared["dependency-groups"].items() if group != NOT_IN_CI)
    groups = [*declared["project"]["optional-dependencies"].values(), *in_ci]
    wanted = [*declared["project"]["dependencies"], *(each for group in groups for each in group)]
    names = {re.split(r"[<>=;\[ ]", each)[0].lower() for each in wanted if isinstance(each, str)}
    lacking = {re.sub(r"[-_.]+", "-", name) for name in names} - locked - {"pyimount"}
    assert lacking == set(), "'make lock' writes .ci/locked.txt anew, on a machine like CI's"


def test_a_source_archive_says_nothing_of_when_and_by_whom_it_was_made(tmp_path: Path) -> None:
    packed = []
    for time, owner, names in ((1, 0, ("a", "b")), (1_700_000_000, 1000, ("b", "a"))):
        path = tmp_path / f"{time}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(f"pyimount-1/{name}")
                member.size, member.mtime, member.uid, member.uname = 1, time, owner, f"user{owner}"
                member.mode = 0o600 if owner else 0o644
                archive.addfile(member, io.BytesIO(name.encode()))
        packed.append(repacked(path, 1_600_000_000))
    assert packed[0] == packed[1]
    with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
        assert [(each.name, each.mode, each.mtime) for each in archive] == [
            ("pyimount-1/a", 0o644, 1_600_000_000),
            ("pyimount-1/b", 0o644, 1_600_000_000),
        ]


def test_ci_installs_every_tool_that_tests_use() -> None:
    installed = set((TOP / ".ci" / "packages").read_text().split())
    # What Debian has on every machine, and what those bring along.
    always = {"bash", "coreutils", "gzip", "tar", "mount", "dmsetup", "libfuse3-3"}
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
