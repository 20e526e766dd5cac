"""DRBD: members of replicated devices, meta-data versions 08 and 09.

Layout: drbd-utils, user/shared/drbdmeta.c (``md_on_disk_08``), and drbd-headers,
linux/drbd_meta_data.h (``struct meta_data_on_disk_9``)
https://github.com/LINBIT/drbd-utils
"""

from struct import unpack
from typing import Any

from construct import Array, Bytes, Int32sb, Int32ub, Int64ub, Struct

from pyimount.formats import (
    Extent,
    Format,
    Identity,
    Json,
    NotThisFormat,
    Precedence,
    Signature,
    TableRule,
    Usage,
)
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import flag_names
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

SECTOR = 512
SIZE = 4096
"""Of the superblock, in bytes: it is the last there is of an internal meta-data area."""

MD_08 = layout(
    lambda: Struct(
        "la_sect" / Int64ub,
        "uuid" / Array(4, Int64ub),
        "device_uuid" / Int64ub,
        "reserved_u64_1" / Int64ub,
        "flags" / Int32ub,
        "magic" / Bytes(4),
        "md_size_sect" / Int32ub,
        "al_offset" / Int32sb,
        "al_nr_extents" / Int32ub,
        "bm_offset" / Int32sb,
        "bm_bytes_per_bit" / Int32ub,
        "la_peer_max_bio_size" / Int32ub,
        "al_stripes" / Int32ub,
        "al_stripe_size_4k" / Int32ub,
        "reserved_u32" / Bytes(4),
    )
)
PEERS = 32
MD_09 = layout(
    lambda: Struct(
        "effective_size" / Int64ub,
        "current_uuid" / Int64ub,
        "reserved_u64" / Bytes(4 * 8),
        "device_uuid" / Int64ub,
        "flags" / Int32ub,
        "magic" / Bytes(4),
        "md_size_sect" / Int32ub,
        "al_offset" / Int32sb,
        "al_nr_extents" / Int32ub,
        "bm_offset" / Int32sb,
        "bm_bytes_per_bit" / Int32ub,
        "la_peer_max_bio_size" / Int32ub,
        "bm_max_peers" / Int32ub,
        "node_id" / Int32sb,
        "al_stripes" / Int32ub,
        "al_stripe_size_4k" / Int32ub,
        "reserved_u32" / Bytes(8),
        "peers" / Bytes(PEERS * 32),
        "history_uuids" / Bytes(PEERS * 8),
    )
)
MAGIC_AT = 60
MAGIC_08, MAGIC_84_UNCLEAN, MAGIC_09 = ((0x83740267 + step).to_bytes(4, "big") for step in (4, 5, 6))
MAGICS = (MAGIC_08, MAGIC_84_UNCLEAN, MAGIC_09)
LEAST = 0x10000

CONSISTENT = 0x1
FLAGS = {
    0x1: "consistent",
    0x2: "primary-indicator",
    0x4: "connected-indicator",
    0x8: "full-sync",
    0x10: "was-up-to-date",
    0x20: "peer-outdated",
    0x40: "crashed-primary",
    0x80: "al-clean",
    0x100: "al-disabled",
    0x200: "primary-lost-quorum",
    0x400: "have-quorum",
}
PEER_FLAGS = {
    0x1: "connected",
    0x2: "outdated",
    0x4: "fencing",
    0x8: "full-sync",
    0x10: "device-seen",
    0x10000: "node-exists",
}


