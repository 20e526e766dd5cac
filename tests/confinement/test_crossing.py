"""What a child that was taken over says, held against the one table of what may cross."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.workshop import fixtures
from pyimount.confinement import parent
from pyimount.confinement.crossing import question_of, report_of
from pyimount.exceptions import StepFailed
from pyimount.execution import servers
from pyimount.keys import Keyring
from pyimount.sources.broker import Broker
from pyimount.sources.errors import OpenError

IMAGE = "/evidence/disk.img"
FOREIGN = "/etc/shadow"
HOSTILE = (
    FOREIGN,
    "../secret",
    "..",
    "/",
    "bands/../..",
    "bands\0",
    "a\0b",
    "",
    ".",
    "bands/",
    "Bands",
    5,
    None,
    [],
    {},
)


@pytest.mark.parametrize("folder", HOSTILE)
def test_a_folder_is_none_or_one_of_a_closed_list(folder: object) -> None:
    if folder == "":
        return
    for message in (
        {"named": "0", "image": IMAGE, "folder": folder},
        {"names": IMAGE, "folder": folder, "cap": 1},
    ):
        with pytest.raises(OpenError):
            question_of(message, {IMAGE})


@pytest.mark.parametrize("image", HOSTILE)
def test_only_a_file_that_was_opened_is_asked_about(image: object) -> None:
    for message in (
        {"open": image},
        {"named": "0", "image": image, "folder": ""},
        {"names": image, "folder": "", "cap": 1},
    ):
        with pytest.raises(OpenError):
            question_of(message, {IMAGE})


@pytest.mark.parametrize(
    "message",
    [
        None, 5, "open", [], {}, {"open": IMAGE, "named": "x"}, {"close": IMAGE},
        {"named": "", "image": IMAGE, "folder": ""},
        {"named": "a\0b", "image": IMAGE, "folder": ""},
        {"named": "a" * 5000, "image": IMAGE, "folder": ""},
        {"named": ["x"], "image": IMAGE, "folder": ""},
        {"names": IMAGE, "folder": "", "cap": -1},
        {"names": IMAGE, "folder": "", "cap": 1 << 40},
        {"names": IMAGE, "folder": "", "cap": "5"},
        {"names": IMAGE, "folder": "", "cap": True},
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(message: object) -> None:
    with pytest.raises(OpenError):
        question_of(message, {IMAGE})


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "folder/inner", "link", "fifo", "missing", "."])
def test_a_name_leads_to_a_file_beside_the_image_alone(name: str, tmp_path: Path) -> None:
    case = tmp_path / "case"
    (case / "folder").mkdir(parents=True)
    (case / "folder" / "inner").write_text("inside")
    (tmp_path / "secret").write_text("secret")
    (case / "link").symlink_to("../secret")
    os.mkfifo(case / "fifo")
    (case / "disk.img").write_bytes(bytes(512))
    with pytest.raises(OpenError):
        parent._open_found(Broker().resolve(name, str(case / "disk.img")))


def test_a_link_that_was_put_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """Between looking where a name leads and opening it."""
    (tmp_path / "case").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text("secret")
    (tmp_path / "case" / "base.img").symlink_to(tmp_path / "other" / "secret")
    with pytest.raises(OpenError):
        parent._open_found(str(tmp_path / "case" / "base.img"))
    (tmp_path / "case2").symlink_to(tmp_path / "other")
    with pytest.raises(OpenError):
        parent._open_found(str(tmp_path / "case2" / "secret"))


def with_each_string(value: Any, foreign: str) -> Iterator[None]:
    """Each string below ``value`` replaced in turn, and put back."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, each in list(entries):
        if isinstance(each, str):
            value[key] = foreign
            yield
            value[key] = each
        else:
            yield from with_each_string(each, foreign)


def opened_for(report: dict[str, Any], known: set[str]) -> set[str]:
    """The files that root would open to show every layer of a report that was let pass."""
    passed = report_of(copy.deepcopy(report), known)
    return {path for layer in servers._layers(passed["disks"]) for path in servers._paths(layer)}


@pytest.mark.parametrize("name", ["gpt", "qcow2-backing", "vmdk-split", "lvm2-group", "luks2"])
@pytest.mark.parametrize("foreign", [FOREIGN, "../secret", "a\0b"])
def test_a_foreign_path_in_any_string_of_a_report_is_never_opened(
    name: str, foreign: str, tmp_path: Path
) -> None:
    fixture = next(each for each in fixtures() if each.name == name)
    image = fixture.unpack(tmp_path)
    report = json.loads(json.dumps(pyimount.detect(image, keys=Keyring()).to_dict()))
    known = {path for disk in report["disks"] for path in disk["paths"]}
    assert opened_for(report, known) <= known
    tried = refused = 0
    for _ in with_each_string(report, foreign):
        tried += 1
        try:
            assert opened_for(report, known) <= known
        except StepFailed:
            refused += 1
    assert tried > 20
    assert refused >= 2, "the disk's own paths, twice"


@pytest.mark.parametrize(
    "where", ["volume-paths", "volume-header", "deep-paths", "deep-header", "disk-paths", "allow"]
)
def test_a_path_is_looked_for_however_deep_it_stands(where: str) -> None:
    volume: dict[str, Any] = {"recipe": {"kind": "luks", "parameters": {}}, "volumes": []}
    disk: dict[str, Any] = {
        "paths": [IMAGE], "recipe": {"kind": "image", "parameters": {"paths": [IMAGE]}}, "volumes": [volume],
    }  # fmt: skip
    report = {"disks": [disk]}
    assert report_of(report, {IMAGE}, header="/keys/header", allow=["/far"]) == report
    volume["recipe"]["parameters"]["header"] = "/keys/header"
    disk["recipe"]["parameters"]["allow"] = ["/far"]
    assert report_of(report, {IMAGE}, header="/keys/header", allow=["/far"]) == report
    parameters = volume["recipe"]["parameters"]
    match where:
        case "volume-paths":
            parameters["paths"] = [FOREIGN]
        case "volume-header":
            parameters["header"] = FOREIGN
        case "deep-paths":
            parameters["tables"] = {"a": [{"b": {"paths": [FOREIGN]}}]}
        case "deep-header":
            parameters["devices"] = [{"header": FOREIGN}]
        case "allow":
            disk["recipe"]["parameters"]["allow"] = ["/far", "/etc"]
        case "disk-paths":
            disk["paths"] = [IMAGE, FOREIGN]
    with pytest.raises(StepFailed, match="not given"):
        report_of(report, {IMAGE}, header="/keys/header", allow=["/far"])


def test_layers_without_an_end_are_no_report() -> None:
    volume: dict[str, Any] = {"recipe": {"kind": "slice", "parameters": {}}, "volumes": []}
    inner = volume
    for _ in range(500):
        inner = {"recipe": {"kind": "slice", "parameters": {}}, "volumes": [inner]}
    disk = {"paths": [IMAGE], "recipe": {"kind": "image", "parameters": {}}, "volumes": [inner]}
    with pytest.raises(StepFailed):
        report_of({"disks": [disk]}, {IMAGE})
