"""LVM2 physical volumes, and what the metadata on them says of their volume group.

Layouts: lvm2, lib/format_text/layout.h and lib/label/label.c; in words: libyal, libvslvm,
"Logical Volume Manager (LVM) format".
https://github.com/libyal/libvslvm/blob/main/documentation/Logical%20Volume%20Manager%20(LVM)%20format.asciidoc
"""

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from construct import Bytes, Const, Int32ul, Int64ul, Struct

from pyimount.formats import (
    Format,
    Identity,
    Json,
    Membership,
    NotThisFormat,
    Precedence,
    Signature,
    Usage,
)
from pyimount.formats.layouts import layout, parse_struct
from pyimount.formats.notation import unix_time
from pyimount.parsers.volumes.lvm2_text import Scalar, Section, TooLong, Value, parse_text
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.view import ShortRead, View

SECTOR = 512
LABEL_SECTORS = 4
_TYPE_AT = 0x18

LABEL_HEADER = layout(
    lambda: Struct(
        "id" / Const(b"LABELONE"),
        "sector_xl" / Int64ul,
        "crc_xl" / Int32ul,
        "offset_xl" / Int32ul,
        "type" / Const(b"LVM2 001"),
    )
)
PV_HEADER = layout(lambda: Struct("pv_uuid" / Bytes(32), "device_size_xl" / Int64ul))
DISK_LOCN = layout(lambda: Struct("offset" / Int64ul, "size" / Int64ul))
PV_HEADER_EXTENSION = layout(lambda: Struct("version" / Int32ul, "flags" / Int32ul))
MDA_HEADER = layout(
    lambda: Struct(
        "checksum_xl" / Int32ul,
        "magic" / Const(b" LVM2 x[5A%r0N*>"),
        "version" / Int32ul,
        "start" / Int64ul,
        "size" / Int64ul,
    )
)
RAW_LOCN = layout(
    lambda: Struct("offset" / Int64ul, "size" / Int64ul, "checksum" / Int32ul, "flags" / Int32ul)
)

MDA_HEADER_SIZE = 512
RAW_LOCN_IGNORED = 0x1
PV_EXT_USED = 0x1
TEXT_CAP = 8 << 20
"""No metadata text is longer than this, in bytes."""
_KEPT_TEXT = 1 << 20
"""What was made of a text that is no longer than this is kept until another is read."""

_INITIAL_CRC = 0xF597A6CF


