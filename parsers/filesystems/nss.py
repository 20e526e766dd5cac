"""NSS, the pools of Novell Storage Services (NetWare, Open Enterprise Server).

Layout: Novell's zlss header (``ZlssSuperBlock_s``), whose fields libblkid's netware.c names
https://github.com/util-linux/util-linux/blob/master/libblkid/src/superblocks/netware.c
"""

from construct import Array, Bytes, Const, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time, uuid_text
from pyimount.sources.view import View

MAGIC = b"SPB5"
SUPERBLOCK = layout(
    lambda: Struct(
        "SBH_Signature" / Const(MAGIC),
        "SBH_VersionMajor" / Int16ul,
        "SBH_VersionMinor" / Int16ul,
        "SBH_VersionMediaMajor" / Int16ul,
        "SBH_VersionMediaMinor" / Int16ul,
        "SBH_ItemsMoved" / Int32ul,
        "SBH_InternalID" / Bytes(16),
        "SBH_PackedSize" / Int32ul,
        "SBH_Checksum" / Int32ul,
        "supersyncid" / Int32ul,
        "superlocation" / Array(4, Int64ul),
        "physSizeUsed" / Int32ul,
        "sizeUsed" / Int32ul,
        "superTimeStamp" / Int32ul,
        "reserved0_to_SBH_PoolToLVEndUTC" / Bytes(44),
        "SBH_VersionMediaMajorCreate" / Int16ul,
        "SBH_VersionMediaMinorCreate" / Int16ul,
        "SBH_BlocksMoved_to_poolID" / Bytes(32),
        "createTime" / Int32ul,
        "SBH_LoggedVolumeDataBlk_to_SBH_SystemBeastBlkNum" / Bytes(24),
        "totalblocks" / Int64ul,
        "SBH_Name" / Bytes(128),
        "SBH_VolumeID" / Bytes(16),
        "SBH_PoolID" / Bytes(16),
        "SBH_PoolInternalID" / Bytes(16),
    )
)
OFFSET = 4096
BLOCK_SIZE = 4096
LIMIT = 1 << 51
"""No pool has so many blocks: they would not be counted in 63 bits of bytes."""


def parse(view: View) -> Identity:
    """The identity of an NSS pool."""
    sb = read_struct(view, SUPERBLOCK, OFFSET)
    places = sb.superlocation
    # Its four superblocks are spread from the start of the pool to its end.
    ascending = all(one < after for one, after in zip(places, [*places[1:], sb.totalblocks], strict=True))
    if not ascending or sb.totalblocks >= LIMIT:
        raise NotThisFormat(f"superblocks at {[*places]}, of {sb.totalblocks} blocks")
    return Identity(
        type="nss",
        fstype="nss",
        free_unknown="its layout behind the superblock is not published",
        uuid=uuid_text(sb.SBH_PoolID),
        version=f"{sb.SBH_VersionMediaMajor}.{sb.SBH_VersionMediaMinor:02}",
        fs_size=sb.totalblocks * BLOCK_SIZE,
        created=unix_time(sb.createTime),
        modified=unix_time(sb.superTimeStamp),
        offset=OFFSET,
        details={
            "pool_name": text(sb.SBH_Name, "utf-16-le"),
            "software_version": f"{sb.SBH_VersionMajor}.{sb.SBH_VersionMinor:02}",
            "created_version": f"{sb.SBH_VersionMediaMajorCreate}.{sb.SBH_VersionMediaMinorCreate:02}",
            "volume_id": uuid_text(sb.SBH_VolumeID),
            "internal_id": uuid_text(sb.SBH_InternalID),
            "blocks": sb.totalblocks,
            "superblocks": [*places],
            "sync_id": sb.supersyncid,
        },
    )


FORMAT = Format(
    name="nss",
    title="Novell Storage Services",
    specification="https://github.com/util-linux/util-linux/blob/master/libblkid/src/superblocks/netware.c",
    usage=Usage.FILESYSTEM,
    types=("nss",),
    parse=parse,
    signatures=(Signature(MAGIC, OFFSET),),
    unmountable="Linux has no driver for Novell's NSS, and no program is known that shows its files",
)
