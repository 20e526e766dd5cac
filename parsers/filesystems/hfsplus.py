"""HFS Plus and HFSX, also inside an HFS wrapper.

Layout: Apple, Technical Note TN1150, "HFS Plus Volume Format"
https://developer.apple.com/library/archive/technotes/tn/tn1150.html
"""

from functools import partial
from typing import Any

from construct import Array, Bytes, Int8sb, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from pyimount.formats import FileReader, Format, Identity, Json, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.allocation import PIECE, Allocation, Reader, Space, ones
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import flag_names, hfs_time, text
from pyimount.parsers.filesystems.macintosh import (
    ATTRIBUTES,
    EXTENDED,
    HFS,
    JOURNALED,
    MASTER_DIRECTORY_BLOCK,
    PLACE,
    PLUS,
    SECTOR,
    finder_facts,
    state,
    volume_uuid,
)
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

FORK_DATA = layout(
    lambda: Struct(
        "logicalSize" / Int64ub,
        "clumpSize" / Int32ub,
        "totalBlocks" / Int32ub,
        "extents" / Array(16, Int32ub),  # start and count of eight runs of blocks
    )
)
VOLUME_HEADER = layout(
    lambda: Struct(
        "signature" / Bytes(2),
        "version" / Int16ub,
        "attributes" / Int32ub,
        "lastMountedVersion" / Bytes(4),
        "journalInfoBlock" / Int32ub,
        "createDate" / Int32ub,
        "modifyDate" / Int32ub,
        "backupDate" / Int32ub,
        "checkedDate" / Int32ub,
        "fileCount" / Int32ub,
        "folderCount" / Int32ub,
        "blockSize" / Int32ub,
        "totalBlocks" / Int32ub,
        "freeBlocks" / Int32ub,
        "nextAllocation" / Int32ub,
        "rsrcClumpSize" / Int32ub,
        "dataClumpSize" / Int32ub,
        "nextCatalogID" / Int32ub,
        "writeCount" / Int32ub,
        "encodingsBitmap" / Int64ub,
        "finderInfo" / Bytes(32),
        "allocationFile" / Bytes(80),
        "extentsFile" / Bytes(80),
        "catalogFile" / Bytes(80),
        "attributesFile" / Bytes(80),
        "startupFile" / Bytes(80),
    )
)
NODE_DESCRIPTOR = layout(
    lambda: Struct(
        "fLink" / Int32ub,
        "bLink" / Int32ub,
        "kind" / Int8sb,
        "height" / Int8ub,
        "numRecords" / Int16ub,
        "reserved" / Int16ub,
    )
)
HEADER_RECORD = layout(
    lambda: Struct(
        "treeDepth" / Int16ub,
        "rootNode" / Int32ub,
        "leafRecords" / Int32ub,
        "firstLeafNode" / Int32ub,
        "lastLeafNode" / Int32ub,
        "nodeSize" / Int16ub,
        "maxKeyLength" / Int16ub,
        "totalNodes" / Int32ub,
        "freeNodes" / Int32ub,
        "reserved1" / Int16ub,
        "clumpSize" / Int32ub,
        "btreeType" / Int8ub,
        "keyCompareType" / Int8ub,
    )
)
CATALOG_KEY = layout(lambda: Struct("keyLength" / Int16ub, "parentID" / Int32ub, "nodeName_length" / Int16ub))
JOURNAL_INFO = layout(
    lambda: Struct(
        "flags" / Int32ub,
        "device_signature" / Bytes(32),
        "offset" / Int64ub,
        "size" / Int64ub,
    )
)
# The journal's header is in the byte order of the machine that wrote it.
JOURNAL_HEADER = layout(
    lambda: Struct("magic" / Bytes(4), "endian" / Bytes(4), "start" / Bytes(8), "end" / Bytes(8))
)

VERSIONS = {PLUS: 4, EXTENDED: 5}
ROOT_PARENT = 1
LEAF, HEADER = -1, 1
CASE_SENSITIVE = 0xBC
JOURNAL_IN_FS, JOURNAL_ON_OTHER_DEVICE, JOURNAL_NEED_INIT = 1, 2, 4
JOURNAL_MAGICS = {b"JNLx": "big", b"xLNJ": "little"}


