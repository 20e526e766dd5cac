"""SquashFS, versions 1 to 4, in both byte orders.

Version 4: kernel.org, Documentation/filesystems/squashfs, and "SquashFS Binary Format"
https://dr-emann.github.io/squashfs/
Earlier versions: squashfs_fs.h and squashfs_compat.h of squashfs-tools.
"""

from typing import Any

from construct import Bytes, Int8ub, Int8ul, Int16ub, Int16ul, Int32ub, Int32ul, Int64ub, Int64ul, Struct

from pyimount.formats import FileReader, Format, Identity, Json, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names, unix_time
from pyimount.problems import Code, Problem
from pyimount.sources.view import View


def _version_4(u16: Any, u32: Any, u64: Any) -> Any:
    return Struct(
        "s_magic" / Bytes(4),
        "inodes" / u32,
        "mkfs_time" / u32,
        "block_size" / u32,
        "fragments" / u32,
        "compression" / u16,
        "block_log" / u16,
        "flags" / u16,
        "no_ids" / u16,
        "s_major" / u16,
        "s_minor" / u16,
        "root_inode" / u64,
        "bytes_used" / u64,
        "id_table_start" / u64,
        "xattr_id_table_start" / u64,
        "inode_table_start" / u64,
        "directory_table_start" / u64,
        "fragment_table_start" / u64,
        "lookup_table_start" / u64,
    )


def _version_3(u8: Any, u16: Any, u32: Any, u64: Any) -> Any:
    return Struct(
        "s_magic" / Bytes(4),
        "inodes" / u32,
        "bytes_used_2" / u32,
        "uid_start_2" / u32,
        "guid_start_2" / u32,
        "inode_table_start_2" / u32,
        "directory_table_start_2" / u32,
        "s_major" / u16,
        "s_minor" / u16,
        "block_size_1" / u16,
        "block_log" / u16,
        "flags" / u8,
        "no_uids" / u8,
        "no_guids" / u8,
        "mkfs_time" / u32,
        "root_inode" / u64,
        "block_size" / u32,
        "fragments" / u32,
        "fragment_table_start_2" / u32,
        "bytes_used" / u64,
    )


SUPERBLOCK = layout(lambda: _version_4(Int16ul, Int32ul, Int64ul))
SUPERBLOCK_BE = layout(lambda: _version_4(Int16ub, Int32ub, Int64ub))
SUPERBLOCK_3 = layout(lambda: _version_3(Int8ul, Int16ul, Int32ul, Int64ul))
SUPERBLOCK_3_BE = layout(lambda: _version_3(Int8ub, Int16ub, Int32ub, Int64ub))
_VERSION = layout(lambda: Struct("s_major" / Int16ul, "s_minor" / Int16ul))
_VERSION_BE = layout(lambda: Struct("s_major" / Int16ub, "s_minor" / Int16ub))
_VERSION_AT = 28

LITTLE, BIG = b"hsqs", b"sqsh"
# Firmware makers' own magics for images that are compressed with LZMA, before version 4 had a field for it.
LZMA_LITTLE, LZMA_BIG = (b"shsq", b"hsqt"), (b"qshs", b"sqlz", b"tqsh")

COMPRESSION = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
FLAGS_4 = {
    0x1: "uncompressed_inodes",
    0x2: "uncompressed_data",
    0x4: "check",
    0x8: "uncompressed_fragments",
    0x10: "no_fragments",
    0x20: "always_fragments",
    0x40: "duplicates",
    0x80: "exportable",
    0x100: "uncompressed_xattrs",
    0x200: "no_xattrs",
    0x400: "compressor_options",
    0x800: "uncompressed_ids",
}
FLAGS_3 = {
    0x1: "uncompressed_inodes",
    0x2: "uncompressed_data",
    0x4: "check",
    0x8: "uncompressed_fragments",
    0x10: "no_fragments",
    0x20: "always_fragments",
    0x40: "duplicates",
    0x80: "exportable",
}


