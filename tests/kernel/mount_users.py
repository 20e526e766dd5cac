"""In the guest: pyimount for users who are not root, through the real sudo.

``carol`` may run everything as root, ``dave`` too, ``eve`` nothing. Each command is a process of its own, as
that user, with an environment of its own; sudo has ``use_pty`` set, as Debian has it.
"""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.kernel.commands import Check, Said, attached, command, same, tool

USERS = {"carol": 1500, "dave": 1501, "eve": 1502}
EVIDENCE = Path("/run/evidence")
"""Where the users' images are, which nobody else reads."""


def _as(user: str, *words: str | Path) -> tuple[str, ...]:
    number = str(USERS[user])
    return (
        "/usr/bin/setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups",
        "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", f"PYTHONPATH={os.environ['PYTHONPATH']}",
        *map(str, words),
    )  # fmt: skip


def _pyimount(user: str, *words: str | Path, status: int = 0) -> Said:
    """Run pyimount as a user, without a terminal."""
    done = subprocess.run(
        _as(user, sys.executable, "-m", "pyimount", *words),
        capture_output=True, text=True, timeout=300, check=False, cwd="/", stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = Said(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in said.err, said.err
    assert said.status == status, said
    return said


def _listed(user: str) -> list[dict[str, Any]]:
    return list(json.loads(_pyimount(user, "list", "--json").out)["sessions"])


def _can_read(user: str, path: Path | str) -> bool:
    return not subprocess.run(_as(user, "cat", path), capture_output=True, check=False).returncode


def prepare() -> None:
    """Users, and what sudo grants them; of this all nothing outlives the guest."""
    # The Python of the tests may lie where only root looks.
    for folder in (
        Path(sys.executable).resolve(),
        Path(sys.prefix).resolve(),
        Path(os.environ["PYTHONPATH"]),
    ):
        for each in folder.parents:
            each.chmod(each.stat().st_mode | 0o711)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name, number in USERS.items():
        tool("useradd", "--uid", str(number), "--no-create-home", name)
    rule = Path("/etc/sudoers.d/pyimount")
    rule.write_text("".join(f"{name} ALL=(root) NOPASSWD: ALL\n" for name in ("carol", "dave")))
    rule.chmod(0o440)
    assert "use_pty" in Path("/etc/sudoers").read_text()
    EVIDENCE.mkdir(mode=0o755)
    for name in ("private.img", "disk.qcow2"):
        shutil.copy(name, EVIDENCE)
        (EVIDENCE / name).chmod(0o400)
        shutil.chown(EVIDENCE / name, "carol", "carol")
    assert not _can_read("dave", EVIDENCE / "disk.qcow2")
    # What sudo keeps for each user, and our own folder of users' sessions.
    for name in USERS:
        subprocess.run(_as(name, "sudo", "-n", "true"), capture_output=True, check=False)


def through_sudo() -> None:
    """The whole way, with a raw image and a container: mount, list, read, unmount."""
    said = json.loads(
        _pyimount("carol", "mount", "--keep", "--json", EVIDENCE / "private.img", EVIDENCE / "disk.qcow2").out
    )
    session = said["session"]
    places = [Path(each["mountpoint"]) for each in said["volumes"]]
    assert len(places) == 3
    for place in places:
        same(place)
        assert _can_read("carol", place / "readme.txt")
    # What the evidence keeps from others, it keeps from her as well.
    assert (places[0] / "secret").read_bytes() == b"root's\n"
    assert not _can_read("carol", places[0] / "secret")
    # Nobody else reads anything of it, nor what the server shows, which is hers.
    raw = Path(f"/run/pyimount-users/{session}/raw")
    (shown,) = raw.iterdir()
    for user in USERS:
        assert _can_read(user, shown) == (user == "carol")
        assert not _can_read(user, f"/run/pyimount-users/{session}.jsonl")
        for place in places:
            assert _can_read(user, place / "readme.txt") == (user == "carol")
    assert not _can_read("eve", f"/proc/{_server(session)}/root{shown}")
    # Nor does anybody else see it, or take it down, whatever name it is given.
    (listed,) = _listed("carol")
    assert (listed["session"], listed["owner"]) == (session, USERS["carol"])
    assert _listed("dave") == []
    every_name = (session, places[0], EVIDENCE / "disk.qcow2", "/run/pyimount-users")
    said = _pyimount("dave", "unmount", *every_name, status=1).err
    assert said.count("nothing of this is mounted") == 4
    # He is told whose it is by where it is mounted, which all can see; not by an image that he cannot read.
    assert said.count(f"session {session} of carol") == 3, said
    assert f"{EVIDENCE / 'disk.qcow2'}: nothing of this is mounted; " in said
    _pyimount("dave", "unmount", "--all", "--lazy")
    _pyimount("eve", "unmount", "--all", status=1)
    same(places[2])
    # She takes down one, and then the rest; root sees all.
    assert session in command("list").out
    _pyimount("carol", "unmount", places[0])
    assert not os.path.ismount(places[0])
    same(places[2])
    assert "umount" in _pyimount("carol", "unmount", "--dry-run", session).out
    _pyimount("carol", "unmount", session)
    assert _listed("carol") == []


def _server(session: str) -> str:
    mark = f"--mark=pyimount-{session}-".encode()
    return next(
        path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if mark in path.read_bytes()
    )


def on_a_terminal() -> None:
    """As people do it: it waits for Enter, and takes down; and ^C ends it, with nothing left."""
    for typed, ends, says in ((b"\n", 0, "press Enter"), (b"\x03", 130, "stopped")):
        words = _as("carol", sys.executable, "-m", "pyimount", "mount", EVIDENCE / "disk.qcow2")
        child, terminal = pty.fork()
        if child == 0:
            os.chdir("/")
            os.execv(words[0], words)  # noqa: S606
        shown = b""
        while b"press Enter" not in shown:
            shown += os.read(terminal, 4096)
        assert len(_listed("carol")) == 1
        os.write(terminal, typed)
        try:
            while some := os.read(terminal, 4096):
                shown += some
        except OSError:
            pass  # That is how a terminal ends.
        _, status = os.waitpid(child, 0)
        os.close(terminal)
        text = shown.decode()
        assert os.waitstatus_to_exitcode(status) == ends, text
        assert says in text
        assert "Traceback" not in text
        assert _listed("carol") == []


def stopped_at_any_moment() -> None:
    """^C on a terminal while root works for a user: what was made is taken down, or can be."""
    for pause in (1.0,):
        words = _as("carol", sys.executable, "-m", "pyimount", "mount", "--keep", EVIDENCE / "disk.qcow2")
        child, terminal = pty.fork()
        if child == 0:
            os.chdir("/")
            os.execv(words[0], words)  # noqa: S606
        time.sleep(pause)
        os.write(terminal, b"\x03")
        shown = b""
        try:
            while some := os.read(terminal, 4096):
                shown += some
        except OSError:
            pass  # That is how a terminal ends.
        _, status = os.waitpid(child, 0)
        os.close(terminal)
        if os.waitstatus_to_exitcode(status) == 0:
            _pyimount("carol", "unmount", "--all")
        assert _listed("carol") == [], shown


def killed_beside_sudo() -> None:
    """The user's side is killed: root's ends with it, and what stands is the user's to take down."""
    words = _as("carol", sys.executable, "-m", "pyimount", "mount", "--keep", EVIDENCE / "disk.qcow2")
    for pause in (1.2,):
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        ) as process:
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        _pyimount("carol", "unmount", "--all")
        assert _listed("carol") == []


def without_rights() -> None:
    """Who may not become root is told what is needed; the dry run works, and so does looking."""
    image = EVIDENCE / "everybody's.img"
    shutil.copy("clean.img", image)
    image.chmod(0o444)
    said = _pyimount("eve", "mount", image, status=1)
    assert "needs root, and sudo did not give it" in said.err
    said = _pyimount("eve", "mount", "--dry-run", image)
    assert "mount -i -n -t ext4 -o ro," in said.out
    assert "ext4" in _pyimount("eve", "detect", image).out
    # Root need not be asked where it has mounted nothing.
    asked = any(Path(base).exists() for base in ("/run/pyimount", "/run/pyimount-users"))
    said = _pyimount("eve", "list", status=1 if asked else 0)
    assert ("needs root" if asked else "nothing is mounted") in said.err
    assert "ermission denied" in _pyimount("eve", "mount", EVIDENCE / "private.img", status=1).err
    image.unlink()


def _made(kind: str, into: Path) -> Path:
    """A file system of this kind with ``readme.txt`` in it, which this kernel's or another's driver wrote."""
    image, tree = into / f"{kind}.img", into / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "readme.txt").write_text("evidence\n")
    (tree / "readme.txt").chmod(0o600)
    if kind in ("iso9660", "rockridge"):
        extra = ("-R",) if kind == "rockridge" else ()
        tool("genisoimage", "-quiet", "-J", *extra, "-o", image, tree)
        return image
    with image.open("wb") as file:
        file.truncate(32 << 20)
    if kind == "ntfs":
        tool("mkntfs", "-q", "-F", image)
        tool("ntfscp", "-q", image, tree / "readme.txt", "readme.txt")
        return image
    maker = {"vfat": "mkfs.vfat", "exfat": "mkfs.exfat", "udf": "mkudffs", "hfs": "hformat"}[kind]
    tool(maker, image)
    device, at = attached(image), into / "at"
    at.mkdir(exist_ok=True)
    if kind == "exfat":
        tool("mount.exfat-fuse", device, at)
    else:
        tool("mount", "-i", "-t", kind, device, at)
    shutil.copy(tree / "readme.txt", at)
    (at / "readme.txt").chmod(0o644)
    tool("umount", at)
    while subprocess.run(("losetup", "--detach", device), capture_output=True, check=False).returncode:
        time.sleep(0.1)
    while device in tool("losetup", "-a"):
        time.sleep(0.1)
    return image