def parse(view: View) -> Identity:
    """The identity of an HFS Plus volume, from the alternate volume header if need be."""
    start, end, wrapper = _extent(view)
    try:
        return _identity(view, start, start + PLACE, wrapper, [])
    except (NotThisFormat, ShortRead):
        copy = end - PLACE
        if copy <= start + PLACE or view.peek(copy, 2) not in VERSIONS:
            raise
    message = f"the volume header at {start + PLACE} is unusable; the facts come from the copy at {copy}"
    return _identity(view, start, copy, wrapper, [Problem(Code.BACKUP_USED, message)])


def _extent(view: View) -> tuple[int, int, dict[str, Json] | None]:
    """Where the volume starts and ends in bytes, and the facts of the HFS wrapper around it."""
    end = view.size // SECTOR * SECTOR
    mdb = None
    for at in (PLACE, end - PLACE):
        if view.peek(at, 2) == HFS:
            mdb = read_struct(view, MASTER_DIRECTORY_BLOCK, at)
            break
        if view.peek(at, 2) in VERSIONS:
            break
    if mdb is None:
        return 0, end, None
    if mdb.drEmbedSigWord not in VERSIONS or mdb.drAlBlkSiz == 0 or mdb.drAlBlkSiz % SECTOR:
        raise NotThisFormat("HFS without an embedded volume")
    start = mdb.drAlBlSt * SECTOR + mdb.drEmbedStart * mdb.drAlBlkSiz
    size = mdb.drEmbedCount * mdb.drAlBlkSiz
    facts: dict[str, Json] = {
        "label": text(mdb.drVN[: mdb.drVN_length], "mac_roman"),
        "offset": start,
        "size": size,
    }
    return start, start + size, facts


def _identity(
    view: View, start: int, offset: int, wrapper: dict[str, Json] | None, problems: list[Problem]
) -> Identity:
    header = read_struct(view, VOLUME_HEADER, offset)
    _plausible(header)
    block_size = header.blockSize
    details: dict[str, Json] = {
        "variant": "HFSX" if header.signature == EXTENDED else "HFS+",
        "format_version": header.version,
        "blocks": header.totalBlocks,
        "free_blocks": header.freeBlocks,
        "files": header.fileCount,
        "folders": header.folderCount,
        "next_catalog_id": header.nextCatalogID,
        "write_count": header.writeCount,
        "last_mounted_version": text(header.lastMountedVersion, "mac_roman"),
        "backed_up": hfs_time(header.backupDate),
        "checked": hfs_time(header.checkedDate),
        "attributes": [*flag_names(header.attributes, ATTRIBUTES, "attribute")],
        **finder_facts(header.finderInfo),
    }
    if offset != start + PLACE:
        details["copy_at"] = offset
    if wrapper is not None:
        details["wrapper"] = wrapper
    label = None
    try:
        label, details["case_sensitive"] = _root(view, start, header)
    except (NotThisFormat, ShortRead) as error:
        problems.append(Problem(Code.DAMAGED, f"the label cannot be read from the catalog: {error}"))
    if header.attributes & JOURNALED:
        try:
            details["journal"] = _journal(view, start, header)
        except (NotThisFormat, ShortRead):
            problems.append(Problem(Code.DAMAGED, "the journal cannot be read"))
    left = state(header.attributes)
    return Identity(
        type="hfsplus",
        fstype="hfs+",
        label=label,
        uuid=volume_uuid(header.finderInfo),
        block_size=block_size,
        fs_size=header.totalBlocks * block_size,
        # Written when the volume is unmounted, and only there.
        free=header.freeBlocks * block_size if left == "clean" and offset == start + PLACE else None,
        created=hfs_time(header.createDate, local=True),
        modified=hfs_time(header.modifyDate),
        state=left,
        offset=offset,
        details=details,
        problems=tuple(problems),
        allocation=Allocation(view, partial(_count, start, header)),
    )


