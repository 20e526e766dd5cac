"""ReFS.

Layout: Microsoft, "FILE_SYSTEM_RECOGNITION_STRUCTURE", for what stands before the number of sectors
https://learn.microsoft.com/windows/win32/fileio/file-system-recognition-structure
and libfsrefs, "Resilient File System (ReFS)", for the rest
https://github.com/libyal/libfsrefs/tree/main/documentation
"""

from typing import Any

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, TableRule, Usage
from pyimount.formats.checksums import rotated_sum
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import guid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

VOLUME_HEADER = layout(
    lambda: Struct(
        "Jmp" / Bytes(3),
        "FsName" / Const(b"ReFS\0\0\0\0"),
        "MustBeZero" / Const(bytes(5)),
        "Identifier" / Const(b"FSRS"),
        "Length" / Int16ul,
        "Checksum" / Int16ul,
        "number_of_sectors" / Int64ul,
        "sector_size" / Int32ul,
        "sectors_per_cluster_block" / Int32ul,
        "major_format_version" / Int8ul,
        "minor_format_version" / Int8ul,
        "unknown" / Bytes(14),
        "volume_serial_number" / Int64ul,
        "container_size" / Int64ul,
    )
)
SUPERBLOCK_1 = layout(
    lambda: Struct("block_number" / Int64ul, "header" / Bytes(40), "volume_identifier" / Bytes(16))
)
SUPERBLOCK_3 = layout(
    lambda: Struct(
        "signature" / Const(b"SUPB"),
        "header" / Bytes(28),
        "block_number" / Int64ul,
        "rest_of_header" / Bytes(40),
        "volume_identifier" / Bytes(16),
    )
)

MAGIC = b"\0\0\0ReFS\0"
SECTOR_SIZES = (512, 4096)
CHECKED_FROM = 3
CHECKSUM_AT = slice(22, 24)
MAX_CLUSTER = 2 << 20
SUPERBLOCK = 30
"""The block that the superblock lies in."""
METADATA_BLOCK_1 = 16384
"""Bytes in a block of metadata before version 2; since then it is a cluster block."""


def parse(view: View) -> Identity:
    """The identity of a ReFS, from the backup of its volume header if need be."""
    try:
        return _identity(view, 0)
    except NotThisFormat:
        for sector in SECTOR_SIZES:
            offset = view.size - sector
            if view.peek(offset, len(MAGIC)) == MAGIC:
                try:
                    return _identity(view, offset)
                except (NotThisFormat, ShortRead):
                    continue
        raise


def _identity(view: View, offset: int) -> Identity:
    header = read_struct(view, VOLUME_HEADER, offset)
    sector, per_cluster = header.sector_size, header.sectors_per_cluster_block
    cluster, size = sector * per_cluster, header.number_of_sectors * sector
    if sector not in (512, 1024, 2048, 4096) or not per_cluster or per_cluster & (per_cluster - 1):
        raise NotThisFormat(f"sectors of {sector} bytes, cluster blocks of {per_cluster} sectors")
    if cluster > MAX_CLUSTER or not 0 < size < 1 << 63 or not VOLUME_HEADER.size <= header.Length <= sector:
        raise NotThisFormat(f"{size} bytes, cluster blocks of {cluster}, a header of {header.Length}")
    if header.major_format_version not in (1, 2, 3):
        raise NotThisFormat(f"version {header.major_format_version}")
    problems = []
    checked = _checksum(view, offset, header.Length) == header.Checksum
    if not checked:
        message = f"the checksum of the volume header at {offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    identifier = _volume_identifier(view, header, cluster)
    if offset:
        # A sector far away proves little: its checksum must hold, and what it describes must begin here.
        if not checked or identifier is None or size > offset + sector:
            raise NotThisFormat("no backup volume header of this place")
        message = f"the volume header at 0 is unusable; the facts come from the copy at {offset}"
        problems.append(Problem(Code.BACKUP_USED, message))
    elif identifier is None:
        problems.append(Problem(Code.DAMAGED, "there is no superblock where it should be"))
    details: dict[str, Json] = {
        "refs_version": f"{header.major_format_version}.{header.minor_format_version}",
        "serial": f"{header.volume_serial_number:016X}",
        "volume_identifier": identifier,
        "sector_size": sector,
        "cluster_size": cluster,
        "sectors": header.number_of_sectors,
        "container_size": header.container_size or None,
    }
    return Identity(
        type="ReFS",
        fstype="refs",
        free_unknown="its allocators lie in its trees, which are not read",
        fs_size=size,
        offset=offset,
        checked=checked,
        details=details,
        problems=tuple(problems),
    )


def _checksum(view: View, offset: int, length: int) -> int:
    raw = bytearray(view.glance(offset, length))
    del raw[CHECKSUM_AT]
    return rotated_sum(bytes(raw[CHECKED_FROM:]), 16)


def _volume_identifier(view: View, header: Any, cluster: int) -> str | None:
    """The GUID in the superblock; None where there is no superblock."""
    first = header.major_format_version == 1
    declared, block = (SUPERBLOCK_1, METADATA_BLOCK_1) if first else (SUPERBLOCK_3, cluster)
    try:
        superblock = parse_struct(view.glance(SUPERBLOCK * block, declared.size), declared)
    except NotThisFormat:
        return None
    return guid_text(superblock.volume_identifier) if superblock.block_number == SUPERBLOCK else None


FORMAT = Format(
    name="refs",
    title="ReFS",
    specification="https://github.com/libyal/libfsrefs/tree/main/documentation",
    usage=Usage.FILESYSTEM,
    types=("ReFS",),
    parse=parse,
    signatures=(
        Signature(MAGIC, 0),
        *(Signature(MAGIC, -sector, copy=True) for sector in SECTOR_SIZES),
    ),
    with_table=TableRule.HIDES,
    unmountable="Linux has no driver for ReFS, and no program is known that shows its files",
)
