"""What lists a whole group is told with one member: reports grow with members, not with their square."""

import json
from pathlib import Path

import pytest

import pyimount
from pyimount.layers import Scan
from pyimount.parsers.volumes import lvm2, lvm2_text
from tests.mapping.lvm2_groups import group_text, linear, lv_text, pv_image, pv_text


def _group(folder: Path, count: int, *, seqnos: dict[int, int] | None = None) -> list[Path]:
    pvs = [pv_text(number) for number in range(count)]
    volumes = [lv_text(f"lv{number}", [linear(3, f"pv{number}", 0)]) for number in range(count)]
    paths = []
    for number in range(count):
        text = group_text(volumes, pvs, seqno=(seqnos or {}).get(number, 1))
        paths.append(folder / f"pv{number}.img")
        paths[-1].write_bytes(pv_image(number, text))
    return paths


def _members(scan: Scan) -> list[pyimount.VolumeLayer]:
    return [volume for volume in scan.volumes if volume.type == "LVM2_member"]


def test_one_member_tells_what_is_in_the_group_and_the_others_name_it(tmp_path: Path) -> None:
    first, *others = _members(pyimount.detect(_group(tmp_path, 4)))
    alone = pyimount.detect(tmp_path / "pv0.img")["0"]
    assert first.details == alone.details
    assert [entry["name"] for entry in first.details["lvs"]] == ["lv0", "lv1", "lv2", "lv3"]
    for volume in others:
        assert volume.details["told_with"] == first.index
        assert "lvs" not in volume.details
        assert volume.details["vg"] == {
            key: value for key, value in first.details["vg"].items() if key != "pvs"
        }


def test_a_member_that_says_other_things_tells_them_itself(tmp_path: Path) -> None:
    paths = _group(tmp_path, 4)
    other = group_text(
        [lv_text("new", [linear(3, "pv0", 0)])], [pv_text(number) for number in range(4)], seqno=2
    )
    for number in (1, 3):
        paths[number].write_bytes(pv_image(number, other))
    members = _members(pyimount.detect(paths))
    assert [volume.details.get("told_with") for volume in members] == [None, None, "1.0", "2.0"]
    assert [len(volume.details.get("lvs", ())) for volume in members] == [4, 1, 0, 0]


def test_images_that_do_not_belong_together_tell_all(tmp_path: Path) -> None:
    for path in _group(tmp_path, 2):
        assert "told_with" not in pyimount.detect(path)["0"].details


def test_a_text_that_all_have_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(text: bytes) -> lvm2_text.Section:
        read.append(text)
        return lvm2_text.parse_text(text)

    monkeypatch.setattr(lvm2, "parse_text", counted)
    paths = _group(tmp_path, 8)
    lvm2._read.cache_clear()
    pyimount.detect(paths)
    assert len(read) == 1
    # And one too long to be kept is the same each time.
    monkeypatch.setattr(lvm2, "_KEPT_TEXT", 0)
    assert _members(pyimount.detect(paths))[0] == _members(pyimount.detect(paths))[0]
    assert len(read) > 8


def test_a_report_grows_with_the_members(tmp_path: Path) -> None:
    sizes = []
    for count in (16, 32, 64):
        folder = tmp_path / str(count)
        folder.mkdir()
        sizes.append(len(json.dumps(pyimount.detect(_group(folder, count)).to_dict())))
    assert (sizes[2] - sizes[1]) < 2.2 * (sizes[1] - sizes[0])