def _count(start: int, header: Any, reader: Reader) -> Space:
    """Free bytes: the blocks whose bit in the allocation file is clear."""
    fork = parse_struct(header.allocationFile, FORK_DATA)
    left, bits, used = (header.totalBlocks + 7) // 8, header.totalBlocks, 0
    runs = []
    for run in range(0, len(fork.extents), 2):
        first, count = fork.extents[run], fork.extents[run + 1]
        taken = min(left, count * header.blockSize)
        if taken:
            runs.append((start + first * header.blockSize, taken))
        left -= taken
    if left:
        raise NotThisFormat("an allocation file that lies beyond its first eight extents, or is cut off")
    reader.want((bits + 7) // 8, sum(-(-length // PIECE) for _, length in runs))
    for at, length in runs:
        for piece in reader.pieces(at, length):
            if bits == header.totalBlocks and not piece[0] & 0x80:
                raise NotThisFormat("an allocation file in which the volume header's block is free")
            used += ones(piece, bits, big=True)
            bits -= 8 * len(piece)
    return Space(free=(header.totalBlocks - used) * header.blockSize, found="allocation file")


def _plausible(header: Any) -> None:
    if VERSIONS.get(header.signature) is None or header.version not in VERSIONS.values():
        raise NotThisFormat(f"signature {header.signature!r}, version {header.version}")
    if header.blockSize < SECTOR or header.blockSize & (header.blockSize - 1):
        raise NotThisFormat(f"blocks of {header.blockSize} bytes")
    if header.totalBlocks == 0 or header.freeBlocks > header.totalBlocks:
        raise NotThisFormat(f"{header.freeBlocks} of {header.totalBlocks} blocks are free")


def _root(view: View, start: int, header: Any) -> tuple[str | None, bool]:
    """The root folder's name, and whether names are case-sensitive.

    The root folder's is the only record of the catalog whose parent is 1, so it is the very first one.
    """
    fork = parse_struct(header.catalogFile, FORK_DATA)
    first = _in_fork(fork, header, 0)
    descriptor = read_struct(view, NODE_DESCRIPTOR, start + first)
    tree = read_struct(view, HEADER_RECORD, start + first + NODE_DESCRIPTOR.size)
    if descriptor.kind != HEADER or tree.nodeSize < SECTOR or tree.nodeSize & (tree.nodeSize - 1):
        raise NotThisFormat("no header node")
    if tree.leafRecords == 0:
        raise NotThisFormat("no records")
    at = start + _in_fork(fork, header, tree.firstLeafNode * tree.nodeSize)
    leaf = read_struct(view, NODE_DESCRIPTOR, at)
    key = read_struct(view, CATALOG_KEY, at + NODE_DESCRIPTOR.size)
    if leaf.kind != LEAF or leaf.numRecords == 0 or key.parentID != ROOT_PARENT or key.nodeName_length > 255:
        raise NotThisFormat("the first record is not the root folder's")
    name = view.read(at + NODE_DESCRIPTOR.size + CATALOG_KEY.size, 2 * key.nodeName_length)
    return text(name, "utf-16-be"), tree.keyCompareType == CASE_SENSITIVE


def _in_fork(fork: Any, header: Any, position: int) -> int:
    """Where the byte at ``position`` of a fork lies in the volume, by its first eight extents."""
    block_size: int = header.blockSize
    block, rest = divmod(position, block_size)
    for run in range(0, len(fork.extents), 2):
        first: int = fork.extents[run]
        count: int = fork.extents[run + 1]
        if block < count:
            if first + count > header.totalBlocks:
                raise NotThisFormat("an extent reaches beyond the volume")
            return (first + block) * block_size + rest
        block -= count
    raise NotThisFormat("a node lies beyond the first eight extents")


def _journal(view: View, start: int, header: Any) -> dict[str, Json]:
    info = read_struct(view, JOURNAL_INFO, start + header.journalInfoBlock * header.blockSize)
    facts: dict[str, Json] = {
        "external": bool(info.flags & JOURNAL_ON_OTHER_DEVICE),
        "offset": info.offset,
        "size": info.size,
    }
    if not info.flags & JOURNAL_IN_FS:
        return facts
    if info.flags & JOURNAL_NEED_INIT:
        return facts | {"needs_recovery": False}
    journal = read_struct(view, JOURNAL_HEADER, start + info.offset)
    if journal.magic not in JOURNAL_MAGICS:
        raise NotThisFormat("no journal")
    return facts | {"needs_recovery": journal.start != journal.end}


FORMAT = Format(
    name="hfsplus",
    title="HFS Plus",
    specification="https://developer.apple.com/library/archive/technotes/tn/tn1150.html",
    usage=Usage.FILESYSTEM,
    types=("hfsplus",),
    parse=parse,
    signatures=(
        *(Signature(magic, PLACE) for magic in (HFS, PLUS, EXTENDED)),
        # For a search, which does not trust two bytes: with the version that follows.
        *(Signature(magic + version.to_bytes(2, "big"), PLACE) for magic, version in VERSIONS.items()),
        *(Signature(magic, -PLACE, align=SECTOR, copy=True, lasting=True) for magic in (HFS, PLUS, EXTENDED)),
    ),
    tolerates=frozenset({"iso9660", "udf"}),
    mounts=(KernelMount("hfsplus", maintained=False),),
    files=(FileReader("libyal", "pyfshfs", "libfshfs-python"),),
)
