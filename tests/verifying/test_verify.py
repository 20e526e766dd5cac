"""``pyimount verify``: all that was changed is found, and nothing else."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pyimount.cli import main
from pyimount.recognition import opening
from pyimount.sources.errors import ReadError
from pyimount.sources.file import FileSource
from tests.verifying.images import (
    CHANGES,
    UNHASHED,
    WHOLE,
    Place,
    changed,
    first_bytes,
    in_ewf,
    in_ewf2,
    unpacked,
)

KIB, MIB = 1 << 10, 1 << 20
CHUNK_AT = in_ewf("sectors", 40)(first_bytes("ewf"))
"""A byte of the image called ewf that is of a chunk's data."""


def verified(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and what is said of each disk."""
    status = main(["verify", "--json", *map(str, arguments)])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "pyimount/1"
    assert document["exit_status"] == status
    return status, document["disks"]


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_matches(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, disks = verified(capsys, unpacked(name, tmp_path))
    assert [problem for disk in disks for problem in disk["problems"]] == []
    assert status == (7 if name in UNHASHED else 0)
    for disk in disks:
        assert disk["covered"] == (0 if name in UNHASHED else disk["size"])
        assert all(check["matches"] for check in disk["checks"])


@pytest.mark.parametrize(
    ("name", "what", "place"), CHANGES, ids=[f"{name}: {what}" for name, what, _ in CHANGES]
)
def test_one_changed_byte_is_found(
    name: str, what: str, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = unpacked(name, tmp_path)
    data = image.read_bytes()
    image.write_bytes(changed(data, place(data)))
    status, disks = verified(capsys, image)
    assert status == 6, what
    assert any(disk["problems"] for disk in disks)
    assert any(disk["status"] == "differs" for disk in disks)


@pytest.mark.needs("ewfverify")
@pytest.mark.parametrize(
    ("name", "what", "place"),
    [each for each in CHANGES if each[0] in ("ewf", "ewf-segments")],
    ids=[f"{name}: {what}" for name, what, _ in CHANGES if name in ("ewf", "ewf-segments")],
)
def test_what_ewfverify_finds_is_found(
    name: str, what: str, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Libewf passes over most of what is not needed for the data; what it finds, this finds (see above)."""
    image = unpacked(name, tmp_path)
    data = image.read_bytes()
    image.write_bytes(changed(data, place(data)))
    theirs = subprocess.run(["ewfverify", "-q", image], capture_output=True, check=False).returncode
    ours, _ = verified(capsys, image)
    assert ours == 6
    assert theirs in (0, 1), what


@pytest.mark.needs("gzip", "xz", "zstd", "lz4", "bzip2")
@pytest.mark.parametrize("name", ["gzip", "xz", "zstd", "lz4", "bzip2"])
def test_the_tools_say_the_same_of_every_byte(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte in 97: where the tool of the format finds fault, so does this, and nowhere else."""
    image = unpacked(name, tmp_path)
    data = image.read_bytes()
    step = max(1, len(data) // 24)
    for place in (*range(0, len(data), step), *range(len(data) - 12, len(data))):
        image.write_bytes(changed(data, place))
        theirs = subprocess.run([name, "-t", image], capture_output=True, check=False).returncode
        ours, disks = verified(capsys, image)
        if theirs == 0:
            assert ours == 0, place
        elif disks[0]["container"] == name:
            assert ours in (1, 6), place
        else:
            assert ours == 7, place  # no longer recognised: its first bytes say what it is


def test_a_hash_is_compared_with_the_bytes_of_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = unpacked("ewf", tmp_path)
    status, [disk] = verified(capsys, image, "--hash", "sha256", "--hash", "md5")
    assert status == 0
    with opening_of(image) as data:
        assert disk["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert disk["hashes"]["md5"] == hashlib.md5(data).hexdigest()  # noqa: S324
    stored = {check["algorithm"]: check["stored"] for check in disk["checks"]}
    assert stored["md5"] == disk["hashes"]["md5"]


class opening_of:  # noqa: N801
    """The bytes of the disk in an image, read apart from what is tested."""

    def __init__(self, image: Path) -> None:
        from pyimount.sources.broker import Broker
        from pyimount.sources.budget import NO_LIMIT, Meter
        from pyimount.sources.segments import Segments

        self._image, opened = opening.open_image(Segments((str(image),)), Broker(), Meter(NO_LIMIT))
        assert opened.source is not None
        self._data = opened.source.read_at(0, opened.source.size)

    def __enter__(self) -> bytes:
        return self._data

    def __exit__(self, *_: object) -> None:
        self._image.close()


def test_hashes_of_what_keeps_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(range(256)) * 4096)
    status, [disk] = verified(capsys, image, "--hash", "sha512")
    assert status == 7
    assert disk["status"] == "nothing-stored"
    assert disk["hashes"] == {"sha512": hashlib.sha512(image.read_bytes()).hexdigest()}


def test_no_hash_is_given_of_what_could_not_all_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = unpacked("ewf", tmp_path)
    data = image.read_bytes()
    place = next(where for name, what, where in CHANGES if (name, what) == ("ewf", "data of a chunk"))
    image.write_bytes(changed(data, place(data)))
    status, [disk] = verified(capsys, image, "--hash", "sha256")
    assert status == 6
    assert disk["hashes"] == {"md5": None, "sha1": None, "sha256": None}
    [chunks] = [check for check in disk["checks"] if check["algorithm"] == "Adler-32"]
    assert (chunks["count"], chunks["wrong"]) == (64, 1)


@pytest.mark.needs("mkfs.fat", "mcopy")
def test_the_place_is_told_with_volume_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fixtures.recipes.ewf import ex01_image

    pytest.importorskip("dissect.fat")
    image = tmp_path / "disk.Ex01"
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(2 * MIB))
    subprocess.run(["mkfs.fat", "-s", "8", "-F", "12", raw], check=True, capture_output=True)
    (tmp_path / "letter.txt").write_bytes(hashlib.sha512(b"letter").digest() * 600)
    (tmp_path / "other.txt").write_bytes(hashlib.sha512(b"other").digest() * 2000)
    for name in ("other.txt", "letter.txt"):
        subprocess.run(["mcopy", "-i", raw, tmp_path / name, f"::{name}"], check=True, capture_output=True)
    disk = raw.read_bytes()
    inside = disk.index(hashlib.sha512(b"letter").digest())
    whole = bytes(4 * MIB)
    image.write_bytes(ex01_image(disk + whole))
    data = image.read_bytes()
    chunk = (inside + 600 * 32) // (32 * KIB)
    # The chunk in the middle of the file: its compressed bytes stand where the table says.
    entry = in_ewf2(4, 32 + 16 * chunk)(data)
    at = int.from_bytes(data[entry : entry + 8], "little")
    image.write_bytes(changed(data, at + 30))
    status, [found] = verified(capsys, image)
    assert status == 6
    [place] = found["places"]
    assert (place["offset"], place["size"]) == (chunk * 32 * KIB, 32 * KIB)
    assert place["volume_type"] == "vfat"
    assert "/letter.txt" in {each.lower() for each in place["files"]}


def test_the_place_of_a_chunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = unpacked("ewf-segments", tmp_path)
    data = image.read_bytes()
    # Chunks of 8192 bytes, each with its checksum behind it: the third one.
    image.write_bytes(changed(data, in_ewf("sectors", 20_000)(data)))
    status, [disk] = verified(capsys, image)
    assert status == 6
    [found] = disk["places"]
    assert (found["offset"], found["size"]) == (16384, 8192)
    assert (found["volume"], found["volume_type"], found["volume_offset"]) == ("0", "vfat", 16384)


# -- segments ----------------------------------------------------------------------------------------------


def segments_of(folder: Path) -> list[Path]:
    first = unpacked("ewf-segments", folder)
    return sorted(first.parent.glob("stick.E0*"))


def test_a_missing_segment_is_no_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = segments_of(tmp_path)
    paths[2].unlink()
    status, [disk] = verified(capsys, paths[0])
    assert status == 6
    assert "missing-segment" in {problem["code"] for problem in disk["problems"]}
    assert disk["hashes"]["md5"] is None


def test_the_last_segment_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = segments_of(tmp_path)
    paths[-1].unlink()
    status, [disk] = verified(capsys, paths[0])
    assert status == 6
    assert "missing-segment" in {problem["code"] for problem in disk["problems"]}


@pytest.mark.parametrize("number", range(4))
def test_a_byte_in_each_segment(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = segments_of(tmp_path)
    data = paths[number].read_bytes()
    paths[number].write_bytes(changed(data, len(data) // 2))
    status, [disk] = verified(capsys, paths[0])
    assert status == 6
    assert len(disk["paths"]) == 4
    assert disk["places"]


def test_a_segment_of_another_acquisition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fixtures.recipes.ewf import ex01_segments

    content = bytes(range(256)) * 1024
    for number, (own, other) in enumerate(
        zip(ex01_segments(content, 2), ex01_segments(content, 2, identifier=bytes(16 * [7])), strict=True), 1
    ):
        (tmp_path / f"disk.Ex0{number}").write_bytes(other if number == 2 else own)
    status, [disk] = verified(capsys, tmp_path / "disk.Ex01")
    assert status == 6
    assert any("another acquisition" in problem["message"] for problem in disk["problems"])


@pytest.mark.parametrize("name", ["ewf", "ewf2", "aff", "aff4", "gzip", "xz", "zstd", "lz4", "bzip2", "zip"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_what_was_cut_off_never_matches(
    name: str, share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = unpacked(name, tmp_path)
    data = image.read_bytes()
    image.write_bytes(data[: int(len(data) * share)])
    status, _ = verified(capsys, image)
    # A zip file has its directory at its end: without it, it is not known for one. Behind that stands the
    # volume's name alone, which is in the file once more.
    if (name, share) == ("aff4", 0.999):
        assert status == 0
    else:
        assert status in ((1, 6, 7) if name in ("zip", "aff4") else (1, 6))


def test_a_file_that_cannot_be_read_is_no_mismatch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(MIB))

    def read(self: FileSource, offset: int, length: int) -> bytes:
        if offset <= 70_000 < offset + length:
            raise ReadError("cannot read") from OSError(5, "Input/output error")
        return bytes(length)

    monkeypatch.setattr(FileSource, "_read", read)
    status, [disk] = verified(capsys, image, "--hash", "md5")
    assert status == 1
    assert disk["status"] == "unreadable"
    assert disk["hashes"] == {"md5": None}
    assert disk["places"][0]["size"] == 512


def test_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, [disk] = verified(capsys, tmp_path / "none.E01")
    assert status == 1
    assert disk["problems"][0]["code"] == "unreadable"


def test_several_images_end_with_the_worst(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = unpacked("ewf", tmp_path / "good")
    bad = unpacked("ewf", tmp_path / "bad")
    bad.write_bytes(changed(bad.read_bytes(), CHUNK_AT))
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(MIB))
    assert verified(capsys, good)[0] == 0
    assert verified(capsys, good, raw)[0] == 7
    assert verified(capsys, good, raw, tmp_path / "none.E01")[0] == 1
    assert verified(capsys, good, raw, tmp_path / "none.E01", bad)[0] == 6


def test_the_text_says_what_does_not_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = unpacked("ewf", tmp_path)
    assert main(["verify", str(image)]) == 0
    assert "MD5 of the disk: db7a0af33d835ea7ca1681b99410130b matches" in capsys.readouterr().out
    image.write_bytes(changed(image.read_bytes(), CHUNK_AT))
    assert main(["verify", str(image)]) == 6
    assert "DOES NOT MATCH" in capsys.readouterr().out


# -- interrupted, and gone on with -------------------------------------------------------------------------


def big_image(folder: Path) -> Path:
    """An Ex01 of 6 MiB."""
    from fixtures.recipes.ewf import ex01_image

    folder.mkdir(exist_ok=True)
    image = folder / "big.Ex01"
    image.write_bytes(
        ex01_image(b"".join(hashlib.sha512(bytes([n % 251, n // 251])).digest() * 1024 for n in range(96)))
    )
    return image


def interrupted(image: Path, state: Path, monkeypatch: pytest.MonkeyPatch, more: Sequence[str] = ()) -> None:
    """Verify, and have Control-C come in the middle."""
    from pyimount.verifying.passes import Pass

    told = Pass.read

    def read(self: Pass, tell: Any) -> None:
        count = 0

        def tell_and_stop(at: Pass) -> None:
            nonlocal count
            tell(at)
            count += 1
            if count == 3:
                raise KeyboardInterrupt

        told(self, tell_and_stop)

    with monkeypatch.context() as patched:
        patched.setattr(Pass, "read", read)
        assert main(["verify", "--state", str(state), str(image), *more]) == 130


def test_an_interrupted_run_goes_on_and_comes_to_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, state = big_image(tmp_path), tmp_path / "state"
    status, [whole] = verified(capsys, image, "--hash", "sha256")
    assert status == 0
    interrupted(image, state, monkeypatch, ["--hash", "sha256"])
    kept = json.loads(state.read_text())["parts"]["1.0"]["pass"]
    capsys.readouterr()
    read: list[int] = []
    true = FileSource._read
    monkeypatch.setattr(
        FileSource, "_read", lambda self, at, size: (read.append(size), true(self, at, size))[1]
    )
    status, [resumed] = verified(capsys, image, "--hash", "sha256", "--state", state)
    assert resumed == whole
    assert status == 0
    assert not state.exists()
    assert kept["position"] >= 3 * MIB
    assert sum(read) < image.stat().st_size


def test_what_was_found_before_an_interruption_is_not_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, state = big_image(tmp_path), tmp_path / "state"
    image.write_bytes(changed(image.read_bytes(), 10_000))
    status, [whole] = verified(capsys, image)
    assert status == 6
    interrupted(image, state, monkeypatch)
    capsys.readouterr()
    status, [resumed] = verified(capsys, image, "--state", state)
    assert (status, resumed) == (6, whole)


def test_a_state_of_another_image_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, state = big_image(tmp_path), tmp_path / "state"
    interrupted(image, state, monkeypatch)
    image.write_bytes(changed(image.read_bytes(), 10_000))
    capsys.readouterr()
    assert main(["verify", "--state", str(state), str(image)]) == 2
    assert "another image, or this one was changed since" in capsys.readouterr().err
    assert state.exists()
    fresh = big_image(tmp_path / "again")
    interrupted(fresh, tmp_path / "other", monkeypatch)
    kept = json.loads((tmp_path / "other").read_text())
    for part in (
        {},
        {"pass": {}, "ended": False},
        {"pass": {"position": "x"}, "ended": False, "problems": []},
        7,
    ):
        (tmp_path / "other").write_text(json.dumps({**kept, "parts": {"1.0": part}}))
        assert main(["verify", "--state", str(tmp_path / "other"), str(fresh)]) == 2
    capsys.readouterr()
    state.write_text("{")
    assert main(["verify", "--state", str(state), str(image)]) == 2
    assert main(["verify", "--state", str(state), str(image), str(image.parent / "other.raw")]) == 2


def test_control_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    import os
    import signal
    import time

    fifo_reader = tmp_path / "disk.raw"
    with fifo_reader.open("wb") as file:
        file.truncate(1 << 40)  # sparse, and long enough to be stopped within
    process = subprocess.Popen(
        [sys.executable, "-m", "pyimount", "verify", "--state", tmp_path / "state", fifo_reader],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    # It is stopped once it has read something, whenever that is.
    while process.poll() is None:
        if Path(f"/proc/{process.pid}/io").exists():
            io = Path(f"/proc/{process.pid}/io").read_text()
            if int(io.split("rchar:")[1].split()[0]) > 64 * MIB:
                break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert b"stopped; the same command goes on" in err
    assert out == b""
    assert json.loads((tmp_path / "state").read_text())["parts"]["1.0"]["pass"]["position"] > 0


# -- the tools of the formats say the same -----------------------------------------------------------------


@pytest.mark.needs("ewfacquire", "ewfverify")
def test_an_image_of_ewfacquire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "disk.raw"
    raw.write_bytes(hashlib.sha512(b"a").digest() * 40_000)
    subprocess.run(
        [
            *("ewfacquire", "-u", "-q", "-t", tmp_path / "disk", "-f", "encase6", "-c", "fast"),
            *("-S", "1MiB", "-d", "sha1", "-d", "sha256", raw),
        ],
        check=True,
        capture_output=True,
    )
    status, [disk] = verified(capsys, tmp_path / "disk.E01", "--hash", "sha256")
    assert status == 0
    assert disk["hashes"]["sha256"] == hashlib.sha256(raw.read_bytes()).hexdigest()
    assert disk["hashes"]["md5"] == hashlib.md5(raw.read_bytes()).hexdigest()  # noqa: S324


@pytest.mark.needs("qemu-img")
@pytest.mark.parametrize("kind", ["vdi", "vhdx", "vpc"])
def test_images_of_qemu(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, image = tmp_path / "disk.raw", tmp_path / f"disk.{kind}"
    raw.write_bytes(hashlib.sha512(b"a").digest() * 40_000)
    subprocess.run(["qemu-img", "convert", "-O", kind, raw, image], check=True, capture_output=True)
    status, [disk] = verified(capsys, image)
    assert (status, disk["problems"]) == (7, [])


@pytest.mark.needs("qemu-img")
def test_a_table_that_qemu_finds_fault_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, image = tmp_path / "disk.raw", tmp_path / "disk.vdi"
    raw.write_bytes(hashlib.sha512(b"a").digest() * 80_000)
    subprocess.run(["qemu-img", "convert", "-O", "vdi", raw, image], check=True, capture_output=True)
    data = bytearray(image.read_bytes())
    table = int.from_bytes(data[0x154:0x158], "little")
    data[table] ^= 1  # the first block is now where the second is
    image.write_bytes(data)
    checked = subprocess.run(["qemu-img", "check", image], capture_output=True, check=False)
    assert checked.returncode == 2, checked
    status, [disk] = verified(capsys, image)
    assert status == 6
    assert "overlap" in disk["problems"][0]["message"]


def test_the_state_of_a_hash_is_that_of_hashlib() -> None:
    from pyimount.verifying.sums import ALGORITHMS, keeper

    if not shutil.which("openssl"):
        pytest.skip("no openssl, and so perhaps no libcrypto")
    for algorithm in ALGORITHMS:
        maker = keeper(algorithm)
        assert maker is not None
        one = maker(None)
        one.update(b"x" * 1280)
        assert one.hexdigest() == hashlib.new(algorithm, b"x" * 1280).hexdigest()
        state = one.state()
        one.update(b"y")
        assert one.state() is None  # in the middle of a block
        other = maker(state)
        other.update(b"yz")
        assert other.hexdigest() == hashlib.new(algorithm, b"x" * 1280 + b"yz").hexdigest()
        with pytest.raises(ValueError, match="state"):
            maker("00:64")


# -- where on the disk ------------------------------------------------------------------------------------


def aff4_with_block_hashes(folder: Path) -> tuple[Path, bytes]:
    """An AFF4 of an ext2, its stream scattered over the disk, with an MD5 of each chunk and none of all."""
    from fixtures.recipes import aff4

    folder.mkdir()
    disk = bytes(unpacked("ext2", folder / "ext2").read_bytes())
    points, kept = [], b""
    # The last chunk first: places in the stream are none of the disk's.
    for at in reversed(range(0, len(disk), aff4.CHUNK)):
        piece = disk[at : at + aff4.CHUNK]
        points.append((at, len(piece), len(kept), 0))
        kept += piece.ljust(aff4.CHUNK, b"\0")
    members = aff4.stream_members(aff4.STREAM, kept, "stored") | aff4.map_members(points, (aff4.STREAM,))
    bevy = aff4.CHUNK * aff4.PER_BEVY
    for number, start in enumerate(range(0, len(kept), bevy)):
        chunks = range(start, min(start + bevy, len(kept)), aff4.CHUNK)
        members[f"{aff4.STREAM}/{number:08}.blockHash.md5"] = b"".join(
            hashlib.md5(kept[at : at + aff4.CHUNK], usedforsecurity=False).digest() for at in chunks
        )
    turtle = aff4.image_turtle(len(disk), aff4.VOLUME) + aff4.stream_turtle(
        aff4.STREAM, len(kept), "stored", aff4.VOLUME
    )
    return aff4.write_volume(folder / "disk.aff4", aff4.VOLUME, members, turtle), disk


def test_a_block_hash_of_an_aff4_is_told_with_its_place_on_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, disk = aff4_with_block_hashes(tmp_path / "aff4")
    assert verified(capsys, image)[0] == 0
    data = image.read_bytes()
    at = 1024 + 0x78  # the label, in the superblock
    image.write_bytes(changed(data, data.index(disk[at - 0x78 : at + 16]) + 0x78))
    status, [found] = verified(capsys, image)
    assert status == 6
    (place,) = found["places"]
    assert (place["offset"], place["size"], place["volume"]) == (0, 32768, "0")
    assert any(
        problem["ranges"] == [{"offset": 0, "size": 32768}] and "MD5 does not match" in problem["message"]
        for problem in found["problems"]
    )


PLACED = (
    "ewf",
    "ewf2",
    "ewf-segments",
    "aff",
    "aff4",
    "dmg",
    "vmdk-stream",
    "gzip",
    "zip",
    "zstd",
    "lz4",
    "bzip2",
    "xz",
)


@pytest.mark.parametrize("name", PLACED)
def test_damage_of_the_data_has_its_place_on_the_disk(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each container that keeps something of its pieces: the place holds the byte that differs."""
    what, place = next(
        (what, place) for each, what, place in CHANGES if each == name and what.startswith("data")
    )
    image = unpacked(name, tmp_path)
    data = image.read_bytes()
    image.write_bytes(changed(data, place(data)))
    status, [disk] = verified(capsys, image)
    assert status == 6, what
    if disk["size"] is None or "truncated" in {each["code"] for each in disk["problems"]}:
        # Nothing of it, or not its end, can be unpacked: there is no disk to tell a place on, or what is
        # missing lies behind it. No checksum is then said to match.
        assert not any(each["matches"] for each in disk["checks"])
        return
    assert disk["places"], what
    assert all(0 <= each["offset"] < each["offset"] + each["size"] <= disk["size"] for each in disk["places"])
