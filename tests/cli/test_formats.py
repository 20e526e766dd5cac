"""``pyimount formats``: the registry, listed."""

import json

import pytest

from pyimount.cli import main
from pyimount.recognition.registry import container_formats, table_formats, volume_formats


def test_every_format_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    declared = [*container_formats(), *table_formats(), *volume_formats()]
    assert [entry["name"] for entry in listed] == [entry.name for entry in declared]
    assert len({entry["name"] for entry in listed}) == len(listed)
    for entry in listed:
        assert entry["title"]
        assert entry["types"]
        assert entry["specification"]


def test_the_list_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats"]) == 0
    out = capsys.readouterr().out
    assert "ext2/ext3/ext4" in out
    assert len(out.splitlines()) == len([*container_formats(), *table_formats(), *volume_formats()])


def test_it_says_what_is_looked_into_and_what_mounts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    mapped = {
        name for name, entry in listed.items() if entry["mapped"] and entry["what"] in ("raid", "crypto")
    }
    assert mapped == {
        "bitlocker", "corestorage", "ddf", "drbd", "isw_raid", "ldm", "luks", "lvm2", "md", "vinum",
        "vmfs_lvm",
    }  # fmt: skip
    assert listed["bcache"]["mapped"]
    recognised = {name for name, entry in listed.items() if "recognised only" in entry["title"]}
    assert recognised == {"7z", "lzop", "rar"}
    assert recognised == {
        name for name, entry in listed.items() if entry["what"] == "container" and not entry["mapped"]
    }
    assert listed["ext"]["mount"] == ["ext4", "(fuse2fs)"]
    assert listed["hfsplus"]["mount"] == ["(hfsplus)"]
    assert listed["zfs"]["mount"] == []
    assert main(["formats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if " LUKS " in line).endswith("crypto_LUKS  mapped")
    assert next(line for line in lines if " NTFS " in line).endswith("mount: ntfs3 (ntfs-3g)")
