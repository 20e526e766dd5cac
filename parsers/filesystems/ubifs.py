"""UBIFS, the file system inside a UBI volume.

Layout: linux/fs/ubifs/ubifs-media.h, ``struct ubifs_ch``, ``ubifs_sb_node`` and ``ubifs_mst_node``
http://www.linux-mtd.infradead.org/doc/ubifs.html
"""

import zlib
from functools import partial
from typing import Any

from construct import Bytes, Const, Construct, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Signature, Usage
from pyimount.formats.allocation import Allocation, Reader, Space
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import flag_names, uuid_text
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

MAGIC = b"\x31\x18\x10\x06"


def _common_header() -> tuple[Construct, ...]:
    """``ubifs_ch``: what every node begins with."""
    return (
        "magic" / Const(MAGIC),
        "crc" / Int32ul,
        "sqnum" / Int64ul,
        "len" / Int32ul,
        "node_type" / Int8ul,
        "group_type" / Int8ul,
        "ch_padding" / Bytes(2),
    )


SUPERBLOCK = layout(
    lambda: Struct(
        *_common_header(),
        "padding" / Bytes(2),
        "key_hash" / Int8ul,
        "key_fmt" / Int8ul,
        "flags" / Int32ul,
        "min_io_size" / Int32ul,
        "leb_size" / Int32ul,
        "leb_cnt" / Int32ul,
        "max_leb_cnt" / Int32ul,
        "max_bud_bytes" / Int64ul,
        "log_lebs" / Int32ul,
        "lpt_lebs" / Int32ul,
        "orph_lebs" / Int32ul,
        "jhead_cnt" / Int32ul,
        "fanout" / Int32ul,
        "lsave_cnt" / Int32ul,
        "fmt_version" / Int32ul,
        "default_compr" / Int16ul,
        "padding1" / Bytes(2),
        "rp_uid" / Int32ul,
        "rp_gid" / Int32ul,
        "rp_size" / Int64ul,
        "time_gran" / Int32ul,
        "uuid" / Bytes(16),
        "ro_compat_version" / Int32ul,
    )
)
MASTER = layout(
    lambda: Struct(
        *_common_header(),
        "highest_inum" / Int64ul,
        "cmt_no" / Int64ul,
        "flags" / Int32ul,
        "log_lnum" / Int32ul,
        "root_lnum" / Int32ul,
        "root_offs" / Int32ul,
        "root_len" / Int32ul,
        "gc_lnum" / Int32ul,
        "ihead_lnum" / Int32ul,
        "ihead_offs" / Int32ul,
        "index_size" / Int64ul,
        "total_free" / Int64ul,
        "total_dirty" / Int64ul,
        "total_used" / Int64ul,
    )
)
NODE_SIZE, MASTER_SIZE = 4096, 512
SB_NODE, MASTER_NODE = 6, 7
MASTER_LEBS = (1, 2)
"""Both have the same; the newest node is the last one in each."""
_AFTER_CRC = 8
_RUN = 1 << 16

COMPRESSORS = {0: "none", 1: "lzo", 2: "zlib", 3: "zstd"}
KEY_HASHES = {0: "r5", 1: "test"}
FLAGS = {
    0x2: "big_lpt",
    0x4: "space_fixup",
    0x8: "double_hash",
    0x10: "encryption",
    0x20: "authentication",
}


