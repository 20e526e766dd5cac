"""Other programs instead of pyimount's own ways, where they are asked for: for real, as root."""

import gzip
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fixtures.recipes.bitlocker import datum
from pyimount.execution.checking import Checker
from pyimount.execution.errors import Refused
from pyimount.execution.plan_executor import Executor
from pyimount.keys import Keyring
from pyimount.mounting import Mounted, mounting
from pyimount.planning.mounters import UNLOCKERS
from pyimount.planning.policy import FORENSIC, Policy
from pyimount.planning.steps import (
    ActivateVolumeGroup,
    AttachFlash,
    AttachLoop,
    ExposeShadows,
    ExposeUnlocked,
    Result,
)
from tests.mapping import bitlocker_volume, vss_volume
from tests.mounting.ground import MIB, Ground, processes, same_content
from tests.needing import needs

SECRET = "correct horse 9"  # noqa: S105
OLD, NEW = b"what it said before", b"what it says by now"


def mounted(ground: Ground, image: Path, policy: Policy, keys: Keyring | None = None, **more: Any) -> Mounted:
    session = ground.session()
    scan = mounting.look([image], keys=keys)
    executor = Executor(base=str(ground.base))
    return mounting.mount(scan, executor, policy=policy, keys=keys, session=session, **more)


def taken_down(ground: Ground, made: Mounted) -> None:
    undone = ground.undo(made.session)
    assert undone.ended, undone.left
    ground.check()


def ntfs(folder: Path, held: bytes) -> bytearray:
    """An NTFS of 16 MiB with one file."""
    needs("mkntfs", "ntfscp", "ntfs-3g")
    path, file = folder / "ntfs.img", folder / "held"
    with path.open("wb") as image:
        image.truncate(16 * MIB)
    subprocess.run(["mkntfs", "--fast", "--force", "--quiet", path], check=True, capture_output=True)
    file.write_bytes(held)
    subprocess.run(["ntfscp", "--force", "--quiet", path, file, "file"], check=True, capture_output=True)
    return bytearray(path.read_bytes())


def free(image: bytearray, at: int, size: int) -> int:
    """A place that is a multiple of 64 KiB, and free for as many bytes."""
    assert not any(image[at : at + size])
    return at


# BitLocker.


def protector(name: str, *arguments: Any, real: Any = bitlocker_volume.protector, **options: Any) -> bytes:
    """Also what dislocker wants to know besides: where the first sectors have been moved to."""
    if name == "moved":
        return datum(0, 15, bitlocker_volume.MOVED.to_bytes(8, "little") + (16 * 512).to_bytes(8, "little"))
    return bytes(real(name, *arguments, **options))


