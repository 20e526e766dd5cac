"""Layers as files through the FUSE server: the same bytes, for nobody else, and gone afterwards."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pyimount
from fixtures.workshop import Workshop, fixtures
from pyimount.confinement.users import FIRST, LAST
from pyimount.execution import servers, syscalls
from pyimount.execution.errors import Refused, StepFailed
from pyimount.execution.servers import Server
from pyimount.execution.step_acts import soon
from pyimount.fuse.cache import rw_active
from pyimount.keys import Keyring
from pyimount.layers import Layer, Scan
from pyimount.mapping import open_layer
from pyimount.sources.errors import OpenError
from tests.mapping.luks_volumes import PASSPHRASE, luks2
from tests.mapping.md_members import content, members, with_parity
from tests.mounting.mounted import marks, mounts, take_down
from tests.needing import needs, needs_root

MIB = 1 << 20
USER = 1000
SECRET = PASSPHRASE.decode()
KEYS = {"*": f"p:{SECRET}"}


class Served:
    """Starts servers in folders of their own, and takes them down at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks = marks()
        self.used: list[str] = []

    def at(self) -> Path:
        """A new folder for a mount."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        made.chmod(0o700)
        return made

    def mark(self) -> str:
        self.used.append(next(self.marks))
        return self.used[-1]

    def __call__(self, scan: Scan, *layers: Layer, **options: Any) -> tuple[Path, Server]:
        """Start one that shows these layers as 0.raw, 1.raw and so on."""
        at = self.at()
        files = [(layer.id, f"{number}.raw") for number, layer in enumerate(layers)]
        return at, servers.start(str(at), files, stored(scan), self.mark(), timeout=300, **options)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stored(scan: Scan) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(scan.to_dict()))
    return made


@pytest.fixture
def serve() -> Iterator[Served]:
    needs_root()
    with tempfile.TemporaryDirectory() as name:
        # Anybody may come as far as our own folders.
        Path(name).chmod(0o755)
        served = Served(Path(name))
        try:
            yield served
        finally:
            for mark in served.used:
                take_down(mark)


def unpacked(name: str, folder: Path) -> list[Path]:
    fixture = next(each for each in fixtures() if each.name == name)
    fixture.unpack(folder)
    return sorted(folder.iterdir())


def ext4(folder: Path) -> Path:
    needs("mkfs.ext4")
    work = Workshop(folder)
    disk = work.blank(8 * MIB)
    work.run("mkfs.ext4", "-q", "-F", "-L", "served", disk)
    return disk


def wrapped(kind: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        disk = ext4(folder)
        if kind == "qcow2":
            needs("qemu-img")
            Workshop(folder).run("qemu-img", "convert", "-O", "qcow2", "-c", disk, folder / "disk.qcow2")
            return [folder / "disk.qcow2"]
        needs("ewfacquirestream")
        Workshop(folder).run(
            "ewfacquirestream", "-q", "-t", folder / "disk", "-c", "fast", stdin=disk.read_bytes()
        )
        return [folder / "disk.E01"]

    return make


def locked(folder: Path) -> list[Path]:
    (folder / "luks.img").write_bytes(luks2())
    return [folder / "luks.img"]


def array(folder: Path) -> list[Path]:
    images = members(with_parity(content(3 * 64 * 1024), 5, 2), level=5, layout=2)
    paths = [folder / f"member{number}.img" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    return paths


MADE: dict[str, Callable[[Path], list[Path]]] = {
    "raw": lambda folder: [ext4(folder)],
    "E01": wrapped("E01"),
    "E01 segments": lambda folder: unpacked("ewf-segments", folder)[:1],
    "qcow2": wrapped("qcow2"),
    "qcow2 with a backing file": lambda folder: [
        path for path in unpacked("qcow2-backing", folder) if path.name == "disk.qcow2"
    ],
    "parallels, a folder": lambda folder: unpacked("parallels-bundle", folder)[:1],
    "partitions": lambda folder: unpacked("gpt", folder),
    "LUKS": locked,
    "LVM": lambda folder: unpacked("lvm2-group", folder),
    "md": array,
}


def hashes(folder: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def shown(scan: Scan) -> list[Layer]:
    """All layers of a scan that have bytes."""
    volumes = [volume for volume in scan.volumes if volume.recipe.kind != "none" and volume.size]
    return [*scan.disks, *volumes]


@pytest.mark.parametrize("kind", MADE)
def test_every_layer_reads_as_in_this_process(kind: str, serve: Served, tmp_path: Path) -> None:
    paths = MADE[kind](tmp_path)
    before = hashes(tmp_path)
    scan = pyimount.detect(paths, keys=KEYS)
    layers = shown(scan)
    assert len(layers) > len(scan.disks), "there is nothing in it"
    at, server = serve(scan, *layers, keys=Keyring(KEYS).reveal())
    expected: dict[str, bytes] = {}
    for number, layer in enumerate(layers):
        name = f"{number}.raw"
        if name in server.failed:
            with pytest.raises(OpenError, match=re.escape(server.failed[name])), open_layer(scan, layer):
                pytest.fail("opened")
            continue
        with open_layer(scan, layer, keys=KEYS) as source:
            expected[name] = source.read_at(0, source.size)
    assert names_in(at) == sorted(expected)
    for file, data in expected.items():
        assert (at / file).stat().st_size == len(data)
        assert (at / file).read_bytes() == data
    take_down(server.mark)
    assert hashes(tmp_path) == before


def test_links_to_images_and_relative_paths_are_followed(
    serve: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one who may: the server itself could not even look into this folder."""
    (tmp_path / "store").mkdir(mode=0o700)
    unpacked("qcow2-backing", tmp_path / "store")
    (tmp_path / "link.qcow2").symlink_to("store/disk.qcow2")
    monkeypatch.chdir(tmp_path)
    scan = pyimount.detect("link.qcow2")
    at, _ = serve(scan, scan.disks[0])
    with open_layer(scan, scan.disks[0]) as source:
        assert (at / "0.raw").read_bytes() == source.read_at(0, source.size)


