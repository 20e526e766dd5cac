"""Members of md arrays with known content, laid out by tables that are written out here, not reckoned.

The tables: one string a stripe, one character a device; digits are the stripe's data chunks in order. They
follow md(4), SNIA's DDF specification (4.2, figures of the RAID levels) and what mdadm calls them.
"""

from collections.abc import Sequence
from hashlib import shake_128
from typing import Any

from fixtures.recipes.md import DEVICE_UUID, superblock_0, superblock_1

CHUNK = 1024
DATA_OFFSET = 8192

RAID4 = {0: ("012P",)}
RAID5 = {
    0: ("012P", "01P2", "0P12", "P012"),  # left-asymmetric
    1: ("P012", "0P12", "01P2", "012P"),  # right-asymmetric
    2: ("012P", "12P0", "2P01", "P012"),  # left-symmetric
    3: ("P012", "2P01", "12P0", "012P"),  # right-symmetric
    4: ("P012",),  # parity-first
    5: ("012P",),  # parity-last
}
RAID6 = {
    0: ("Q012P", "012PQ", "01PQ2", "0PQ12", "PQ012"),  # left-asymmetric
    1: ("PQ012", "0PQ12", "01PQ2", "012PQ", "Q012P"),  # right-asymmetric
    2: ("Q012P", "012PQ", "12PQ0", "2PQ01", "PQ012"),  # left-symmetric
    3: ("PQ012", "2PQ01", "12PQ0", "012PQ", "Q012P"),  # right-symmetric
    4: ("PQ012",),  # parity-first
    5: ("012PQ",),  # parity-last
    8: ("PQ012", "0PQ12", "01PQ2", "012PQ", "Q012P"),  # ddf-zero-restart
    9: ("012PQ", "01PQ2", "0PQ12", "PQ012", "Q012P"),  # ddf-N-restart
    10: ("012QP", "12QP0", "2QP01", "QP012", "P012Q"),  # ddf-N-continue
    16: ("012PQ", "01P2Q", "0P12Q", "P012Q"),  # left-asymmetric-6
    17: ("P012Q", "0P12Q", "01P2Q", "012PQ"),  # right-asymmetric-6
    18: ("012PQ", "12P0Q", "2P01Q", "P012Q"),  # left-symmetric-6
    19: ("P012Q", "2P01Q", "12P0Q", "012PQ"),  # right-symmetric-6
    20: ("P012Q",),  # parity-first-6
}
DDF = (8, 9, 10)
"""Whose Q counts devices, not data chunks."""
PARITY = {4: RAID4, 5: RAID5, 6: RAID6}


def content(size: int) -> bytes:
    """Bytes that look like any, the same each time."""
    return shake_128(b"md").digest(size)


def _doubled(run: bytes) -> bytes:
    """Times 2 in the field over x^8 + x^4 + x^3 + x^2 + 1."""
    return run.translate(bytes((value << 1 ^ (0x11D if value & 0x80 else 0)) & 0xFF for value in range(256)))


def _xor(runs: Sequence[bytes]) -> bytes:
    total = 0
    for run in runs:
        total ^= int.from_bytes(run, "big")
    return total.to_bytes(len(runs[0]), "big")


def _q(chunks: Sequence[bytes]) -> bytes:
    """The sum of 2^i times chunk i, from the last to the first."""
    total = bytes(len(chunks[0]))
    for chunk in reversed(chunks):
        total = _xor((_doubled(total), chunk))
    return total