def without_owners() -> None:
    """What has no owners of its own is the caller's; he reads it, and nobody else does."""
    into = Path("/run/without-owners")
    into.mkdir(mode=0o755)
    try:
        for kind in ("vfat", "exfat", "ntfs", "iso9660", "rockridge", "udf"):
            image = _made(kind, into)
            image.chmod(0o400)
            shutil.chown(image, "carol", "carol")
            named = ("--allow-fs", "mount.exfat-fuse") if kind == "exfat" else ()
            said = json.loads(_pyimount("carol", "mount", "--keep", "--json", *named, image).out)
            (volume,) = said["volumes"]
            place = Path(volume["mountpoint"])
            file = place / (
                "README.TXT" if kind == "udf" and not (place / "readme.txt").exists() else "readme.txt"
            )
            assert file.read_text() == "evidence\n", kind
            assert _can_read("carol", file), (kind, oct(file.stat().st_mode), file.stat().st_uid)
            if kind != "udf":
                is_ = file.stat()
                assert (is_.st_uid, is_.st_gid) == (USERS["carol"], USERS["carol"]), kind
            for other in ("dave", "eve"):
                assert not _can_read(other, file), (kind, other)
            if kind == "ntfs":
                assert (place / "$MFT").stat().st_size > 0
            for option in ("ro", "nosuid", "nodev", "noexec"):
                line = next(
                    each for each in Path("/proc/mounts").read_text().splitlines() if f" {place} " in each
                )
                assert option in line.split()[3].split(","), (kind, line)
            _pyimount("carol", "unmount", said["session"])
            assert _listed("carol") == []
    finally:
        shutil.rmtree(into)