def crc(data: bytes) -> int:
    """LVM's checksum: CRC-32 that starts from a value of its own and is not inverted at the end."""
    return zlib.crc32(data, _INITIAL_CRC ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def dashed(raw: bytes) -> str:
    """32 characters as LVM writes its UUIDs; raises NotThisFormat for any others."""
    if not raw.translate(None, b"!#").isalnum():
        raise NotThisFormat(f"{raw!r} is no UUID of LVM")
    text = raw.decode("ascii")
    return "-".join((text[:6], *(text[at : at + 4] for at in range(6, 26, 4)), text[26:]))


class Label(Record, kw_only=True):
    """What the label of a physical volume says; offsets and sizes in bytes."""

    offset: int
    checked: bool
    uuid: str
    device_size: int
    data_areas: tuple[tuple[int, int], ...]
    metadata_areas: tuple[tuple[int, int], ...]
    bootloader_areas: tuple[tuple[int, int], ...] = ()
    extension_version: int | None = None
    used: bool | None = None
    """Whether the volume group's owner marked it as in use; None before that mark was invented."""


class Metadata(Record, kw_only=True):
    """The text in one metadata area, ``raw`` and read, and the volume group's section in it."""

    area: int
    raw: bytes
    text: Section
    name: str
    group: Section
    seqno: int
    checksum: int
    ignored: bool


def parse(view: View) -> Identity:
    """The identity of a physical volume, with its volume group where the metadata here tells."""
    label = _label(view)
    problems = []
    if not label.checked:
        message = f"the checksum of the LVM2 label at {label.offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    if label.device_size > view.size:
        message = f"the physical volume has {label.device_size} bytes; here are {view.size}"
        problems.append(Problem(Code.TRUNCATED, message))
    found = _newest(view, label, problems)
    details: dict[str, Json] = {
        "pv_uuid": label.uuid,
        "pv_size": label.device_size,
        "label_offset": label.offset,
        "metadata_areas": [{"offset": at, "size": size} for at, size in label.metadata_areas],
        "data_areas": [{"offset": at, "size": size} for at, size in label.data_areas],
        "bootloader_areas": [{"offset": at, "size": size} for at, size in label.bootloader_areas],
        "extension_version": label.extension_version,
        "used": label.used,
    }
    group = None
    if found is not None:
        try:
            group = _group(found, label.uuid)
            details |= _group_details(found)
        except NotThisFormat as error:
            message = f"the metadata of the volume group contradicts itself: {error}"
            problems.append(Problem(Code.DAMAGED, message))
    return Identity(
        type="LVM2_member",
        fstype="lvm",
        uuid=label.uuid,
        version="LVM2 001",
        group=group,
        offset=label.offset,
        checked=label.checked,
        details=details,
        problems=tuple(problems),
        # As pvcreate leaves it.
        is_empty=found is None and bool(label.metadata_areas) and not label.used and not problems,
    )


def group_metadata(view: View) -> Metadata | None:
    """The newest metadata on a physical volume; None where it has none.

    Raises NotThisFormat where there is no physical volume; ReadError and BudgetError as the source does.
    """
    return _newest(view, _label(view), [])


def segments(volume: Section) -> list[Section]:
    """The segments of a logical volume, in the order of the text."""
    return [
        value
        for key, value in volume.items()
        if isinstance(value, dict) and key.startswith("segment") and "type" in value
    ]


def segment_type(segment: Section) -> str:
    """The type of a segment, without the flags that LVM puts behind it to keep old versions off."""
    return (string(segment, "type") or "").partition("+")[0]


def _label(view: View) -> Label:
    """The first label that stands in its place."""
    for sector in range(LABEL_SECTORS):
        offset = sector * SECTOR
        if view.glance(offset + _TYPE_AT, 8) == b"LVM2 001":
            try:
                return _label_at(view, sector)
            except (NotThisFormat, ShortRead):
                continue
    raise NotThisFormat("no label in the first four sectors")


def _label_at(view: View, sector: int) -> Label:
    raw = view.read(sector * SECTOR, SECTOR)
    header = parse_struct(raw, LABEL_HEADER)
    if header.sector_xl != sector or not LABEL_HEADER.size <= header.offset_xl <= SECTOR - PV_HEADER.size:
        raise NotThisFormat(f"a label for sector {header.sector_xl}")
    pv = parse_struct(raw, PV_HEADER, header.offset_xl)
    at = header.offset_xl + PV_HEADER.size
    data_areas, at = _areas(raw, at)
    metadata_areas, at = _areas(raw, at)
    facts: dict[str, Any] = {}
    if at + PV_HEADER_EXTENSION.size <= SECTOR:
        extension = parse_struct(raw, PV_HEADER_EXTENSION, at)
        if extension.version:
            facts = {"extension_version": extension.version}
            facts["bootloader_areas"], at = _areas(raw, at + PV_HEADER_EXTENSION.size)
            if extension.version >= 2:
                facts["used"] = bool(extension.flags & PV_EXT_USED)
    return Label(
        offset=sector * SECTOR,
        checked=crc(raw[20:]) == header.crc_xl,
        uuid=dashed(pv.pv_uuid),
        device_size=pv.device_size_xl,
        data_areas=data_areas,
        metadata_areas=metadata_areas,
        **facts,
    )


def _areas(sector: bytes, at: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """A list of areas, which an area at 0 ends, and where in the sector the next thing stands."""
    areas = []
    while at + DISK_LOCN.size <= SECTOR:
        area = parse_struct(sector, DISK_LOCN, at)
        at += DISK_LOCN.size
        if area.offset == 0:
            break
        areas.append((area.offset, area.size))
    return tuple(areas), at


def _newest(view: View, label: Label, problems: list[Problem]) -> Metadata | None:
    """The metadata of the highest sequence number; what is wrong with the others goes to ``problems``."""
    found: list[Metadata] = []
    seen: set[tuple[int, int, int]] = set()
    unusable = 0
    for area in label.metadata_areas:
        try:
            found.extend(_metadata(view, area, seen, problems))
        except TooLong as error:
            problems.append(Problem(Code.BUDGET, f"the metadata at {area[0]} was not read: {error}"))
        except (NotThisFormat, ShortRead) as error:
            unusable += 1
            problems.append(Problem(Code.DAMAGED, f"the metadata area at {area[0]} is unusable: {error}"))
    if not found:
        return None
    best = max(found, key=lambda one: (not one.ignored, one.seqno))
    if unusable and best.area != label.metadata_areas[0][0]:
        message = f"the volume group's metadata comes from the area at {best.area}"
        problems.append(Problem(Code.BACKUP_USED, message))
    older = [one for one in found if one.seqno != best.seqno and not one.ignored]
    if older:
        said = ", ".join(f"{one.seqno} at {one.area}" for one in (best, *older))
        problems.append(Problem(Code.COPIES_DIFFER, f"the metadata areas differ: sequence numbers {said}"))
    return best


def _metadata(
    view: View, area: tuple[int, int], seen: set[tuple[int, int, int]], problems: list[Problem]
) -> Iterator[Metadata]:
    """The metadata of one area, unless an equal one was ``seen`` or the area is empty."""
    offset, size = area
    raw = view.read(offset, MDA_HEADER_SIZE)
    header = parse_struct(raw, MDA_HEADER)
    if header.version != 1 or header.start != offset:
        raise NotThisFormat(f"version {header.version}, made for {header.start}")
    if header.size <= MDA_HEADER_SIZE or (size and header.size > size):
        raise NotThisFormat(f"{header.size} bytes in an area of {size}")
    if crc(raw[4:]) != header.checksum_xl:
        message = f"the checksum of the metadata area's header at {offset} does not match"
        problems.append(Problem(Code.BAD_CHECKSUM, message))
    committed = parse_struct(raw, RAW_LOCN, MDA_HEADER.size)
    if committed.offset == 0 or committed.size == 0:
        return
    text = _circular(view, offset, header.size, committed)
    if crc(text) != committed.checksum:
        raise NotThisFormat("the checksum of the text does not match")
    key = (committed.size, committed.checksum, committed.flags & RAW_LOCN_IGNORED)
    if key in seen:
        return
    seen.add(key)
    parsed = _section(text)
    name, group = _group_of(parsed)
    yield Metadata(
        area=offset,
        raw=text,
        text=parsed,
        name=name,
        group=group,
        seqno=integer(group, "seqno"),
        checksum=committed.checksum,
        ignored=bool(committed.flags & RAW_LOCN_IGNORED),
    )


def _group_of(text: Section) -> tuple[str, Section]:
    """The name and the section of the group: of the sections on top there is that one."""
    for name, value in text.items():
        if isinstance(value, dict):
            if isinstance(value.get("seqno"), int):
                return name, value
            break
    raise NotThisFormat("the text has no volume group")


def _circular(view: View, start: int, size: int, place: Any) -> bytes:
    """The text at ``place`` of the area at ``start``, which runs on behind the header where the area ends."""
    if not MDA_HEADER_SIZE <= place.offset < size or place.size > min(size - MDA_HEADER_SIZE, TEXT_CAP):
        raise NotThisFormat(f"a text of {place.size} bytes at {place.offset}, in {size}")
    first = min(place.size, size - place.offset)
    text = view.read(start + place.offset, first)
    return text + view.read(start + MDA_HEADER_SIZE, place.size - first) if first < place.size else text


def _group(metadata: Metadata, pv_uuid: str) -> Membership:
    pvs = sections(metadata.group, "physical_volumes")
    uuid = string(metadata.group, "id")
    if not uuid:
        raise NotThisFormat("the group has no UUID")
    return Membership(
        type="lvm2",
        uuid=uuid,
        name=metadata.name,
        role=next((name for name, pv in pvs.items() if pv.get("id") == pv_uuid), None),
        members=len(pvs),
        identity=pv_uuid,
        # An area that is told to be ignored is not kept up to date.
        as_of=() if metadata.ignored else (metadata.seqno, metadata.checksum),
        tells=("vg.pvs", "lvs"),
    )


def _group_details(metadata: Metadata) -> dict[str, Json]:
    text, group = metadata.text, metadata.group
    extent = integer(group, "extent_size") * SECTOR
    pvs, lvs = _lists(metadata)
    return {
        "vg": {
            "name": metadata.name,
            "id": string(group, "id"),
            "seqno": metadata.seqno,
            "format": string(group, "format"),
            "status": strings(group, "status"),
            "flags": strings(group, "flags"),
            "system_id": string(group, "system_id"),
            "lock_type": string(group, "lock_type"),
            "extent_size": extent,
            "max_lv": integer(group, "max_lv"),
            "max_pv": integer(group, "max_pv"),
            "description": string(text, "description"),
            "creation_host": string(text, "creation_host"),
            "creation_time": unix_time(integer(text, "creation_time")),
            "metadata_area": metadata.area,
            "pvs": pvs,
        },
        "lvs": lvs,
    }


# Every physical volume of a group has the same text, and each would otherwise be read twice: two hundred of
# them took seconds, and kept two hundred lists of two hundred. The lists are shared; nobody changes details.


def _section(text: bytes) -> Section:
    return _read(text) if len(text) <= _KEPT_TEXT else parse_text(text)


def _lists(metadata: Metadata) -> tuple[list[Json], list[Json]]:
    """The physical and the logical volumes of a group for the report."""
    return _listed(metadata.raw) if len(metadata.raw) <= _KEPT_TEXT else _made_lists(metadata.group)


@lru_cache(maxsize=1)
def _read(text: bytes) -> Section:
    return parse_text(text)


@lru_cache(maxsize=1)
def _listed(text: bytes) -> tuple[list[Json], list[Json]]:
    return _made_lists(_group_of(_read(text))[1])


def _made_lists(group: Section) -> tuple[list[Json], list[Json]]:
    extent = integer(group, "extent_size") * SECTOR
    pvs: list[Json] = [
        {
            "name": name,
            "id": string(pv, "id"),
            "device": string(pv, "device"),
            "status": strings(pv, "status"),
            "dev_size": integer(pv, "dev_size") * SECTOR,
            "pe_start": integer(pv, "pe_start") * SECTOR,
            "pe_count": integer(pv, "pe_count"),
            "missing": "MISSING" in strings(pv, "flags"),
        }
        for name, pv in sections(group, "physical_volumes").items()
    ]
    volumes = sections(group, "logical_volumes")
    volumes = sections(group, "logical_volumes")
    return pvs, [_volume(name, volume, extent) for name, volume in volumes.items()]


def _volume(name: str, volume: Section, extent: int) -> Json:
    parts = segments(volume)
    kinds = dict.fromkeys(segment_type(segment) for segment in parts)
    status = strings(volume, "status")
    return {
        "name": name,
        "uuid": string(volume, "id"),
        "status": status,
        "flags": strings(volume, "flags"),
        "visible": "VISIBLE" in status,
        "size": sum(integer(segment, "extent_count") for segment in parts) * extent,
        "segments": len(parts),
        "segment_types": [*kinds],
        "tags": strings(volume, "tags"),
        "creation_host": string(volume, "creation_host"),
        "creation_time": unix_time(integer(volume, "creation_time")),
    }


def sections(section: Section, key: str) -> dict[str, Section]:
    """The sections in a section of this name; raises NotThisFormat where it is a value."""
    inner = section.get(key, {})
    if not isinstance(inner, dict):
        raise NotThisFormat(f"{key} is no section")
    return {name: value for name, value in inner.items() if isinstance(value, dict)}


def integer(section: Section, key: str) -> int:
    """A number that is not negative, 0 where it is not there; raises NotThisFormat for any other value."""
    value = section.get(key, 0)
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise NotThisFormat(f"{key} is {value!r:.40}")
    return value


def string(section: Section, key: str) -> str | None:
    """A text; None where it is not there, or no text."""
    value = section.get(key)
    return value if isinstance(value, str) else None


def strings(section: Section, key: str) -> list[Json]:
    """The values of a list, or of what stands there instead of one, as texts."""
    value: Value = section.get(key, [])
    scalars: list[Scalar] = value if isinstance(value, list) else [] if isinstance(value, dict) else [value]
    return [str(scalar) for scalar in scalars]


FORMAT = Format(
    name="lvm2",
    title="LVM2 physical volume",
    specification="https://github.com/libyal/libvslvm/tree/main/documentation",
    usage=Usage.RAID,
    types=("LVM2_member",),
    parse=parse,
    signatures=tuple(Signature(b"LVM2 001", sector * SECTOR + _TYPE_AT) for sector in range(LABEL_SECTORS)),
    precedence=Precedence.VOLUME_GROUP,
    opaque="no metadata of its volume group is here: which volumes lie in it is not known",
)
