"""HFS, the Macintosh's file system before HFS Plus.

Layout: Apple, "Inside Macintosh: Files", 2 "File Manager", "Data Organization on Volumes"
https://developer.apple.com/library/archive/documentation/mac/pdf/Files/File_Manager.pdf
"""

from functools import partial
from typing import Any

from pyimount.formats import (
    Format,
    Identity,
    Json,
    KernelMount,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.allocation import Allocation, Reader, Space, count_ones
from pyimount.formats.layouts import read_struct
from pyimount.formats.notation import flag_names, hfs_time, text
from pyimount.parsers.filesystems.macintosh import (
    ATTRIBUTES,
    EXTENDED,
    HFS,
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


def parse(view: View) -> Identity:
    """The identity of an HFS volume, from the alternate master directory block if need be."""
    try:
        return _identity(view, PLACE, ())
    except (NotThisFormat, ShortRead):
        copy = view.size // SECTOR * SECTOR - PLACE
        if copy <= PLACE or view.peek(copy, 2) != HFS:
            raise
    message = f"the master directory block at {PLACE} is unusable; the facts come from the copy at {copy}"
    return _identity(view, copy, (Problem(Code.BACKUP_USED, message),))


def _identity(view: View, offset: int, problems: tuple[Problem, ...]) -> Identity:
    mdb = read_struct(view, MASTER_DIRECTORY_BLOCK, offset)
    _plausible(mdb)
    # The alternate block and one sector more follow the last allocation block.
    fs_size = mdb.drAlBlSt * SECTOR + mdb.drNmAlBlks * mdb.drAlBlkSiz + 2 * SECTOR
    details: dict[str, Json] = {
        "allocation_block_size": mdb.drAlBlkSiz,
        "allocation_blocks": mdb.drNmAlBlks,
        "free_allocation_blocks": mdb.drFreeBks,
        "files": mdb.drFilCnt,
        "directories": mdb.drDirCnt,
        "next_catalog_node_id": mdb.drNxtCNID,
        "write_count": mdb.drWrCnt,
        "backed_up": hfs_time(mdb.drVolBkUp, local=True),
        "attributes": [*flag_names(mdb.drAtrb, ATTRIBUTES, "attribute")],
        **finder_facts(mdb.drFndrInfo),
    }
    left = state(mdb.drAtrb)
    return Identity(
        type="hfs",
        fstype="hfs",
        label=text(mdb.drVN[: mdb.drVN_length], "mac_roman"),
        uuid=volume_uuid(mdb.drFndrInfo),
        fs_size=fs_size,
        free=mdb.drFreeBks * mdb.drAlBlkSiz if left == "clean" and offset == PLACE else None,
        created=hfs_time(mdb.drCrDate, local=True),
        modified=hfs_time(mdb.drLsMod, local=True),
        state=left,
        offset=offset,
        details=details,
        problems=problems,
        allocation=Allocation(view, partial(_count, mdb)),
    )


def _count(mdb: Any, reader: Reader) -> Space:
    """Free bytes: the allocation blocks whose bit in the volume bitmap is clear."""
    blocks = mdb.drNmAlBlks
    used = count_ones(reader.pieces(mdb.drVBMSt * SECTOR, (blocks + 7) // 8), blocks, big=True)
    size = mdb.drAlBlkSiz
    return Space(free=(blocks - used) * size, used=used * size, found="volume bitmap")


def _plausible(mdb: Any) -> None:
    if mdb.drSigWord != HFS:
        raise NotThisFormat("no signature")
    if mdb.drEmbedSigWord in (PLUS, EXTENDED):
        raise NotThisFormat("a wrapper of HFS Plus")
    if mdb.drAlBlkSiz == 0 or mdb.drAlBlkSiz % SECTOR:
        raise NotThisFormat(f"allocation blocks of {mdb.drAlBlkSiz} bytes")
    if mdb.drNmAlBlks == 0 or mdb.drFreeBks > mdb.drNmAlBlks:
        raise NotThisFormat(f"{mdb.drFreeBks} of {mdb.drNmAlBlks} allocation blocks are free")
    # The bitmap comes after the block itself, and the allocation blocks after the bitmap.
    bitmap_sectors = -(-mdb.drNmAlBlks // (8 * SECTOR))
    if mdb.drVBMSt < 3 or mdb.drAlBlSt < mdb.drVBMSt + bitmap_sectors:
        raise NotThisFormat(f"the bitmap at sector {mdb.drVBMSt}, the first block at {mdb.drAlBlSt}")
    if not 0 < mdb.drVN_length <= len(mdb.drVN):
        raise NotThisFormat(f"a name of {mdb.drVN_length} bytes")


FORMAT = Format(
    name="hfs",
    title="HFS",
    specification="https://developer.apple.com/library/archive/documentation/mac/pdf/Files/File_Manager.pdf",
    usage=Usage.FILESYSTEM,
    types=("hfs",),
    parse=parse,
    signatures=(Signature(HFS, PLACE), Signature(HFS, -PLACE, align=SECTOR, copy=True)),
    # Two bytes are little of a magic; and on a hybrid disc libblkid names ISO 9660.
    precedence=Precedence.WEAK,
    tolerates=frozenset({"iso9660", "udf"}),
    mounts=(KernelMount("hfs", maintained=False, owner=("uid", "gid", "umask")),),
)