def with_parity(data: bytes, level: int, layout: int, chunk: int = CHUNK) -> list[bytes]:
    """The data areas of the devices of an array of level 4, 5 or 6; ``data`` fills whole stripes."""
    table = PARITY[level][layout]
    disks = len(table[0])
    width = disks - (2 if level == 6 else 1)
    made: list[list[bytes]] = [[] for _ in range(disks)]
    for number in range(len(data) // (width * chunk)):
        row = table[number % len(table)]
        start = number * width * chunk
        chunks = [data[start + at * chunk : start + (at + 1) * chunk] for at in range(width)]
        laid = {"P": _xor(chunks)}
        for name, piece in enumerate(chunks):
            laid[str(name)] = piece
        if "Q" in row:
            if layout in DDF:
                counted = [bytes(chunk) if name in "PQ" else laid[name] for name in row]
            else:
                at = row.index("Q")
                counted = [laid[name] for name in row[at + 1 :] + row[:at] if name != "P"]
            laid["Q"] = _q(counted)
        for device, name in zip(made, row, strict=True):
            device.append(laid[name])
    return [b"".join(device) for device in made]


def copied(
    data: bytes, disks: int, near: int, far: int, chunk: int = CHUNK, *, offset: bool = False
) -> list[bytes]:
    """The data areas of a RAID 10 array: as md(4) describes near, far and offset copies.

    ``data`` fills whole rows of chunks.
    """
    chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    in_a_row = [piece for piece in chunks for _ in range(near)]
    rows = [in_a_row[at : at + disks] for at in range(0, len(in_a_row), disks)]

    def shifted(row: list[bytes], by: int) -> list[bytes]:
        by %= disks
        return row[-by:] + row[:-by] if by else row

    if offset:
        laid = [shifted(row, copy * near) for row in rows for copy in range(far)]
    else:
        laid = [shifted(row, copy * near) for copy in range(far) for row in rows]
    return [b"".join(column) for column in zip(*laid, strict=True)]


def striped(data: bytes, sizes: Sequence[int], chunk: int = CHUNK, *, original: bool = False) -> list[bytes]:
    """The data areas of a RAID 0 array over devices of these sizes; ``data`` fills them all."""
    made = [bytearray() for _ in sizes]
    at = 0
    while at < len(data):
        # All that have room take a chunk in turn, until one of them is full.
        height = min(len(device) for device, size in zip(made, sizes, strict=True) if len(device) < size)
        there = [
            device
            for device, size in zip(made, sizes, strict=True)
            if len(device) == height and height < size
        ]
        turn = at // chunk
        for step in range(len(there)):
            # A new zone starts with the first device, or, formerly, with the one whose turn it was.
            place = (turn + step) % len(there) if original else step
            there[place] += data[at : at + chunk]
            at += chunk
    return [bytes(device) for device in made]


def members(areas: Sequence[bytes], metadata: str = "1.2", chunk: int = CHUNK, **facts: Any) -> list[bytes]:
    """The images of an array's devices. ``facts``: of the superblock, those of one device by ``each``."""
    each = facts.pop("each", {})
    return [
        member(
            area, metadata, number=number, disks=len(areas), chunk=chunk, **{**facts, **each.get(number, {})}
        )
        for number, area in enumerate(areas)
    ]


def member(area: bytes, metadata: str, *, number: int, disks: int, chunk: int, **facts: Any) -> bytes:
    """The image of one device with this data area."""
    if metadata.startswith("0.90"):
        return _member_0(
            area, number=number, disks=disks, chunk=chunk, order=metadata[5:] or "little", **facts
        )
    end = -len(area) % 4096
    offset = {"1.0": len(area) + end, "1.1": 0, "1.2": 4096}[metadata]
    start = 0 if metadata == "1.0" else DATA_OFFSET
    superblock = superblock_1(
        offset,
        **{
            "feature_map": 0, "chunksize": chunk // 512, "raid_disks": disks, "dev_number": number,
            "roles": tuple(range(disks)), "data_offset": start // 512, "data_size": len(area) // 512,
            "size": len(area) // 512, "device_uuid": DEVICE_UUID[:15] + bytes([number]), "bblog_size": 0,
            **facts,
        },
    )  # fmt: skip
    if metadata == "1.0":
        return area + bytes(end) + superblock + bytes(8192 - len(superblock))
    image = bytearray(start) + area
    image[offset : offset + len(superblock)] = superblock
    return bytes(image)


def _member_0(area: bytes, *, number: int, disks: int, chunk: int, order: str, **facts: Any) -> bytes:
    from pyimount.parsers.volumes.md_version_0 import DESCRIPTOR_0

    if len(area) % 65536:
        raise ValueError("version 0.90 has its superblock at a multiple of 64 KiB")
    described = [
        DESCRIPTOR_0[order].construct.build(
            {"number": at, "major": 8, "minor": at + 1, "raid_disk": at, "state": 6, "reserved": bytes(108)}
        )
        for at in range(disks)
    ]
    superblock = superblock_0(
        order,
        **{
            "nr_disks": disks, "raid_disks": disks, "chunk_size": chunk, "size": len(area) // 1024,
            "disks": b"".join(described).ljust(27 * 128, b"\0"), "this_disk": described[number], **facts,
        },
    )  # fmt: skip
    return area + superblock + bytes(65536 - len(superblock))