def readable_as_asked() -> None:
    """What the evidence keeps from others she reads when she asks for it, and nobody else does."""
    said = json.loads(
        _pyimount("carol", "mount", "--keep", "--json", "--readable", EVIDENCE / "private.img").out
    )
    (volume,) = said["volumes"]
    place = Path(volume["mountpoint"])
    assert (place / "secret").stat().st_uid == USERS["carol"]
    for user in USERS:
        for name in ("secret", "readme.txt"):
            assert _can_read(user, place / name) == (user == "carol")
    (listed,) = _listed("carol")
    assert [each["type"] for each in listed["mounts"]] == ["ext4"]
    _pyimount("carol", "unmount", place)
    assert _listed("carol") == []


def drivers_that_few_look_after() -> None:
    """They are off for users, whatever is asked for; root names them, and who called sudo reads."""
    into = Path("/run/few-look-after")
    into.mkdir(mode=0o755)
    try:
        image = _made("hfs", into)
        image.chmod(0o444)
        said = json.loads(
            _pyimount("carol", "mount", "--keep", "--json", "--allow-fs", "hfs", image, status=4).out
        )
        (volume,) = said["volumes"]
        assert "few look after" in volume["reason"]
        assert "sudo pyimount mount --allow-fs hfs" in volume["remedy"]
        own = (
            "sudo",
            "-n",
            "env",
            f"PYTHONPATH={os.environ['PYTHONPATH']}",
            sys.executable,
            "-m",
            "pyimount",
        )
        (into / "mnt").mkdir(mode=0o755)
        words = ("mount", "--keep", "--json", "--allow-fs", "hfs", "--mountdir", into / "mnt", image)
        done = subprocess.run(_as("carol", *own, *words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
        file = Path(json.loads(done.stdout)["volumes"][0]["mountpoint"]) / "readme.txt"
        assert (file.stat().st_uid, file.read_text()) == (USERS["carol"], "evidence\n")
        assert _can_read("carol", file)
        command("unmount", "--all")
    finally:
        shutil.rmtree(into)


CHECKS: tuple[Check, ...] = (
    through_sudo, without_owners, readable_as_asked, drivers_that_few_look_after, on_a_terminal,
    stopped_at_any_moment, killed_beside_sudo, without_rights,
)  # fmt: skip
