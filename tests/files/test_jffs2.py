"""JFFS2: what counts of a log in which nodes overwrite, delete and name anew."""

import random
import struct
import zlib
from pathlib import Path

import pytest

pytest.importorskip("dissect.jffs")

from pyimount.files.adapters.jffs2_nodes import _rtime
from pyimount.files.records import Kind
from pyimount.files.system import Damaged
from tests.files.trees import opened

ROOT, FILE = 1, 0o100644


def summed(data: bytes) -> int:
    """CRC-32 as the kernel calls it: from 0, and not inverted."""
    return zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF


def node(kind: int, body: bytes, data: bytes, sums: tuple[int, ...]) -> bytes:
    head = struct.pack("<HHI", 0x1985, kind, 12 + len(body) + 4 * len(sums) + len(data))
    whole = head + struct.pack("<I", summed(head)) + body
    whole += struct.pack(f"<{len(sums)}I", *sums) + data
    return whole + b"\xff" * (-len(whole) % 4)


def named(name: bytes, number: int, version: int, kind: int = 8) -> bytes:
    body = struct.pack("<IIIIBBxx", ROOT, version, number, 5, len(name), kind)
    head = struct.pack("<HHI", 0x1985, 0xE001, 40 + len(name))
    checked = head + struct.pack("<I", summed(head)) + body
    return node(0xE001, body, name, (summed(checked), summed(name)))


def piece(number: int, version: int, at: int, data: bytes, size: int, *, packed: bool = True) -> bytes:
    raw = zlib.compress(data) if packed else data
    body = struct.pack(
        "<IIIHHIIIIIIIBBH", number, version, FILE, 7, 8, size, 1, 2, 3, at, len(raw), len(data),
        6 if packed else 0, 0, 0,
    )  # fmt: skip
    head = struct.pack("<HHI", 0x1985, 0xE002, 68 + len(raw))
    checked = head + struct.pack("<I", summed(head)) + body
    return node(0xE002, body, raw, (summed(raw), summed(checked)))


def image_of(folder: Path, nodes: list[bytes]) -> Path:
    clean = struct.pack("<HHI", 0x1985, 0x2003, 12)
    data = clean + struct.pack("<I", summed(clean)) + b"".join(nodes)
    image = folder / "jffs2.img"
    image.write_bytes(data.ljust(1 << 18, b"\xff"))
    return image


@pytest.mark.parametrize("seed", range(8))
def test_each_byte_is_that_of_the_newest_node(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    wanted, nodes = bytearray(20_000), []
    for version in range(1, 60):
        at = dice.randrange(19_000)
        data = dice.randbytes(dice.randrange(1, min(4096, 20_000 - at)))
        wanted[at : at + len(data)] = data
        nodes.append(piece(2, version, at, data, 20_000, packed=dice.random() < 0.5))
    dice.shuffle(nodes)
    nodes.insert(dice.randrange(60), named(b"file", 2, 1))
    with opened(image_of(tmp_path, nodes)) as files:
        entry = files.get("/file")
        assert entry.read() == wanted
        assert b"".join(entry.pieces(777, 9999)) == wanted[777 : 777 + 9999]
        assert (entry.stat().uid, entry.stat().gid, entry.stat().modified) == (7, 8, 2 * 10**9)


def test_names_are_those_of_the_newest_nodes(tmp_path: Path) -> None:
    nodes = [
        named(b"gone", 0, 9), named(b"gone", 3, 8), named(b"came back", 4, 7), named(b"came back", 0, 6),
        named(b"moved", 2, 5), named(b"moved", 3, 4),
        *(piece(number, 1, 0, b"%d" % number, 1) for number in (2, 3, 4)),
    ]  # fmt: skip
    with opened(image_of(tmp_path, nodes)) as files:
        found = {entry.name: entry.read() for entry in files.root.entries()}
    assert found == {"came back": b"4", "moved": b"2"}, "deleted files are not shown"


def test_what_does_not_match_its_checksum_is_told_and_hides_nothing(tmp_path: Path) -> None:
    bad = bytearray(piece(2, 1, 0, b"data of the first", 17, packed=False))
    bad[-4] ^= 1
    no_node = bytearray(named(b"third", 4, 1))
    no_node[20] ^= 1
    nodes = [
        named(b"first", 2, 1),
        bytes(bad),
        bytes(no_node),
        named(b"second", 3, 1),
        piece(3, 1, 0, b"2", 1),
    ]
    with opened(image_of(tmp_path, nodes)) as files:
        assert {entry.name: entry.kind for entry in files.root.entries()} == {
            "first": Kind.FILE, "second": Kind.FILE
        }  # fmt: skip
        with pytest.raises(Damaged, match="checksum"):
            files.get("/first").read()
        assert files.get("/second").read() == b"2"


def test_rtime_repeats_what_followed() -> None:
    assert _rtime(bytes([65, 0, 66, 0, 65, 1, 67, 0]), 6) == b"ABABC"[:6]
    assert _rtime(bytes([65, 5]), 6) == b"AAAAAA"
    assert len(_rtime(bytes([65, 255]) * 99, 100)) == 100