def test_only_what_is_needed_has_to_be_there(serve: Served, tmp_path: Path) -> None:
    paths = [tmp_path / "one.img", tmp_path / "two.img"]
    for path in paths:
        path.write_bytes(bytes(MIB))
    scan = pyimount.detect(paths)
    paths[1].unlink()
    at, _ = serve(scan, scan.disks[0])
    assert (at / "0.raw").stat().st_size == MIB
    with pytest.raises(StepFailed, match=r"two\.img: no such file"):
        serve(scan, *scan.disks)


def test_a_disk_of_more_files_than_a_message_carries(serve: Served, tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"disk.{number:03}").write_bytes(number.to_bytes(2, "big") * 256)
    scan = pyimount.detect(tmp_path / "disk.000")
    at, _ = serve(scan, scan.disks[0])
    assert (at / "0.raw").read_bytes() == b"".join(number.to_bytes(2, "big") * 256 for number in range(600))


def test_a_layer_that_cannot_be_read_does_not_take_the_others_with_it(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(locked(tmp_path), keys=KEYS)
    opened = next(volume for volume in scan.volumes if volume.recipe.kind == "luks")
    at, server = serve(scan, scan.disks[0], opened)
    assert [*server.failed] == ["1.raw"]
    assert names_in(at) == ["0.raw"]
    with pytest.raises(StepFailed, match="the FUSE server says"):
        serve(scan, opened)
    assert mounts(serve.used[-1]) == []
    assert servers.find(serve.used[-1]) == []


def test_a_key_is_seen_nowhere(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(locked(tmp_path), keys=KEYS)
    _, server = serve(scan, *shown(scan), keys=Keyring(KEYS).reveal())
    for name in ("cmdline", "environ"):
        said = Path(f"/proc/{server.pid}/{name}").read_bytes()
        assert SECRET.encode() not in said
        assert SECRET.encode().hex().encode() not in said
    assert server.mark.encode() in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert SECRET not in json.dumps(server.identity())


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def standard_files(pid: int) -> set[str]:
    return {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in range(3)}


def test_it_serves_without_privileges(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    _, server = serve(scan, scan.disks[0])
    said = status(server.pid)
    (user,) = {*said["Uid"].split(), *said["Gid"].split()}
    assert FIRST <= int(user) <= LAST
    assert said["Groups"] == ""
    assert {int(said[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert said["NoNewPrivs"] == "1"
    # What belongs to a process that cannot be looked into belongs to root.
    assert Path(f"/proc/{server.pid}/mem").stat().st_uid == 0
    limits = Path(f"/proc/{server.pid}/limits").read_text().splitlines()
    assert ["0", "0"] in [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
    # It lets go of these as soon as it has said that it is ready.
    until = time.monotonic() + 60
    while (held := standard_files(server.pid)) != {"/dev/null"} and time.monotonic() < until:
        time.sleep(0.01)
    assert held == {"/dev/null"}
    assert os.getsid(server.pid) != os.getsid(0)
    assert os.getpgid(server.pid) != os.getpgid(0)


def test_it_is_nobodys_child(serve: Served, tmp_path: Path) -> None:
    """So none is left over when it ends, however long this process goes on."""
    scan = pyimount.detect(ext4(tmp_path))
    _, server = serve(scan, scan.disks[0])
    assert int(status(server.pid)["PPid"]) != os.getpid()


def as_user(user: int, *command: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command, user=user, group=user, extra_groups=[], capture_output=True, check=False, timeout=300
    )


@pytest.mark.parametrize("user", [USER, servers.NOBODY])
def test_another_user_can_neither_read_nor_list(user: int, serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    at, server = serve(scan, scan.disks[0])
    assert as_user(user, "cat", f"{at.parent}").returncode
    assert b"denied" in as_user(user, "ls", str(at)).stderr
    assert b"denied" in as_user(user, "cat", f"{at}/0.raw").stderr
    assert b"denied" in as_user(user, "cat", f"/proc/{server.pid}/environ").stderr
    # With the folder itself open to all, nothing else holds them.
    assert (at.stat().st_mode & 0o777, (at / "0.raw").stat().st_mode & 0o777) == (0o500, 0o400)
    assert (at.stat().st_uid, (at / "0.raw").stat().st_uid) == (0, 0)


def test_it_cannot_be_written(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    at, _ = serve(scan, scan.disks[0])
    for change in (
        lambda: (at / "0.raw").open("r+b"),
        (at / "new").touch,
        (at / "0.raw").unlink,
        lambda: os.truncate(at / "0.raw", 0),
    ):
        with pytest.raises(OSError, match="Read-only"):
            change()


def noise(folder: Path) -> Path:
    """An E01 of nothing that could be compressed: its bytes lie in it as they lie on the disk."""
    needs("ewfacquirestream")
    disk = folder / "noise"
    data = random.Random(1).randbytes(4 * MIB)  # noqa: S311
    Workshop(folder).run("ewfacquirestream", "-q", "-t", disk, "-c", "none", stdin=data)
    return folder / "noise.E01"


def test_bytes_that_are_gone_are_an_error_for_who_reads_them(serve: Served, tmp_path: Path) -> None:
    image = noise(tmp_path)
    scan = pyimount.detect(image)
    at, server = serve(scan, scan.disks[0])
    descriptor = os.open(at / "0.raw", os.O_RDONLY)
    try:
        assert len(os.pread(descriptor, MIB, 0)) == MIB
        os.truncate(image, image.stat().st_size // 2)
        for length in (MIB, 4096, 1):
            with pytest.raises(OSError, match="Input/output"):
                os.pread(descriptor, length, 3 * MIB)
        assert len(os.pread(descriptor, MIB, 0)) == MIB
    finally:
        os.close(descriptor)
    assert servers.stands(server)
    assert names_in(at) == ["0.raw"]


def test_an_image_that_was_cut_before_it_was_scanned(serve: Served, tmp_path: Path) -> None:
    image = noise(tmp_path)
    os.truncate(image, image.stat().st_size * 2 // 3)
    scan = pyimount.detect(image)
    assert scan.disks[0].problems
    at, server = serve(scan, scan.disks[0])
    with pytest.raises(OSError, match="Input/output"):
        (at / "0.raw").read_bytes()
    assert servers.stands(server)


def test_it_ends_with_its_mount(serve: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    at, server = serve(scan, scan.disks[0])
    assert servers.find(server.mark) == [server]
    assert Server.of(json.loads(json.dumps(server.identity()))) == server
    syscalls.umount(str(at), syscalls.UMOUNT_NOFOLLOW)
    with monkeypatch.context() as patch:
        patch.setattr(servers.signal, "pidfd_send_signal", lambda *_: pytest.fail("it did not end by itself"))
        assert servers.stop(server, patience=60)
    assert servers.stop(server), "twice is once"
    assert not servers.stands(server)
    assert servers.find(server.mark) == []


def test_a_server_that_was_killed_leaves_a_mount_that_goes(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    at, server = serve(scan, scan.disks[0])
    os.kill(server.pid, signal.SIGKILL)
    assert servers.stop(server)
    with pytest.raises(OSError, match=r"not connected|abort"):
        names_in(at)
    assert mounts(server.mark) == [str(at)]
    syscalls.umount(str(at), syscalls.UMOUNT_NOFOLLOW)
    assert names_in(at) == []


def test_one_that_hangs_is_ended(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    _, server = serve(scan, scan.disks[0])
    os.kill(server.pid, signal.SIGSTOP)
    assert servers.stop(server, patience=0.2)
    assert servers.find(server.mark) == []


def test_no_other_process_is_ever_ended(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    _, server = serve(scan, scan.disks[0])
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        for changed in (
            {"started": server.started + 1},
            {"mark": f"{server.mark}0"},
            {"mark": server.mark[:-1]},
            {"pid": sleeper.pid},
            {"pid": os.getpid()},
            {"pid": 1},
        ):
            assert servers.stop(server.replaced(**changed), patience=0)
        assert sleeper.poll() is None
        assert servers.stands(server)
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("moment", ["mounted", "started", "handed", "settled", "ready"])
def test_what_a_killed_starter_leaves_is_found_by_its_mark(
    moment: str, serve: Served, tmp_path: Path
) -> None:
    (image,) = locked(tmp_path)
    scan = pyimount.detect(image, keys=KEYS)
    at, mark = serve.at(), serve.mark()
    (tmp_path / "scan.json").write_text(json.dumps(scan.to_dict()))
    code = f"""
import json, os, signal
from pyimount.execution import servers, syscalls
def killed(module, name, after=True, when=lambda *_: True):
    real = getattr(module, name)
    def then(*args, **options):
        die = when(*args)
        if not after and die: os.kill(os.getpid(), signal.SIGKILL)
        made = real(*args, **options)
        if die: os.kill(os.getpid(), signal.SIGKILL)
        return made
    setattr(module, name, then)
match {moment!r}:
    case "mounted": killed(syscalls, "mount")
    case "started": killed(servers, "_answer", after=False, when=lambda _, what: what == "pid")
    case "handed": killed(servers, "_identified")
    case "settled": killed(servers, "_hand_over")
    case "ready": killed(servers, "_answer", when=lambda _, what: what == "ready")
scan = json.load(open({str(tmp_path / "scan.json")!r}))
servers.start({str(at)!r}, [({scan.disks[0].id}, "0.raw")], scan, {mark!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=300, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    # What it had started goes on for a moment, or for good; either way it is found.
    assert mounts(mark) == [str(at)]
    assert bool(servers.find(mark)) or moment != "ready"
    take_down(mark)
    assert soon(lambda: not servers.find(mark), 30.0)
    assert names_in(at) == []


def test_a_folder_that_is_not_ours_alone_is_refused(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    files = [(scan.disks[0].id, "0.raw")]
    for spoil in (
        lambda at: at.chmod(0o755),
        lambda at: os.chown(at, USER, USER),
        lambda at: (at / "file").touch(),
        lambda at: (at.rmdir(), at.symlink_to(tmp_path)),
        lambda at: (at.rmdir(), at.touch()),
    ):
        at = serve.at()
        spoil(at)
        with pytest.raises(StepFailed):
            servers.start(str(at), files, scan.to_dict(), serve.mark())
    at, server = serve(scan, scan.disks[0])
    with pytest.raises(Refused, match="already"):
        servers.start(str(at), files, scan.to_dict(), serve.mark())
    assert mounts(server.mark) == [str(at)]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".hidden", "a\nb", "x" * 65, "a b", "é"])
def test_a_name_that_is_none_is_refused(name: str, serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    at, mark = serve.at(), serve.mark()
    with pytest.raises(StepFailed):
        servers.start(str(at), [(scan.disks[0].id, name)], scan.to_dict(), mark)
    assert mounts(mark) == []


def test_what_is_no_image_is_not_handed_over(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    disk = tmp_path / "disk.img"
    disk.unlink()
    os.mkfifo(disk)
    with pytest.raises(Refused, match="neither a file nor a block device"):
        serve(scan, scan.disks[0])
    for report in ({}, {"disks": [{}]}, {"disks": None}):
        with pytest.raises(Refused, match="no scan"):
            servers.start(str(serve.at()), [(0, "0.raw")], report, serve.mark())


def test_two_mounts_of_one_image_stand_apart(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    at, server = serve(scan, scan.disks[0])
    other, second = serve(scan, scan.disks[0])
    take_down(server.mark)
    assert servers.stands(second)
    assert (other / "0.raw").read_bytes() == (tmp_path / "disk.img").read_bytes()
    assert names_in(at) == []


def test_a_program_that_only_root_may_read_serves_all_the_same(serve: Served, tmp_path: Path) -> None:
    """Installed in root's own home: what the server needs is loaded before root is given up."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    top = Path(pyimount.__file__).parent.parent
    shutil.copytree(top / "pyimount", home / "pyimount", ignore=shutil.ignore_patterns("__pycache__"))
    scan = pyimount.detect(locked(tmp_path), keys=KEYS)
    (tmp_path / "scan.json").write_text(json.dumps(scan.to_dict()))
    opened = next(volume for volume in scan.volumes if volume.recipe.kind == "luks")
    at, mark = serve.at(), serve.mark()
    code = f"""
import json, sys
sys.path.insert(0, {str(home)!r})
import pyimount
from pyimount.confinement import own_modules
from pyimount.execution import servers
from pyimount.keys import Keyring
assert pyimount.__file__.startswith({str(home)!r})
# As where nothing else is installed.
own_modules._PROGRAM = own_modules._PROGRAM.replace("append(", "insert(0, ")
scan = json.load(open({str(tmp_path / "scan.json")!r}))
keys = Keyring({KEYS!r}).reveal()
servers.start({str(at)!r}, [({opened.id}, "0.raw")], scan, {mark!r}, keys=keys)
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=300)
    with open_layer(scan, opened, keys=KEYS) as source:
        assert (at / "0.raw").read_bytes() == source.read_at(0, source.size)


def test_writes_go_to_the_cache_and_never_to_the_image(serve: Served, tmp_path: Path) -> None:
    (image,) = wrapped("E01")(tmp_path)
    before = hashes(tmp_path)
    scan = pyimount.detect(image)
    cache = serve.folder / "cache"
    at, server = serve(scan, scan.disks[0], cache=str(cache))
    assert cache.stat().st_mode & 0o777 == 0o700
    assert not rw_active(str(cache))
    file = at / "0.raw"
    whole = bytearray(file.read_bytes())
    assert file.stat().st_mode & 0o777 == 0o600
    changes = ((0, b"first"), (4095, b"ab"), (MIB - 3, bytes(8192)), (len(whole) - 5, b"enden"))
    descriptor = os.open(file, os.O_RDWR)
    try:
        for offset, data in changes:
            assert os.pwrite(descriptor, data, offset) == len(data)
            whole[offset : offset + len(data)] = data
        os.fsync(descriptor)
        with pytest.raises(OSError, match="No space"):
            os.pwrite(descriptor, b"x", len(whole))
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(descriptor, 5)
    finally:
        os.close(descriptor)
    assert file.read_bytes() == whole
    assert rw_active(str(cache))
    os.kill(server.pid, signal.SIGKILL)
    take_down(server.mark)
    again, _ = serve(scan, scan.disks[0], cache=str(cache))
    assert (again / "0.raw").read_bytes() == whole
    held = (cache / "0.raw.data").stat()
    assert held.st_size == len(whole)
    assert held.st_blocks * 512 < MIB, "it is sparse"
    assert as_user(USER, "cat", str(cache / "0.raw.data")).returncode
    assert hashes(tmp_path) == before


def test_a_file_system_is_written_over_a_cache(serve: Served, tmp_path: Path) -> None:
    needs("losetup", "mount", "umount", "e2fsck")
    disk = ext4(tmp_path)
    before = hashes(tmp_path)
    scan = pyimount.detect(disk)
    at, server = serve(scan, scan.disks[0], cache=str(serve.folder / "cache"))
    target = serve.at()
    done = subprocess.run(
        ["losetup", "--find", "--show", at / "0.raw"], check=True, capture_output=True, text=True
    )
    loop = done.stdout.strip()
    try:
        for content_of in ("before", "after"):
            subprocess.run(["mount", "-t", "ext4", loop, target], check=True)
            try:
                (target / content_of).write_text(content_of)
                assert {"before"} <= {path.name for path in target.iterdir()}
            finally:
                subprocess.run(["umount", target], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
    assert subprocess.run(["e2fsck", "-fn", at / "0.raw"], check=False, capture_output=True).returncode == 0
    for _ in range(50):
        if subprocess.run(["losetup", loop], check=False, capture_output=True).returncode:
            break
        time.sleep(0.1)
    take_down(server.mark)
    assert hashes(tmp_path) == before


def test_a_cache_that_others_may_change_is_refused(serve: Served, tmp_path: Path) -> None:
    scan = pyimount.detect(ext4(tmp_path))
    cache = serve.at()
    (cache / "real").mkdir()
    (cache / "link").symlink_to("real")
    with pytest.raises(StepFailed):
        serve(scan, scan.disks[0], cache=str(cache / "link"))
    (cache / "real" / "0.raw.data").symlink_to(tmp_path / "disk.img")
    with pytest.raises(StepFailed):
        serve(scan, scan.disks[0], cache=str(cache / "real"))
    cache.chmod(0o777)
    with pytest.raises(Refused, match="others than this user"):
        serve(scan, scan.disks[0], cache=str(cache))


def test_a_plain_user_needs_no_root(serve: Served, tmp_path: Path) -> None:
    needs("fusermount3", "setpriv")
    image = serve.folder / "disk.img"
    image.write_bytes(ext4(tmp_path).read_bytes())
    image.chmod(0o644)
    scan = pyimount.detect(image)
    (serve.folder / "scan.json").write_text(json.dumps(scan.to_dict()))
    at, mark = serve.at(), serve.mark()
    os.chown(at, USER, USER)
    code = f"""
import hashlib, json, os, subprocess
from pathlib import Path
from pyimount.confinement import own_modules
from pyimount.execution import servers
scan = json.load(open({str(serve.folder / "scan.json")!r}))
files = [({scan.disks[0].id}, "0.raw")]
server = servers.start_as_user({str(at)!r}, files, scan, {mark!r}, timeout=300)
assert servers.find({mark!r}) == [server]
try:
    found = Path({str(at / "0.raw")!r})
    print(hashlib.sha256(found.read_bytes()).hexdigest(), found.stat().st_uid)
    print(os.stat(f"/proc/{{server.pid}}/mem").st_uid)
finally:
    subprocess.run(["fusermount3", "-u", {str(at)!r}], check=True)
assert servers.stop(server)
"""
    # No root, but Python may lie where only root looks.
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *reading)
    done = subprocess.run(
        [*user, sys.executable, "-c", code], capture_output=True, check=False, timeout=300, cwd="/"
    )
    assert done.returncode == 0, done.stderr.decode()
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    # Its memory is closed to its own user too.
    assert done.stdout.decode().split() == [digest, str(USER), "0"]
