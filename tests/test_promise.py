"""What docs/promise.md promises is kept: against what each release before wrote down."""

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import pyimount
from docs import manpages, tables
from pyimount import cli
from pyimount.cli import main
from pyimount.problems import Code
from pyimount.version import SCHEMA
from tests.promise import KEPT, RETIRED, broken, promised

RELEASES = sorted(KEPT.glob("*.json"))
DOCS = Path(tables.__file__).parent


def golden(path: Path) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(path.read_text())
    return kept


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return promised()


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_what_a_release_promised_is_there(path: Path, now: dict[str, Any]) -> None:
    gone = [each for each in broken(golden(path), now) if each.removesuffix(" is gone") not in RETIRED]
    assert gone == [], (
        f"pyimount {path.stem} promised this. A release has to warn of what goes before it is taken away "
        "(docs/promise.md); then it stands in RETIRED of tests/promise.py"
    )


def test_the_releases_are_kept() -> None:
    assert RELEASES
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", path.stem) for path in RELEASES)


def volume(changed: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = changed["schema"]["$defs"]["volume"]
    return found


def test_a_field_that_is_taken_away_is_noticed(now: dict[str, Any]) -> None:
    for name in volume(now)["properties"]:
        changed = copy.deepcopy(now)
        del volume(changed)["properties"][name]
        assert list(broken(now, changed)) == [f"schema/volume/{name} is gone"]


def test_what_else_would_break_a_reader_is_noticed(now: dict[str, Any]) -> None:
    changed = copy.deepcopy(now)
    volume(changed)["required"].remove("label")
    volume(changed)["properties"]["size"] = {"type": ["integer", "null", "string"]}
    volume(changed)["properties"]["problems"]["items"] = {"$ref": "#/$defs/candidate"}
    changed["schema"]["$defs"]["problem"]["properties"]["code"]["enum"].remove("locked")
    changed["schema"]["properties"]["schema"]["const"] = "pyimount/2"
    del changed["options"]["pyimount-detect"]["--json"]
    changed["options"]["pyimount-mount"]["--policy"].remove("forensic")
    changed["exit_statuses"]["pyimount-mount"].remove("4")
    changed["names"]["pyimount"].remove("Scan.to_dict")
    changed["arguments"]["detect"].remove("keys")
    changed["codes"].remove("truncated")
    found = list(broken(now, changed))
    assert sorted(found) == [
        "arguments/detect/keys is gone",
        "codes/truncated is gone",
        "exit_statuses/pyimount-mount/4 is gone",
        "names/pyimount/Scan.to_dict is gone",
        "options/pyimount-detect/--json is gone",
        "options/pyimount-mount/--policy/forensic is gone",
        "schema/problem/code: locked is gone",
        "schema/schema was pyimount/1, and is pyimount/2",
        "schema/volume/label may lack",
        "schema/volume/problems was #/$defs/problem, and is #/$defs/candidate",
        "schema/volume/size was integer or null, and may be integer or null or string",
    ]


def test_what_is_added_breaks_nothing(now: dict[str, Any]) -> None:
    changed = copy.deepcopy(now)
    volume(changed)["properties"]["new"] = {"type": "string"}
    volume(changed)["required"].append("new")
    changed["schema"]["$defs"]["problem"]["properties"]["code"]["enum"].append("new")
    changed["options"]["pyimount-new"] = {"--new": []}
    changed["codes"].append("new")
    changed["arguments"]["detect"].append("new")
    assert list(broken(now, changed)) == []


def test_the_codes_in_the_schema_are_those_of_the_code(now: dict[str, Any]) -> None:
    assert now["schema"]["$defs"]["problem"]["properties"]["code"]["enum"] == list(Code)


def test_every_exit_status_is_told_where_it_is_used() -> None:
    """A command's constants are what its help says; pyimount(1) and the promise have all of them."""
    sources = Path(cli.__file__).parent
    named = {"EXIT_USAGE": cli.EXIT_USAGE}
    everywhere = set()
    for name in cli._COMMANDS:
        source = (sources / f"{name.replace('-', '_')}.py").read_text()
        told = set(manpages.statuses(f"pyimount-{name}"))
        used = {number for _, number in re.findall(r"^(EXIT_\w+) = (\d+)$", source, re.MULTILINE)}
        used |= {str(number) for constant, number in named.items() if f"cli.{constant}" in source}
        assert used <= told, f"the help of {name} does not say when it ends with {sorted(used - told)}"
        everywhere |= told
    page = (manpages.SOURCES / "pyimount.md").read_text()
    listed = set(re.findall(r"^- `(\d+)`", page, re.MULTILINE))
    assert listed == everywhere | {str(cli.EXIT_INTERRUPTED)}, "docs/man/pyimount.md lists all of them"


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_the_tables_of_the_pages_are_made_of_the_code(path: Path) -> None:
    page = path.read_text()
    assert tables.filled(page) == page, "'make manual' writes the tables anew"


def test_the_version_names_the_schema_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"pyimount {pyimount.__version__} (reports: {SCHEMA})\n"
