"""VDO: deduplicated and compressed volumes.

Layout: Linux, drivers/md/dm-vdo/encodings.h and encodings.c
https://github.com/torvalds/linux/blob/master/drivers/md/dm-vdo/encodings.h
"""

from typing import Any
from zlib import crc32

from construct import Bytes, Const, Int8ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.layouts import Layout, layout, parse_struct
from pyimount.formats.notation import uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"dmvdo001"
BLOCK = 4096


def _geometry(*bio_offset: Any) -> Struct:
    return Struct(
        "magic_number" / Const(MAGIC),
        "id" / Int32ul,
        "major_version" / Int32ul,
        "minor_version" / Int32ul,
        "size" / Int64ul,
        "unused" / Int32ul,
        "nonce" / Int64ul,
        "uuid" / Bytes(16),
        *bio_offset,
        "index_region_id" / Int32ul,
        "index_region_start_block" / Int64ul,
        "data_region_id" / Int32ul,
        "data_region_start_block" / Int64ul,
        "index_mem" / Int32ul,
        "index_unused" / Int32ul,
        "index_sparse" / Int8ul,
        "checksum" / Int32ul,
    )


GEOMETRY: dict[int, Layout] = {
    4: layout(_geometry),
    5: layout(lambda: _geometry("bio_offset" / Int64ul)),
}
"""By the major version of the geometry block."""
# Header, volume version and VDO's own component; others follow.
SUPER_BLOCK = layout(
    lambda: Struct(
        "id" / Int32ul,
        "major_version" / Int32ul,
        "minor_version" / Int32ul,
        "size" / Int64ul,
        "unused" / Int32ul,
        "volume_major_version" / Int32ul,
        "volume_minor_version" / Int32ul,
        "component_major_version" / Int32ul,
        "component_minor_version" / Int32ul,
        "state" / Int32ul,
        "complete_recoveries" / Int64ul,
        "read_only_recoveries" / Int64ul,
        "logical_blocks" / Int64ul,
        "physical_blocks" / Int64ul,
        "slab_size" / Int64ul,
        "recovery_journal_size" / Int64ul,
        "slab_journal_blocks" / Int64ul,
        "nonce" / Int64ul,
    )
)
HEADER_SIZE = 20
GEOMETRY_BLOCK = 5
SUPER_BLOCK_ID = 0
STATES = (
    "dirty",
    "new",
    "clean",
    "read-only",
    "force-rebuild",
    "recovering",
    "replaying",
    "rebuild-for-upgrade",
)


def parse(view: View) -> Identity:
    """The identity of the device beneath a VDO volume."""
    block = view.read(0, 128)
    declared = GEOMETRY.get(int.from_bytes(block[12:16], "little"))
    if declared is None:
        raise NotThisFormat("a geometry block of no known version")
    geometry = parse_struct(block, declared)
    if geometry.id != GEOMETRY_BLOCK or geometry.size != declared.size:
        raise NotThisFormat(f"component {geometry.id} of {geometry.size} bytes")
    problems: list[Problem] = []
    checked = _crc(block[: declared.size - 4]) == geometry.checksum
    if not checked:
        problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the geometry block does not match"))
    offset = getattr(geometry, "bio_offset", 0)
    index, data = geometry.index_region_start_block, geometry.data_region_start_block
    details: dict[str, Json] = {
        "geometry_version": f"{geometry.major_version}.{geometry.minor_version}",
        "nonce": geometry.nonce,
        "bio_offset_blocks": offset,
        "index_region_offset": index * BLOCK,
        "data_region_offset": data * BLOCK,
        # Below a gigabyte: 2**32 less the quarters of one.
        "index_memory": _memory(geometry.index_mem),
        "index_sparse": bool(geometry.index_sparse),
    }
    state = size = None
    try:
        sb = _super_block(view, (data - offset) * BLOCK)
    except (NotThisFormat, ShortRead) as error:
        problems.append(Problem(Code.DAMAGED, f"the super block cannot be read: {error}"))
    else:
        state = STATES[sb.state] if sb.state < len(STATES) else str(sb.state)
        size = sb.physical_blocks * BLOCK
        details |= {
            "volume_version": f"{sb.volume_major_version}.{sb.volume_minor_version}",
            "logical_size": sb.logical_blocks * BLOCK,
            "physical_size": size,
            "slab_size": sb.slab_size * BLOCK,
            "recovery_journal_size": sb.recovery_journal_size * BLOCK,
            "slab_journal_size": sb.slab_journal_blocks * BLOCK,
            "complete_recoveries": sb.complete_recoveries,
            "read_only_recoveries": sb.read_only_recoveries,
        }
        if sb.nonce != geometry.nonce:
            problems.append(Problem(Code.DAMAGED, "geometry and super block are of different volumes"))
    return Identity(
        type="vdo",
        fstype="vdo",
        uuid=uuid_text(geometry.uuid),
        fs_size=size,
        state=state,
        checked=checked,
        details=details,
        problems=tuple(problems),
    )


def _super_block(view: View, at: int) -> Any:
    block = view.read(at, 512)
    sb = parse_struct(block, SUPER_BLOCK)
    # The size takes in the checksum, not the header.
    end = HEADER_SIZE + sb.size - 4
    if sb.id != SUPER_BLOCK_ID or not SUPER_BLOCK.size <= end <= len(block) - 4:
        raise NotThisFormat(f"component {sb.id} of {sb.size} bytes at {at}")
    if _crc(block[:end]) != int.from_bytes(block[end : end + 4], "little"):
        raise NotThisFormat("its checksum does not match")
    return sb


def _crc(raw: bytes) -> int:
    return crc32(raw) ^ 0xFFFFFFFF


def _memory(number: int) -> int:
    return (1 << 32) - number << 28 if number >= 0xFFFFFFFD else number << 30


FORMAT = Format(
    name="vdo",
    title="VDO backing device",
    specification="https://docs.kernel.org/admin-guide/device-mapper/vdo-design.html",
    usage=Usage.OTHER,
    types=("vdo",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    precedence=Precedence.VOLUME_GROUP,
)
