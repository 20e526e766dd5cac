"""What is free in a FAT file system, by its FAT.

Layout: Microsoft, "Extensible Firmware Initiative FAT32 File System Specification" 1.03 (fatgen103)
https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc

FSInfo is a hint that "is not necessarily correct"; a cluster is free where its entry is 0.
"""

from collections.abc import Iterable
from functools import reduce
from operator import or_

from pyimount.formats import NotThisFormat
from pyimount.formats.allocation import BYTES, Reader, Space, TooMuch
from pyimount.records import Record

_ANY = bytes((0,)) + bytes((1,)) * 255
"""Makes every byte that is not 0 a 1."""
_LOW_NIBBLE = bytes(int(byte & 0xF != 0) for byte in range(256))
"""The same, without the four bits that FAT32 keeps for others."""

_BLOCK = 4096
_ZEROS = bytes(_BLOCK)


class Table(Record, kw_only=True):
    """The FAT in use: ``offset`` and ``size`` in bytes, ``bits`` of an entry, ``clusters`` and bytes in each.

    ``hint``: free clusters by FSInfo, None where it says nothing; ``clean``: the volume was unmounted.
    """

    offset: int
    size: int
    bits: int
    clusters: int
    cluster_size: int
    hint: int | None = None
    clean: bool = True


def count_free(table: Table, reader: Reader) -> Space:
    """Free bytes: the clusters whose entry is 0.

    Where that takes too much reading, FSInfo's count, unless the part that is read speaks against it.
    """
    length = -(-(table.clusters + 2) * table.bits // 8)
    if length > table.size:
        raise NotThisFormat(f"{table.clusters} clusters, and a FAT of {table.size} bytes")
    try:
        used = _used_in(reader.pieces(table.offset, length), table)
    except TooMuch as error:
        return _hinted(table, reader, str(error))
    return _space(table, table.clusters - used, "FAT")


def _space(table: Table, free: int, found: str) -> Space:
    return Space(
        free=free * table.cluster_size,
        used=(table.clusters - free) * table.cluster_size,
        found=found,
        details={"free_clusters": free},
    )


def _hinted(table: Table, reader: Reader, why: str) -> Space:
    """What FSInfo says of a FAT too large to count, if it can be true."""
    if table.hint is None or table.hint > table.clusters:
        raise TooMuch(why)
    if not table.clean:
        raise TooMuch(f"{why}; FSInfo is not up to date in a volume that was not unmounted")
    entries = BYTES * 8 // table.bits
    used = _used_in(reader.pieces(table.offset, BYTES), table)
    free, rest = entries - 2 - used, table.clusters - (entries - 2)
    if not free <= table.hint <= free + rest:
        raise TooMuch(f"{why}; FSInfo is stale: the first {entries} entries of the FAT speak against it")
    return _space(
        table, table.hint, "FSInfo, which is a hint: the FAT is too large to be counted without --free"
    )


def _used_in(pieces: Iterable[bytes], table: Table) -> int:
    """How many clusters are in use by these pieces of the FAT; its first two entries are no cluster's."""
    used = 0
    for number, piece in enumerate(pieces):
        used += _used(piece, table)
        if number == 0:
            used -= _used(piece[: table.bits // 4], table)
    return used


def _used(piece: bytes, table: Table) -> int:
    """How many entries of a piece of the FAT are not 0, up to the last cluster's in the last piece."""
    if table.bits == 12:
        values = (int.from_bytes(piece[at : at + 3], "little") for at in range(0, len(piece), 3))
        entries = [entry for value in values for entry in (value & 0xFFF, value >> 12)]
        return sum(1 for entry in entries[: len(piece) * 8 // 12] if entry)
    # Much of most FATs is free: blocks of zeros need no look at their entries.
    piece = b"".join(
        block
        for at in range(0, len(piece), _BLOCK)
        if (block := piece[at : at + _BLOCK]) != _ZEROS[: len(block)]
    )
    # Every first, second … byte of the entries as one number each; a 1 for each byte that is not 0.
    width = table.bits // 8
    lanes = [piece[lane::width].translate(_ANY) for lane in range(width)]
    if width == 4:
        lanes[3] = piece[3::4].translate(_LOW_NIBBLE)
    return reduce(or_, (int.from_bytes(lane, "little") for lane in lanes)).bit_count()
