"""What is free in an XFS file system, and whether its log was left empty.

Layout: XFS Algorithms & Data Structures, "AG Free Space Management", "Log Record Headers"
https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf

Free is what Linux counts when it mounts after a crash (xfs_initialize_perag_data), and what ``sb_fdblocks``
holds after an unmount: free blocks, those in the AGFL, and those of the free space btrees but for their
roots. statfs (and so df) shows less: what the kernel at hand keeps back for itself (XFS_ALLOC_SET_ASIDE, the
reservations of rmapbt and reflink), which no structure on the disk says. What a log that was not replayed
holds is not counted.
"""

from functools import partial
from struct import Struct
from typing import Any

from pyimount.formats import NotThisFormat
from pyimount.formats.allocation import Allocation, Reader, Space
from pyimount.sources.view import View

AGF = Struct(">4sIII24xIIIIII")
"""magicnum, versionnum, seqno, length, flfirst, fllast, flcount, freeblks, longest, btreeblks."""
AGF_MAGIC = b"XAGF"

BASIC_BLOCK = 512
"""Bytes in a block of the log, and in a record's header."""
LOG_MAGIC = b"\xfe\xed\xba\xbe"
RECORD = Struct(">4sIII24xI276xI")
"""h_magicno, h_cycle, h_version, h_len, h_num_logops, h_size."""
HEADER_DATA = 32 << 10
"""Bytes of a record that one header block is for."""
UNMOUNT, FLAGS_AT = 0x20, 9
"""Flag of an operation that notes an unmount, and where its flags stand."""


def allocation(view: View, sb: Any) -> Allocation:
    """The AGFs of the file system with this superblock."""
    return Allocation(view, partial(_count, sb))


def _count(sb: Any, reader: Reader) -> Space:
    free = 0
    for number in range(sb.sb_agcount):
        if number == 1:
            reader.want((sb.sb_agcount - 1) * sb.sb_sectsize, sb.sb_agcount - 1)
        length = min(sb.sb_agblocks, sb.sb_dblocks - number * sb.sb_agblocks)
        at = number * sb.sb_agblocks * sb.sb_blocksize + sb.sb_sectsize
        found = AGF.unpack_from(reader.read(at, sb.sb_sectsize))
        magic, _, seqno, blocks, _, _, in_list, free_blocks, _, btree = found
        here = free_blocks + in_list + (btree if _lazy(sb) else 0)
        if magic != AGF_MAGIC or seqno != number or blocks != length or here > length:
            raise NotThisFormat(f"no AGF of allocation group {number}")
        free += here
    return Space(free=free * sb.sb_blocksize, found="AGFs")


def _lazy(sb: Any) -> bool:
    """Whether the btrees' blocks are counted in the AGFs, and the superblock's counters only at times."""
    return bool(sb.sb_versionnum & 0xF == 5 or (sb.sb_versionnum & 0x8000 and sb.sb_features2 & 0x2))


def left(view: View, sb: Any) -> str | None:
    """``clean`` where the log's last record notes an unmount, else ``dirty``; None where that is not seen.

    As Linux does (xlog_find_head, xlog_check_unmount_rec): the log's head is where the cycle number drops.
    """
    if not sb.sb_logstart:
        return None
    shift = sb.sb_agblklog
    group, block = sb.sb_logstart >> shift, sb.sb_logstart & (1 << shift) - 1
    start = (group * sb.sb_agblocks + block) * sb.sb_blocksize
    blocks = sb.sb_logblocks * sb.sb_blocksize // BASIC_BLOCK
    if blocks < 2 or start + blocks * BASIC_BLOCK > view.size:
        return None
    first, last = _cycle(view, start), _cycle(view, start + (blocks - 1) * BASIC_BLOCK)
    if first is None or last is None:
        return None
    if first == 0:
        return "clean"  # all zeros: never written to, or emptied by xfs_repair
    head = blocks
    if first != last:
        low, high = 0, blocks - 1  # the cycle of ``low`` is not yet the last block's, that of ``high`` is
        while high - low > 1:
            middle = (low + high) // 2
            found = _cycle(view, start + middle * BASIC_BLOCK)
            if found is None:
                return None
            low, high = (low, middle) if found == last else (middle, high)
        head = high
    length = max(2, sb.sb_logsunit // BASIC_BLOCK)
    said = _is_unmount(view, start, blocks, (head - length) % blocks, length)
    if said == "dirty" and head > length and _cycle(view, start + length * BASIC_BLOCK) != first:
        # libxfs empties a log so: one record, and zeros behind it up to the cycle before.
        said = _is_unmount(view, start, blocks, 0, length)
    return said


def _cycle(view: View, at: int) -> int | None:
    """The cycle in which a block of the log was written."""
    raw = view.glance(at, 8)
    if len(raw) < 8:
        return None
    return int.from_bytes(raw[4:] if raw.startswith(LOG_MAGIC) else raw[:4], "big")


def _is_unmount(view: View, start: int, blocks: int, at: int, length: int) -> str | None:
    """Whether the record at block ``at`` is an unmount's, which is as short as a record can be.

    ``length``: that is a header and a block, filled up to the log's stripe unit where it has one.
    """
    raw = view.glance(start + at * BASIC_BLOCK, RECORD.size)
    if len(raw) < RECORD.size:
        return None
    magic, _, version, size, operations, whole_size = RECORD.unpack(raw)
    headers = max(1, -(-whole_size // HEADER_DATA)) if version == 2 else 1
    if magic != LOG_MAGIC or operations != 1 or headers + -(-size // BASIC_BLOCK) != length:
        return "dirty"
    operation = view.glance(start + (at + headers) % blocks * BASIC_BLOCK, FLAGS_AT + 1)
    if len(operation) <= FLAGS_AT:
        return None
    return "clean" if operation[FLAGS_AT] & UNMOUNT else "dirty"
