"""A volume as its libraries want it: with a copy in the place of what is damaged, where a scan found one.

The libraries read the first superblock, boot sector or header alone; a scan looks for the copies too, and
says in ``copy_at`` which it used. Nothing is written: the copy is read where the first should be. Likewise
what a library stumbles over is kept from it.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyimount.layers import VolumeLayer
from pyimount.records import Record
from pyimount.sources.source import SliceSource, Source

_KIB, _SECTOR = 1024, 512
_EXT_SIZE_AT = 0xFE
_EXT_DESCRIPTOR = 32
# s_desc_size, which is told with the feature 64bit, and what it is without.
_NTFS_MIRRORED = 4
_FIRST_CLUSTER, _CLUSTER_BITS_CAP, _ENTRY, _LABEL, _LONGEST_LABEL = 2, 25, 32, 0x83, 11
# Of exFAT.
_CRAMFS, _CRAMFS_SIZE = (0x28CD3D45).to_bytes(4, "little"), 76
_UFS_SIZE, _UFS_PLACE_AT, _BTRFS_SIZE = 1376, 1000, 4096


class Piece(Record):
    """``size`` bytes that are read at ``place`` where ``at`` is asked for; or are ``data``."""

    at: int
    size: int
    place: int
    data: bytes | None = None


class Patched(Source):
    """A source in which some pieces are read elsewhere; ``pieces`` ascend and do not meet."""

    __slots__ = ("_origin", "_pieces")

    def __init__(self, origin: Source, pieces: Sequence[Piece]) -> None:
        self._origin = origin
        self._pieces = sorted(pieces, key=lambda piece: piece.at)
        self.size = origin.size

    def _read(self, offset: int, length: int) -> bytes:
        end, parts = offset + length, []
        for piece in self._pieces:
            stop = min(piece.at + piece.size, end)
            if stop <= offset:
                continue
            if piece.at > offset:
                parts.append(self._origin.read_at(offset, min(piece.at, end) - offset))
                offset = min(piece.at, end)
            if offset < stop:
                skip = offset - piece.at
                if piece.data is None:
                    parts.append(self._origin.read_at(piece.place + skip, stop - offset))
                else:
                    parts.append(piece.data[skip : skip + stop - offset])
                offset = stop
        if offset < end:
            parts.append(self._origin.read_at(offset, end - offset))
        return b"".join(parts)


def as_wanted(source: Source, layer: VolumeLayer) -> Source:
    """The bytes of a volume as a library finds its way in them. Raises ReadError."""
    kind = layer.type or ""
    details: Any = layer.details
    wrapper = details.get("wrapper")
    start = wrapper["offset"] if kind == "hfsplus" and wrapper else 0
    pieces: list[Piece] = []
    if kind in _PIECES and "copy_at" in details:
        pieces += _PIECES[kind](source, layer, details)
    if kind == "ntfs" and details.get("mft_from_mirror"):
        size = _NTFS_MIRRORED * details["mft_record_size"]
        pieces.append(Piece(details["mft_offset"], size, details["mftmirr_offset"]))
    if pieces:
        source = Patched(source, pieces)
    if kind == "exfat":
        source = Patched(source, _long_label(source))
    if kind == "cramfs" and source.read_at(_SECTOR, 4) == _CRAMFS:
        # Behind room for a boot sector; what it says counts from the start all the same.
        source = Patched(source, [Piece(0, _CRAMFS_SIZE, _SECTOR)])
    # The volume in a wrapper of HFS's is one from its own start on.
    return SliceSource(source, start, source.size - start) if start else source


def _long_label(source: Source) -> Sequence[Piece]:
    """For libfsfat 20260826, which refuses a volume whose label is longer than Windows lets it be."""
    heap, root, sector, cluster = struct.unpack_from("<88xI4xI8xBB", source.read_at(0, _SECTOR))
    if root < _FIRST_CLUSTER or sector + cluster > _CLUSTER_BITS_CAP:
        return ()
    at = (heap << sector) + ((root - _FIRST_CLUSTER) << sector + cluster)
    entries = source.read_at(at, min(1 << sector + cluster, 64 * _KIB)) if at < source.size else b""
    return [
        Piece(at + number + 1, 1, 0, bytes([_LONGEST_LABEL]))
        for number in range(0, len(entries) - 1, _ENTRY)
        if entries[number] == _LABEL and entries[number + 1] > _LONGEST_LABEL
    ][:1]


def _sectors(count: int) -> "_Maker":
    """Of a format whose copy is one of the volume's first sectors."""
    return lambda _, layer, details: (Piece(0, count * (layer.block_size or _SECTOR), details["copy_at"]),)


def _ext(source: Source, layer: VolumeLayer, details: Any) -> Sequence[Piece]:
    """The superblock, and the group descriptors that stand in the blocks behind it."""
    copy, block = details["copy_at"], layer.block_size or _KIB
    superblock = Piece(_KIB, _KIB, copy)
    if "meta_bg" in details["features"]:
        return (superblock,)
    groups = -(-details["blocks"] // details["blocks_per_group"])
    wide = "64bit" in details["features"]
    size = int.from_bytes(source.read_at(copy + _EXT_SIZE_AT, 2), "little") if wide else _EXT_DESCRIPTOR
    # Behind the block of the first superblock, which is the second where blocks are of 1 KiB.
    return superblock, Piece(max(2 * _KIB, block), groups * size, copy + block)


def _hfsplus(_: Source, _layer: VolumeLayer, details: Any) -> Sequence[Piece]:
    wrapper = details.get("wrapper")
    start = wrapper["offset"] if wrapper else 0
    return (Piece(start + _KIB, _SECTOR, details["copy_at"]),)


def _ufs(source: Source, layer: VolumeLayer, details: Any) -> Sequence[Piece]:
    """UFS2 says where its superblock stands, which is 64 KiB in by custom alone."""
    copy, at = details["copy_at"], 8 * _KIB
    if layer.version == "2":
        at = int.from_bytes(source.read_at(copy + _UFS_PLACE_AT, 8), "little")
        if at not in (8 * _KIB, 64 * _KIB, 256 * _KIB):
            return ()
    return (Piece(at, _UFS_SIZE, copy),)


def _btrfs(_: Source, _layer: VolumeLayer, details: Any) -> Sequence[Piece]:
    return (Piece(64 * _KIB, _BTRFS_SIZE, details["copy_at"]),)


_Maker = Callable[[Source, VolumeLayer, Any], Sequence[Piece]]
_PIECES: Mapping[str, _Maker] = {
    "vfat": _sectors(1), "exfat": _sectors(12), "ntfs": _sectors(1), "xfs": _sectors(1),
    "ext2": _ext, "ext3": _ext, "ext4": _ext, "hfsplus": _hfsplus, "ufs": _ufs, "btrfs": _btrfs,
}  # fmt: skip
