"""``pyimount check``: what is there, what is not, and what would bring it."""

import json

import pytest

from pyimount import cli
from pyimount.cli import check
from pyimount.execution.survey import survey
from pyimount.planning.machine import Machine
from pyimount.planning.policy import POLICIES


def lacking(monkeypatch: pytest.MonkeyPatch, *, library: str | None) -> None:
    machine = Machine(filesystems=frozenset({"ext4", "xfs"}), fuse=True, tools={"mount": "/usr/bin/mount"})
    monkeypatch.setattr(check, "survey", lambda: machine)
    monkeypatch.setattr(check, "fuse_library", lambda: library)


def test_what_is_missing_and_which_package_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking(monkeypatch, library=None)
    assert cli.main(["check"]) == 0
    said = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert "no libfuse3 our own server, for layers as files (apt install libfuse3-3)" in said
    assert "no fusermount3 layers as files without root (apt install fuse3)" in said
    assert "no vmware-mount VMware disks, as asked for (not one of Debian's packages)" in said
    assert "yes mount mounting" in said
    assert "ntfs3 instead: ntfs-3g (ntfs-3g)" in said
    assert "hfsplus" in said
    assert not any(line.startswith("ext4") for line in said)


def test_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lacking(monkeypatch, library="libfuse3.so.3")
    assert cli.main(["check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["libfuse3"] == "libfuse3.so.3"
    assert {"driver": "ntfs3", "instead": ["ntfs-3g"]} in said["missing_filesystems"]
    assert {each["driver"] for each in said["missing_filesystems"]}.isdisjoint({"ext4", "xfs"})


def test_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    machine = survey()
    assert said["filesystems"] == sorted(machine.filesystems)
    assert {each["name"]: each["path"] for each in said["tools"] if each["path"]} == dict(machine.tools)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_data(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [
        "--policy",
        name,
        "--lvm",
        "lvm",
        "--bitlocker",
        "dislocker",
        "--vshadow-mounter",
        "vshadowmount",
    ]
    assert cli.main(["mount", "--show-policy", *chosen, "--allow-fs", "ufs"]) == 0
    said = json.loads(capsys.readouterr().out)
    policy = POLICIES[name]
    assert set(said) == set(policy.fields)
    assert (said["name"], said["foreign_tools"]) == (name, policy.foreign_tools)
    assert set(said["allow_fs"]) == {*policy.allow_fs, "ufs"}
    assert [said[key] for key in ("lvm", "bitlocker", "vshadow_mounter")] == [
        "lvm",
        "dislocker",
        "vshadowmount",
    ]
