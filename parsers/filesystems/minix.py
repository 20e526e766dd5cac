"""The Minix file system, versions 1 to 3, in both byte orders.

Layout: linux/include/uapi/linux/minix_fs.h, ``struct minix_super_block`` and ``minix3_super_block``
https://github.com/torvalds/linux/blob/master/include/uapi/linux/minix_fs.h
"""

from functools import partial
from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int16ul, Int32ub, Int32ul, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Precedence, Signature, Usage
from pyimount.formats.allocation import Allocation, Reader, Space, ones
from pyimount.formats.layouts import layout, read_struct
from pyimount.sources.view import View


def _version_1(u16: Any, u32: Any) -> Any:
    return Struct(
        "s_ninodes" / u16,
        "s_nzones" / u16,
        "s_imap_blocks" / u16,
        "s_zmap_blocks" / u16,
        "s_firstdatazone" / u16,
        "s_log_zone_size" / u16,
        "s_max_size" / u32,
        "s_magic" / u16,
        "s_state" / u16,
        "s_zones" / u32,
    )


def _version_3(u16: Any, u32: Any) -> Any:
    return Struct(
        "s_ninodes" / u32,
        "s_pad0" / u16,
        "s_imap_blocks" / u16,
        "s_zmap_blocks" / u16,
        "s_firstdatazone" / u16,
        "s_log_zone_size" / u16,
        "s_pad1" / u16,
        "s_max_size" / u32,
        "s_zones" / u32,
        "s_magic" / u16,
        "s_pad2" / u16,
        "s_blocksize" / u16,
        "s_disk_version" / Int8ub,
        "padding" / Bytes(1),
    )


SUPERBLOCK = layout(lambda: _version_1(Int16ul, Int32ul))
SUPERBLOCK_BE = layout(lambda: _version_1(Int16ub, Int32ub))
SUPERBLOCK_3 = layout(lambda: _version_3(Int16ul, Int32ul))
SUPERBLOCK_3_BE = layout(lambda: _version_3(Int16ub, Int32ub))
OFFSET = 1024
_MAGIC_AT, _MAGIC_3_AT = 16, 24

# Version, and the longest file name, bytes.
MAGICS = {0x137F: (1, 14), 0x138F: (1, 30), 0x2468: (2, 14), 0x2478: (2, 30)}
MAGIC_3 = 0x4D5A
NAME_3 = 60
BLOCK_SIZE = 1024
"""Of versions 1 and 2, bytes."""
INODE_SIZES = {1: 32, 2: 64, 3: 64}
VALID, ERROR = 0x1, 0x2


def parse(view: View) -> Identity:
    """The identity of a Minix file system."""
    for big in (False, True):
        sb = read_struct(view, SUPERBLOCK_BE if big else SUPERBLOCK, OFFSET)
        if sb.s_magic in MAGICS:
            version, name_length = MAGICS[sb.s_magic]
            sb.s_blocksize = BLOCK_SIZE
            if version == 1:
                sb.s_zones = sb.s_nzones
            return _identity(view, sb, version, name_length, _state(sb.s_state), big=big)
        sb = read_struct(view, SUPERBLOCK_3_BE if big else SUPERBLOCK_3, OFFSET)
        if sb.s_magic == MAGIC_3:
            return _identity(view, sb, 3, NAME_3, None, big=big)
    raise NotThisFormat("no magic")


def _state(state: int) -> str:
    if state & ~(VALID | ERROR):
        raise NotThisFormat(f"state {state:#x}")
    if state & ERROR:
        return "error"
    return "clean" if state & VALID else "dirty"


def _identity(
    view: View, sb: Any, version: int, name_length: int, state: str | None, *, big: bool
) -> Identity:
    first = _plausible(sb, version)
    zone_size = sb.s_blocksize << sb.s_log_zone_size
    return Identity(
        type="minix",
        fstype="minix",
        version=f"{version}",
        block_size=sb.s_blocksize,
        fs_size=sb.s_zones * zone_size,
        state=state,
        offset=OFFSET,
        details={
            "inodes": sb.s_ninodes,
            "zones": sb.s_zones,
            "zone_size": zone_size,
            "inode_map_blocks": sb.s_imap_blocks,
            "zone_map_blocks": sb.s_zmap_blocks,
            "first_data_zone": sb.s_firstdatazone,
            "max_file_size": sb.s_max_size,
            "name_length": name_length,
            "byte_order": "big" if big else "little",
        },
        allocation=Allocation(view, partial(_count, sb, first, big)),
    )


def _count(sb: Any, first: int, big: bool, reader: Reader) -> Space:
    """Free bytes: the zones whose bit in the zone map is clear; bit 0 is nobody's."""
    zones = sb.s_zones - first
    length = -(-(zones + 1) // 16) * 2
    raw = b"".join(reader.pieces((2 + sb.s_imap_blocks) * sb.s_blocksize, length))
    if big:
        # The maps are of 16-bit words in the machine's order.
        raw = b"".join(bytes((raw[at + 1], raw[at])) for at in range(0, len(raw), 2))
    used = ones(raw, zones + 1) - (raw[0] & 1)
    size = sb.s_blocksize << sb.s_log_zone_size
    return Space(free=(zones - used) * size, found="zone map")


def _plausible(sb: Any, version: int) -> int:
    """The first data zone, if all fits.

    Sixteen bits of magic prove little: the maps must hold what they map, in the order of the format.
    """
    block_size = sb.s_blocksize
    sized = sb.s_log_zone_size <= 4 and block_size in (1024, 2048, 4096, 8192, 16384, 32768)
    if not sized or sb.s_ninodes == 0:
        raise NotThisFormat(f"blocks of {block_size} bytes, {sb.s_ninodes} inodes")
    inode_blocks = -(-sb.s_ninodes * INODE_SIZES[version] // block_size)
    blocks_before_data = 2 + sb.s_imap_blocks + sb.s_zmap_blocks + inode_blocks
    first = sb.s_firstdatazone
    if version == 3 and first == 0:  # too large for its field: it follows from the others
        first = -(-blocks_before_data >> sb.s_log_zone_size)
    bits = 8 * block_size
    plausible = (
        sb.s_ninodes + 1 <= sb.s_imap_blocks * bits
        and sb.s_zones - first + 1 <= sb.s_zmap_blocks * bits
        and blocks_before_data <= first << sb.s_log_zone_size
        and first < sb.s_zones
    )
    if not plausible:
        raise NotThisFormat("the figures in the superblock contradict one another")
    return int(first)


def _both(value: int) -> tuple[bytes, bytes]:
    return value.to_bytes(2, "little"), value.to_bytes(2, "big")


FORMAT = Format(
    name="minix",
    title="Minix",
    specification="https://github.com/torvalds/linux/blob/master/include/uapi/linux/minix_fs.h",
    usage=Usage.FILESYSTEM,
    types=("minix",),
    parse=parse,
    precedence=Precedence.WEAK,
    signatures=(
        *(Signature(magic, OFFSET + _MAGIC_AT) for value in MAGICS for magic in _both(value)),
        *(Signature(magic, OFFSET + _MAGIC_3_AT) for magic in _both(MAGIC_3)),
    ),
    mounts=(KernelMount("minix", maintained=False),),
)