@pytest.fixture(scope="module")
def bitlocker(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A BitLocker volume with an NTFS in it, whose own lies in what is free there."""
    inside = ntfs(tmp_path_factory.mktemp("ntfs"), OLD)
    places = tuple(free(inside, at * MIB, bitlocker_volume.HIDDEN) for at in (11, 12, 13))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (
            ("protector", protector), ("PASSWORD", SECRET), ("SIZE", len(inside)), ("PLACES", places),
            ("MOVED", free(inside, 14 * MIB, bitlocker_volume.HIDDEN)),
        ):  # fmt: skip
            patched.setattr(bitlocker_volume, name, value)
        protectors = ("password", "recovery", "startup", "moved")
        raw, _ = bitlocker_volume.build(protectors, first=bytes(inside), rounds=0x100000)
    image = bytearray(raw)
    # The other programs want to know how large it is, and its clusters.
    image[13], image[0x28:0x30] = 8, (len(image) // 512).to_bytes(8, "little")
    return bytes(image)


@pytest.fixture
def locked(ground: Ground, bitlocker: bytes) -> Path:
    path = ground.folder / "locked.img"
    path.write_bytes(bitlocker)
    return ground.keep(path)


def keys_for(folder: Path, kind: str) -> Keyring:
    """A keyring with a key of this kind, and a wrong one before it."""
    startup = folder / "startup.bek"
    startup.write_bytes(bitlocker_volume.startup_key())
    keys = Keyring({"*": "p:wrong"}) if kind == "p" else Keyring()
    keys.add_text({"p": f"p:{SECRET}", "s": f"s:{startup}", "r": f"r:{bitlocker_volume.RECOVERY}"}[kind])
    return keys


@pytest.mark.parametrize(("program", "kind"), [("bdemount", "s"), ("dislocker", "s"), ("dislocker", "p")])
def test_bitlocker(program: str, kind: str, ground: Ground, locked: Path, tmp_path: Path) -> None:
    tool = UNLOCKERS[program].tool
    needs(tool)
    keys = keys_for(tmp_path, kind)
    policy = FORENSIC.replaced(bitlocker=program, allow_fs=frozenset({"ntfs-3g"}))
    made = mounted(ground, locked, policy, keys)
    assert len(made.standing) == 1, (made.failed, [(v.index, v.type) for v in made.scan.volumes])
    (volume,) = made.standing
    assert (Path(volume.mountpoint or "") / "file").read_bytes() == OLD
    (pid,) = _running(tool)
    assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ledger = (ground.base / f"{made.session}.jsonl").read_bytes()
    assert SECRET.encode() not in ledger
    taken_down(ground, made)


def _running(tool: str) -> list[int]:
    found = []
    for process in processes():
        try:
            if (process / "cmdline").read_bytes().split(b"\0")[0].endswith(tool.encode()):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_a_key_that_would_be_an_argument_is_not_passed_on(
    ground: Ground, locked: Path, tmp_path: Path
) -> None:  # fmt: skip
    needs("bdemount")
    policy = FORENSIC.replaced(bitlocker="bdemount", allow_fs=frozenset({"ntfs-3g"}))
    made = mounted(ground, locked, policy, keys_for(tmp_path, "r"))
    (failed,) = made.failed
    assert failed.refusal is not None
    assert (failed.refusal.code, failed.refusal.remedy) == ("locked", "--bitlocker auto")
    assert "for all to read" in failed.refusal.reason
    ground.check()


# Shadow copies.

BLOCK = vss_volume.BLOCK


@pytest.fixture
def shadowed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An NTFS with a file that was written over since a shadow copy was made."""
    path, size = ground.folder / "shadowed.img", 16 * MIB
    image = ntfs(ground.folder, OLD.ljust(8192, b"."))
    at = image.index(OLD)
    # All of the copy's own lies in what is free.
    for name, value in (
        ("BLOCKS", size // BLOCK),
        ("SIZE", size),
        ("STORES_AT", 960),
        ("CATALOG_AT", 950 * BLOCK),
    ):
        monkeypatch.setattr(vss_volume, name, value)
    monkeypatch.setattr(vss_volume, "bytes", _filled, raising=False)
    kept = vss_volume.place(0)
    store = vss_volume.StoreSpec((vss_volume.Descriptor(at // BLOCK, 0, kept),))
    built = vss_volume.build([store])
    for start, end in ((0x1E00, 0x2000), (950 * BLOCK, 951 * BLOCK), (960 * BLOCK, 970 * BLOCK)):
        image[start:end] = built[start:end]
    image[kept * BLOCK : (kept + 1) * BLOCK] = image[at // BLOCK * BLOCK : (at // BLOCK + 1) * BLOCK]
    image[at : at + len(NEW)] = NEW
    path.write_bytes(image)
    return ground.keep(path)


def _filled(value: Any = b"") -> bytes:
    """Blocks that are full of their number, of which there are more than bytes."""
    return bytes([value[0] % 256]) if isinstance(value, list) else bytes(value)


@pytest.mark.parametrize("mounter", ["native", "vshadowmount"])
def test_shadow_copies(mounter: str, ground: Ground, shadowed: Path) -> None:
    needs("vshadowmount", "ntfs-3g")
    policy = FORENSIC.replaced(vshadow_mounter=mounter, allow_fs=frozenset({"ntfs-3g"}))
    made = mounted(ground, shadowed, policy, shadows=True)
    said = [(Path(each.mountpoint or "") / "file").read_bytes()[: len(OLD)] for each in made.standing]
    assert said == [NEW, OLD], made.failed
    assert bool(_running("vshadowmount")) == (mounter == "vshadowmount")
    taken_down(ground, made)


# Packed images.


@pytest.mark.parametrize("packed", ["gz", "zip"])
def test_a_packed_image_by_avfs(packed: str, ground: Ground) -> None:
    needs("avfsd", "mkfs.ext4")
    raw = ground.ext4()
    image = ground.folder / f"disk.{packed}"
    if packed == "gz":
        image.write_bytes(gzip.compress(raw.read_bytes()))
    else:
        with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(raw, "case 1/disk.img")
    made = mounted(ground, ground.keep(image), FORENSIC.replaced(disk_mounter="avfs"))
    assert len(made.standing) == 1, (made.failed, [(v.index, v.type) for v in made.scan.volumes])
    (volume,) = made.standing
    same_content(Path(volume.mountpoint or ""))
    taken_down(ground, made)


# File systems without their driver.


@pytest.mark.parametrize("container", ["raw", "qcow2"])
def test_ext4_without_the_kernels_driver(
    container: str, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("fuse2fs", "mkfs.ext4", "qemu-img")
    from pyimount.execution import survey

    image = ground.ext4()
    if container == "qcow2":
        image = ground.folder / "disk.qcow2"
        subprocess.run(
            ["qemu-img", "convert", "-O", "qcow2", ground.folder / "ext4.img", image], check=True, timeout=300
        )
        ground.keep(image)
    machine = survey.survey()
    lacking = machine.replaced(filesystems=machine.filesystems - {"ext2", "ext3", "ext4"})
    monkeypatch.setattr(survey, "survey", lambda: lacking)
    made = mounted(ground, image, FORENSIC)
    (failed,) = made.failed
    assert failed.refusal is not None
    assert (failed.refusal.code, failed.refusal.remedy) == ("not-allowed", "--allow-fs fuse2fs")
    made = mounted(ground, image, FORENSIC.replaced(allow_fs=frozenset({"fuse2fs"})))
    assert len(made.standing) == 1, (made.failed, [(v.index, v.type) for v in made.scan.volumes])
    (volume,) = made.standing
    same_content(Path(volume.mountpoint or ""))
    taken_down(ground, made)


# NTFS as it was left.


@pytest.mark.parametrize(
    ("name", "data", "state"), [("file", b"x", None), ("hiberfil.sys", b"hibr", "hibernated")]
)
def test_ntfs_3g_mounts_read_only_what_windows_sleeps_on(
    name: str, data: bytes, state: str | None, ground: Ground
) -> None:
    path = ground.folder / "asleep.img"
    path.write_bytes(ntfs(ground.folder, b"held"))
    held = ground.folder / "held"
    held.write_bytes(data.ljust(8192, b"\0"))
    subprocess.run(
        ["ntfscp", "--force", "--quiet", path, held, name], check=True, capture_output=True, timeout=300
    )
    policy = FORENSIC.replaced(allow_fs=frozenset({"ntfs-3g"}))
    made = mounted(ground, ground.keep(path), policy)
    assert len(made.standing) == 1, made.failed
    (volume,) = made.standing
    assert volume.volume is not None
    assert state is None or volume.volume.state == state
    at = Path(volume.mountpoint or "")
    assert (at / name).read_bytes().startswith(data)
    with pytest.raises(OSError, match="Read-only"):
        (at / "new").write_bytes(b"x")
    taken_down(ground, made)


def test_root_does_none_of_these_for_a_user() -> None:
    checker = Checker("/run/pyimount-users/0123abcd", frozenset({"/image"}))
    checker.check(AttachLoop(id=1, backing="/image"))
    for step in (
        AttachFlash(id=2, device=Result(1), size=4096, erase_size=4096),
        ActivateVolumeGroup(id=3, devices=(Result(1),), group="x", volume="y"),
        ExposeUnlocked(id=4, tool="bdemount", device=Result(1), at=Result(1), key="1"),
        ExposeShadows(id=5, device=Result(1), at=Result(1)),
    ):
        with pytest.raises(Refused, match=f"root does no {type(step).__name__} for a user"):
            checker.check(step)