def parse(view: View) -> Identity:
    """The identity of a SquashFS file system."""
    magic = view.read(0, 4)
    big = magic == BIG or magic in LZMA_BIG
    version = read_struct(view, _VERSION_BE if big else _VERSION, _VERSION_AT)
    if version.s_major == 4:
        return _parse_4(view, big=big, lzma=magic not in (LITTLE, BIG))
    if 1 <= version.s_major <= 3:
        return _parse_3(view, big=big, lzma=magic not in (LITTLE, BIG))
    raise NotThisFormat(f"version {version.s_major}.{version.s_minor}")


def _parse_4(view: View, *, big: bool, lzma: bool) -> Identity:
    sb = read_struct(view, SUPERBLOCK_BE if big else SUPERBLOCK, 0)
    _check_block_size(sb.block_size, sb.block_log)
    # Every table lies between the superblock and the end.
    tables = (sb.id_table_start, sb.inode_table_start, sb.directory_table_start)
    if not all(96 <= table < sb.bytes_used for table in tables):
        raise NotThisFormat(f"tables at {tables}, of {sb.bytes_used} bytes")
    problems: tuple[Problem, ...] = ()
    if big:
        message = "version 4 is little-endian; this big-endian one is a firmware maker's own"
        problems = (Problem(Code.UNSUPPORTED, message),)
    compression = "lzma" if lzma else COMPRESSION.get(sb.compression, str(sb.compression))
    return Identity(
        type="squashfs",
        fstype="squashfs",
        version=f"{sb.s_major}.{sb.s_minor}",
        fs_size=sb.bytes_used,
        free=0,
        free_from="a format that is written once",
        created=unix_time(sb.mkfs_time),
        details={
            **_details(sb, flag_names(sb.flags, FLAGS_4, "flag"), big=big),
            "compression": compression,
            "ids": sb.no_ids,
        },
        problems=problems,
    )


def _parse_3(view: View, *, big: bool, lzma: bool) -> Identity:
    sb = read_struct(view, SUPERBLOCK_3_BE if big else SUPERBLOCK_3, 0)
    if sb.s_major == 1:
        # Its superblock ends before these.
        sb.block_size, sb.fragments = sb.block_size_1, 0
    size = sb.bytes_used if sb.s_major == 3 else sb.bytes_used_2
    _check_block_size(sb.block_size, sb.block_log)
    if size < 51:
        raise NotThisFormat(f"a file system of {size} bytes")
    return Identity(
        type="squashfs3",
        fstype="squashfs",
        version=f"{sb.s_major}.{sb.s_minor}",
        block_size=1024,
        fs_size=size,
        free=0,
        free_from="a format that is written once",
        created=unix_time(sb.mkfs_time),
        details={
            **_details(sb, flag_names(sb.flags, FLAGS_3, "flag"), big=big),
            # These versions have no field for it; under the plain magics there are both gzip and LZMA.
            "compression": "lzma" if lzma else None,
        },
    )


def _check_block_size(block_size: int, block_log: int) -> None:
    if not 12 <= block_log <= 20 or block_size != 1 << block_log:
        raise NotThisFormat(f"block size {block_size}, and its logarithm {block_log}")


def _details(sb: Any, flags: list[str], *, big: bool) -> dict[str, Json]:
    return {
        "data_block_size": sb.block_size,
        "inodes": sb.inodes,
        "fragments": sb.fragments,
        "bytes_used": sb.bytes_used if sb.s_major >= 3 else sb.bytes_used_2,
        "flags": [*flags],
        "byte_order": "big" if big else "little",
        "signature": sb.s_magic.decode("ascii"),
    }


FORMAT = Format(
    name="squashfs",
    title="SquashFS",
    specification="https://dr-emann.github.io/squashfs/",
    usage=Usage.FILESYSTEM,
    types=("squashfs", "squashfs3"),
    parse=parse,
    signatures=tuple(Signature(magic, 0) for magic in (LITTLE, BIG, *LZMA_LITTLE, *LZMA_BIG)),
    mounts=(KernelMount("squashfs", versions=("4",)),),
    files=(FileReader("dissect", "dissect.squashfs", "dissect.squashfs", types=("squashfs",)),),
)