def parse(view: View) -> Identity:
    """The identity of a UBIFS file system."""
    node = view.read(0, NODE_SIZE)
    sb = parse_struct(node, SUPERBLOCK)
    plausible = (
        sb.node_type == SB_NODE
        and sb.len == NODE_SIZE
        and sb.min_io_size
        and sb.min_io_size & (sb.min_io_size - 1) == 0
        and sb.min_io_size <= sb.leb_size <= 2 << 20
        and 0 < sb.leb_cnt <= sb.max_leb_cnt
    )
    if not plausible:
        raise NotThisFormat("no superblock node, or its figures contradict one another")
    # Started from all ones, and not inverted.
    checked = zlib.crc32(node[_AFTER_CRC:]) ^ 0xFFFFFFFF == sb.crc
    problems: tuple[Problem, ...] = ()
    if not checked:
        problems = (Problem(Code.BAD_CHECKSUM, "the checksum of the superblock node does not match"),)
    return Identity(
        type="ubifs",
        fstype="ubifs",
        allocation=Allocation(view, partial(_count_free, sb)),
        uuid=uuid_text(sb.uuid),
        version=f"w{sb.fmt_version}r{sb.ro_compat_version}",
        fs_size=sb.leb_cnt * sb.leb_size,
        checked=checked,
        details={
            "min_io_size": sb.min_io_size,
            "leb_size": sb.leb_size,
            "lebs": sb.leb_cnt,
            "max_lebs": sb.max_leb_cnt,
            "max_bud": sb.max_bud_bytes,
            "log_lebs": sb.log_lebs,
            "lpt_lebs": sb.lpt_lebs,
            "orphan_lebs": sb.orph_lebs,
            "journal_heads": sb.jhead_cnt,
            "fanout": sb.fanout,
            "key_hash": KEY_HASHES.get(sb.key_hash, str(sb.key_hash)),
            "default_compressor": COMPRESSORS.get(sb.default_compr, str(sb.default_compr)),
            "reserved": sb.rp_size,
            "reserved_uid": sb.rp_uid,
            "reserved_gid": sb.rp_gid,
            "time_granularity_nanoseconds": sb.time_gran,
            "sequence": sb.sqnum,
            "flags": [*flag_names(sb.flags, FLAGS, "flag")],
        },
        problems=problems,
    )


def _count_free(sb: Any, reader: Reader) -> Space:
    """What was free when the last commit ended: empty, or taken by what is no longer used.

    What the journal holds beyond that is not counted; Linux keeps some back for its index and for deletions.
    """
    main = (sb.leb_cnt - 1 - len(MASTER_LEBS) - sb.log_lebs - sb.lpt_lebs - sb.orph_lebs) * sb.leb_size
    for number in MASTER_LEBS:
        master = _master(sb, reader, number * sb.leb_size)
        if master is None:
            continue
        free = master.total_free + master.total_dirty
        if free + master.total_used + master.index_size > main:
            raise NotThisFormat(f"{free} bytes free, {master.total_used} used, in a main area of {main}")
        return Space(
            free=free,
            found="master node",
            details={"dirty": master.total_dirty, "commit": master.cmt_no, "index_size": master.index_size},
        )
    raise NotThisFormat("no master node in either of its places")


def _master(sb: Any, reader: Reader, start: int) -> Any | None:
    """The newest master node in an eraseblock, if one there is whole: they follow one another."""
    step = -(-MASTER_SIZE // sb.min_io_size) * sb.min_io_size
    found, at, run, begun = None, 0, b"", 0
    while at + MASTER_SIZE <= sb.leb_size:
        if at + MASTER_SIZE > begun + len(run):
            run, begun = reader.read(start + at, min(_RUN, sb.leb_size - at)), at
        raw = run[at - begun : at - begun + MASTER_SIZE]
        if not raw.startswith(MAGIC):
            break
        node = parse_struct(raw, MASTER)
        checked = zlib.crc32(raw[_AFTER_CRC:]) ^ 0xFFFFFFFF == node.crc
        if checked and (node.node_type, node.len) == (MASTER_NODE, MASTER_SIZE):
            found = node
        at += step
    return found


FORMAT = Format(
    name="ubifs",
    title="UBIFS",
    specification="http://www.linux-mtd.infradead.org/doc/ubifs.html",
    usage=Usage.FILESYSTEM,
    types=("ubifs",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    unmountable="its driver wants an UBI volume on a flash chip, which no loop device is",
)
