"""Why a file cannot be opened: a user's FUSE mount keeps root out too, and that is said."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyimount.sources import denied
from tests.needing import lacking, needs, needs_root

TABLE = (
    b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
    b"2 1 0:50 / /home/ann/with\\040blank rw,nodev - fuse.sshfs ann@host rw,user_id=1000,group_id=1000\n"
    b"3 1 0:51 / /open rw - fuse.sshfs ann@host rw,user_id=1000,group_id=1000,allow_other\n"
    b"4 1 0:52 / /control rw - fusectl fusectl rw\n"
    b"5 2 8:2 / /home/ann/with\\040blank/over rw - ext4 /dev/sdb1 rw\n"
    b"6 1 0:53 / /mine rw - fuse.sshfs me@host rw,user_id=4242,group_id=0\n"
)


@pytest.mark.parametrize(
    ("path", "is_kept"),
    [
        ("/home/ann/with blank", True),
        ("/home/ann/with blank/disk.E01", True),
        ("/home/ann/with blanks", False),
        ("/home/ann/with blank/over/disk.E01", False),
        ("/open/disk.E01", False),
        ("/control/x", False),
        ("/etc/shadow", False),
        ("/mine/disk.E01", False),
    ],
)
def test_a_mount_of_another_user(
    path: str, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mountinfo").write_bytes(TABLE)
    real = open
    monkeypatch.setattr("builtins.open", lambda *_: real(tmp_path / "mountinfo", "rb"))
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    said = denied.reason(path, PermissionError(errno.EACCES, "Permission denied"))
    assert said.startswith("permission denied")
    assert ("user 1000" in said and "allow_root or allow_other" in said) == is_kept
    assert denied.reason(path, FileNotFoundError(errno.ENOENT, "No such file")) == "no such file"


def test_real_ones(tmp_path: Path) -> None:
    """Root is kept out of what nobody mounts by bindfs, and is told why."""
    needs_root()
    needs("bindfs", "runuser")
    source, at = tmp_path / "source", tmp_path / "at"
    for each in (source, at):
        each.mkdir()
    (source / "disk.img").write_bytes(bytes(4096))
    for each in (source, at, source / "disk.img"):
        shutil.chown(each, "nobody")
    for each in at.parents:
        if each.stat().st_uid == os.geteuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o011)
    command = ("runuser", "-u", "nobody", "--", "bindfs", "--no-allow-other", str(source), str(at))
    if subprocess.run(command, capture_output=True, check=False).returncode:
        lacking("this machine lets plain users mount nothing through FUSE")
    try:
        with pytest.raises(PermissionError) as raised:
            (at / "disk.img").open()
        assert "allow_root" in denied.reason(str(at / "disk.img"), raised.value)
    finally:
        subprocess.run(("umount", at), check=True)