def parse(view: View) -> Identity:
    """The identity of a member, or of a device that has the meta-data of another one."""
    if view.size < LEAST:
        raise NotThisFormat(f"a device of {view.size} bytes")
    why: NotThisFormat | ShortRead | None = None
    # The kernel counts whole 4 KiB; libblkid does not.
    for at in dict.fromkeys((view.size // SIZE * SIZE - SIZE, view.size - SIZE, 0)):
        try:
            return _identity(view, at)
        except (NotThisFormat, ShortRead) as error:
            why = why or error
    raise why or NotThisFormat("no meta-data")


def _identity(view: View, at: int) -> Identity:
    magic = view.read(at + MAGIC_AT, 4)
    if magic not in MAGICS:
        raise NotThisFormat(f"no meta-data at {at}")
    new = magic == MAGIC_09
    md = read_struct(view, MD_09 if new else MD_08, at)
    _plausible(md, internal=at != 0)
    problems: list[Problem] = []
    size = (md.effective_size if new else md.la_sect) * SECTOR
    details: dict[str, Json] = {
        "location": "internal" if at else "external",
        "last_agreed_size": size,
        "device_uuid": f"{md.device_uuid:016x}",
        "current_uuid": f"{md.current_uuid if new else md.uuid[0]:016x}",
        "flags": [*flag_names(md.flags, FLAGS, "flag")],
        "md_size_sectors": md.md_size_sect,
        "al_offset_sectors": md.al_offset,
        "al_extents": md.al_nr_extents,
        "al_stripes": md.al_stripes,
        "al_stripe_size": md.al_stripe_size_4k * 4096,
        "bitmap_offset_sectors": md.bm_offset,
        "bitmap_bytes_per_bit": md.bm_bytes_per_bit,
        "peer_max_bio_size": md.la_peer_max_bio_size,
    }
    if new:
        details |= {
            "max_peers": md.bm_max_peers,
            "node_id": md.node_id,
            "peers": _peers(md.peers),
            "history_uuids": [f"{uuid:016x}" for uuid in unpack(f">{PEERS}Q", md.history_uuids) if uuid],
        }
    else:
        details |= {
            "bitmap_uuid": f"{md.uuid[1]:016x}",
            "history_uuids": [f"{uuid:016x}" for uuid in md.uuid[2:] if uuid],
        }
    size = _data(md, at, size, problems) if at else 0
    return Identity(
        type="drbd",
        fstype="drbd",
        uuid=f"{md.device_uuid:x}" if md.device_uuid else None,
        version="v09" if new else "v08",
        state="dirty" if magic == MAGIC_84_UNCLEAN else None,
        offset=at,
        details=details,
        problems=tuple(problems),
        contents=(Extent(offset=0, size=size, name="data"),) if at and size else (),
    )


def _data(md: Any, at: int, agreed: int, problems: list[Problem]) -> int:
    """Bytes of data before the meta-data of an internal area: as agreed with the peer, else all there are."""
    room: int = at + SIZE - md.md_size_sect * SECTOR
    if room <= 0:
        problems.append(Problem(Code.DAMAGED, f"the meta-data is said to have {md.md_size_sect} sectors"))
        return 0
    if agreed > room:
        problems.append(Problem(Code.TRUNCATED, f"the data has {agreed} bytes; here are {room}"))
    if agreed and not md.flags & CONSISTENT:
        message = "the data was not consistent: it was being copied from the peer"
        problems.append(Problem(Code.DAMAGED, message))
    return min(agreed or room, room)


def _plausible(md: Any, *, internal: bool) -> None:
    """The log and the bitmap lie before the superblock of an internal area, behind that of another."""
    if md.bm_bytes_per_bit not in range(512, (1 << 20) + 1) or md.bm_bytes_per_bit & md.bm_bytes_per_bit - 1:
        raise NotThisFormat(f"a bitmap of {md.bm_bytes_per_bit} bytes a bit")
    if md.al_nr_extents == 0 or md.md_size_sect < SIZE // SECTOR:
        raise NotThisFormat(f"{md.al_nr_extents} extents, {md.md_size_sect} sectors")
    if md.al_offset == 0 or (md.al_offset < 0) != internal or (md.bm_offset < 0) != internal:
        raise NotThisFormat(f"the log {md.al_offset}, the bitmap {md.bm_offset} sectors away")


def _peers(raw: bytes) -> list[Json]:
    """The slots of peers that are in use."""
    found: list[Json] = []
    for number in range(PEERS):
        uuid, dagtag, flags, index = unpack(">QQIi", raw[number * 32 : number * 32 + 24])
        if index >= 0 or uuid or flags:
            found.append(
                {
                    "peer": number,
                    "bitmap_uuid": f"{uuid:016x}",
                    "bitmap_dagtag": dagtag,
                    "bitmap_index": index,
                    "flags": [*flag_names(flags, PEER_FLAGS, "flag")],
                }
            )
    return found


FORMAT = Format(
    name="drbd",
    title="DRBD member",
    specification="https://github.com/LINBIT/drbd-utils",
    usage=Usage.RAID,
    types=("drbd",),
    parse=parse,
    signatures=tuple(
        Signature(magic, offset + MAGIC_AT, align=align)
        for magic in MAGICS
        for offset, align in ((0, 1), (-SIZE, SIZE), (-SIZE, 1))
    ),
    precedence=Precedence.RAID,
    with_table=TableRule.HIDES_WHEN_BEHIND,
    opaque="meta-data alone: the data of this DRBD member lies on another device",
)
