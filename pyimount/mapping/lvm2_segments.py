"""The segments of LVM2's logical volumes as targets of device-mapper tables.

The names of the fields: lib/striped/striped.c, lib/mirror/mirrored.c, lib/raid/raid.c, lib/thin/thin.c,
lib/snapshot/snapshot.c, lib/cache_segtype/cache.c and lib/writecache/writecache.c of LVM2.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from pyimount.formats import Json, NotThisFormat
from pyimount.mapping.assembly import Member
from pyimount.mapping.mapper_tables import PARITY, RAID0, RAID10, SECTOR, Table, Target
from pyimount.mapping.recipes import SIZE_CAP
from pyimount.parsers.volumes.lvm2 import integer, sections, segment_type, segments, string, strings
from pyimount.parsers.volumes.lvm2_text import Section
from pyimount.problems import Code, Problem

EXTENT_CAP = 1 << 50
CHUNK_CAP = 1 << 40


class Refused(Exception):  # noqa: N818  (an answer, not an error)
    """A logical volume that cannot be read; ``problem`` says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


class PhysicalVolume(NamedTuple):
    """A physical volume of a group: its extents start at ``start`` bytes; ``member`` is None when missing."""

    name: str
    start: int
    extents: int
    member: Member | None


class Group:
    """A group's metadata: ``extent`` in bytes, volumes by name, their sizes in bytes, physical volumes.

    Raises NotThisFormat for metadata that contradicts itself.
    """

    def __init__(self, section: Section, pvs: Mapping[str, PhysicalVolume]) -> None:
        self.extent = integer(section, "extent_size") * SECTOR
        if not 0 < self.extent <= EXTENT_CAP:
            raise NotThisFormat(f"extents of {self.extent} bytes")
        self.pvs = pvs
        self.volumes = sections(section, "logical_volumes")
        self.sizes: dict[str, int] = {}
        for name, volume in self.volumes.items():
            self.sizes[name] = sum(_extents(segment) for segment in segments(volume)) * self.extent


def table_of(volume: Section, group: Group) -> Table:
    """The table of a logical volume; raises Refused, and NotThisFormat for segments that are none.

    Targets of arrays have ``metadata`` beside what a recipe has: the names of their metadata devices.
    """
    table: Table = []
    start = extent = 0
    for segment in sorted(segments(volume), key=lambda each: integer(each, "start_extent")):
        if integer(segment, "start_extent") != extent:
            raise NotThisFormat(f"its segments leave extent {extent} out, or have it twice")
        extent += integer(segment, "extent_count")
        size = _extents(segment) * group.extent
        if not 0 < size <= SIZE_CAP - start:
            raise NotThisFormat(f"a segment of {size} bytes")
        kind = segment_type(segment)
        make = _MAKERS.get(kind)
        if make is None:
            raise Refused(Code.UNSUPPORTED, f"logical volumes with segments of type {kind} are not read")
        made = make(segment, group, size)
        if start and made["type"] in _WHOLE:
            raise NotThisFormat(f"a segment of type {kind} that is not the first")
        table.append({**made, "start": start, "size": size})
        start += size
    if not table:
        raise NotThisFormat("it has no segments")
    return table


def areas_of(target: Target) -> Iterator[Mapping[str, Json]]:
    """What a target stands over: areas, or whole volumes as areas."""
    for key in ("area", "metadata", "data"):
        area = target.get(key)
        if isinstance(area, dict):
            yield area
    for key in ("areas", "devices"):
        areas = target.get(key)
        for area in areas if isinstance(areas, list) else ():
            if isinstance(area, dict):
                yield area
    for key in ("origin", "store", "metadata", "data", "log"):
        name = target.get(key)
        if isinstance(name, str):
            yield {"volume": name}


def segment_facts(segment: Section, group: Group) -> Json:
    """A segment for the report: its place in bytes, its layout, and what it stands over as lvs writes it."""
    facts: dict[str, Json] = {
        "type": segment_type(segment),
        "offset": _number(segment, "start_extent") * group.extent,
        "size": _number(segment, "extent_count") * group.extent,
    }
    for key, name in (
        ("stripe_count", "stripes"),
        ("mirror_count", "mirrors"),
        ("device_count", "devices"),
        ("data_copies", "data_copies"),
        ("device_id", "device_id"),
        ("transaction_id", "transaction_id"),
    ):
        if key in segment:
            facts[name] = _number(segment, key)
    for key in ("stripe_size", "region_size", "chunk_size"):
        if _number(segment, key):
            facts[key] = _number(segment, key) * SECTOR
    for key in ("cache_mode", "metadata", "pool", "data"):
        if isinstance(segment.get(key), str):
            facts[key] = string(segment, key)
    for key in ("stripes", "mirrors", "raids", "raid0_lvs"):
        named = segment.get(key)
        if isinstance(named, list):
            facts["over"] = [*_as_written(named)]
    return facts


def _as_written(named: list[str | int | float]) -> Iterator[Json]:
    for number, name in enumerate(named):
        if isinstance(name, str):
            behind = named[number + 1] if number + 1 < len(named) else None
            yield f"{name}({behind})" if isinstance(behind, int) else name


def _number(segment: Section, key: str) -> int:
    value = segment.get(key)
    return value if isinstance(value, int) else 0


def _extents(segment: Section) -> int:
    """What a segment gives: for an array, without the room that was kept for reshaping it."""
    count, kept = integer(segment, "extent_count"), integer(segment, "reshape_count")
    if kept and "device_count" in segment:
        level = PARITY.get(segment_type(segment), (0, 0))[0]
        count -= kept * max(0, integer(segment, "device_count") - (2 if level == 6 else 1 if level else 0))
    return max(0, count)


# Each type of segment.


def _area(name: str, extent: int, group: Group, size: int) -> dict[str, Json]:
    """A run of extents, of a physical volume or else of a logical one."""
    offset = extent * group.extent
    pv = group.pvs.get(name)
    if pv is not None:
        if offset + size > pv.extents * group.extent:
            raise NotThisFormat(f"physical volume {name} has no extent {pv.extents}")
        return {"pv": name, "offset": pv.start + offset, "size": size}
    if name not in group.volumes:
        raise NotThisFormat(f"there is no volume {name}")
    return {"volume": name, "offset": offset, "size": size}


def _areas(segment: Section, key: str, group: Group, size: int) -> list[Json]:
    named = segment.get(key)
    if not isinstance(named, list) or not named or len(named) % 2:
        raise NotThisFormat(f"a segment whose {key} are no list of places")
    areas: list[Json] = []
    for name, extent in zip(named[::2], named[1::2], strict=True):
        if not isinstance(name, str) or not isinstance(extent, int) or not 0 <= extent < EXTENT_CAP:
            raise NotThisFormat(f"a segment at {extent!r:.40} of {name!r:.40}")
        areas.append(_area(name, extent, group, size))
    return areas


def _chunk(segment: Section, key: str) -> int:
    size = integer(segment, key) * SECTOR
    if not 0 < size <= CHUNK_CAP:
        raise NotThisFormat(f"a segment whose {key} is {size} bytes")
    return size


def _striped(segment: Section, group: Group, size: int) -> Target:
    count = integer(segment, "stripe_count")
    if not count or integer(segment, "extent_count") % count:
        raise NotThisFormat(f"{size} bytes in {count} stripes")
    areas = _areas(segment, "stripes", group, size // count)
    if len(areas) != count:
        raise NotThisFormat(f"{count} stripes, of which {len(areas)} have a place")
    if count == 1:
        return {"type": "linear", "area": areas[0]}
    return {"type": "striped", "chunk": _chunk(segment, "stripe_size"), "areas": areas}


def _mirror(segment: Section, group: Group, size: int) -> Target:
    areas = _areas(segment, "mirrors", group, size)
    if 0 < integer(segment, "extent_count") <= integer(segment, "extents_moved"):
        # What pvmove has moved is at its new place, and is written only there.
        areas = areas[1:] or areas
    log = _volume(segment, "mirror_log", group) if "mirror_log" in segment else None
    return {"type": "mirror", "areas": areas, "log": log, "region": integer(segment, "region_size") * SECTOR}


def _raid(segment: Section, group: Group, size: int) -> Target:  # noqa: ARG001
    kind = segment_type(segment)
    key = "raid0_lvs" if "raid0_lvs" in segment else "raids"
    named = segment.get(key)
    if not isinstance(named, list) or not named or not all(name in group.volumes for name in named):
        raise NotThisFormat(f"an array whose {key} are no list of volumes")
    names = [str(name) for name in named]
    metadata = names[::2] if key == "raids" else []
    images = names[1::2] if key == "raids" else names
    if metadata and len(metadata) != len(images):
        raise NotThisFormat("an array with devices that have no metadata")
    return {
        "type": "raid",
        "raid_type": kind,
        "chunk": 0 if kind == "raid1" else _chunk(segment, "stripe_size"),
        "copies": integer(segment, "data_copies") or 2,
        "devices": [_image(name, group) for name in images],
        "metadata": [*metadata],
    }


def _image(name: str, group: Group) -> Json:
    mostly = "WRITEMOSTLY" in strings(group.volumes[name], "status")
    return {
        "volume": name,
        "offset": 0,
        "size": group.sizes[name],
        "trusted": None,
        "write_mostly": mostly,
    }


def _volume(segment: Section, key: str, group: Group) -> str:
    name = string(segment, key)
    if name is None or name not in group.volumes:
        raise NotThisFormat(f"a segment whose {key} is no volume: {name}")
    return name


def _pool_of(segment: Section, key: str, group: Group) -> Section:
    """The segment of the pool that a segment names."""
    parts = segments(group.volumes[_volume(segment, key, group)])
    if len(parts) != 1:
        raise NotThisFormat(f"a pool of {len(parts)} segments")
    return parts[0]


def _thin_pool(segment: Section, group: Group, size: int) -> Target:
    return {"type": "linear", "area": {"volume": _volume(segment, "pool", group), "offset": 0, "size": size}}


def _thin(segment: Section, group: Group, size: int) -> Target:  # noqa: ARG001
    pool = _pool_of(segment, "thin_pool", group)
    return {
        "type": "thin",
        "metadata": _volume(pool, "metadata", group),
        "data": _volume(pool, "pool", group),
        "device": integer(segment, "device_id"),
        "origin": _volume(segment, "external_origin", group) if "external_origin" in segment else None,
    }


def _snapshot(segment: Section, group: Group, size: int) -> Target:  # noqa: ARG001
    return {
        "type": "snapshot",
        "origin": _volume(segment, "origin", group),
        "store": _volume(segment, "merging_store" if "merging_store" in segment else "cow_store", group),
        "chunk": _chunk(segment, "chunk_size"),
    }


def _cache(segment: Section, group: Group, size: int) -> Target:  # noqa: ARG001
    origin = _volume(segment, "origin", group)
    metadata: Json
    data: Json
    mode = string(segment, "cache_mode")
    if "data_len" in segment:
        # Both in one volume.
        store = _volume(segment, "cache_pool", group)
        metadata = _part(segment, "metadata", store)
        data = _part(segment, "data", store)
    else:
        pool = _pool_of(segment, "cache_pool", group)
        mode = mode or string(pool, "cache_mode")
        metadata = _whole(_volume(pool, "metadata", group), group)
        data = _whole(_volume(pool, "data", group), group)
    return {"type": "cache", "origin": origin, "metadata": metadata, "data": data, "mode": mode}


def _part(segment: Section, key: str, store: str) -> Json:
    offset, size = integer(segment, f"{key}_start") * SECTOR, integer(segment, f"{key}_len") * SECTOR
    if max(offset, size) > SIZE_CAP:
        raise NotThisFormat(f"a cache whose {key} has {size} bytes at {offset}")
    return {"volume": store, "offset": offset, "size": size}


def _whole(name: str, group: Group) -> Json:
    return {"volume": name, "offset": 0, "size": group.sizes[name]}


def _writecache(segment: Section, group: Group, size: int) -> Target:  # noqa: ARG001
    return {
        "type": "writecache",
        "origin": _volume(segment, "origin", group),
        "store": _volume(segment, "writecache", group),
    }


def _integrity(segment: Section, group: Group, size: int) -> Target:
    # With its metadata on a device of its own the data lies plain: get_data_sector in dm-integrity.c.
    origin = _volume(segment, "origin", group)
    return {
        "type": "linear",
        "area": {"volume": origin, "offset": 0, "size": size},
        "integrity": string(segment, "mode"),
    }


def _zero(segment: Section, group: Group, size: int) -> Target:  # noqa: ARG001
    return {"type": "zero"}


def _error(segment: Section, group: Group, size: int) -> Target:  # noqa: ARG001
    return {"type": "error"}


_MAKERS: Mapping[str, Callable[[Section, Group, int], Target]] = {
    "striped": _striped,
    "linear": _striped,
    "mirror": _mirror,
    **dict.fromkeys((*RAID0, "raid1", *RAID10, *PARITY), _raid),
    "thin-pool": _thin_pool,
    "thin": _thin,
    "snapshot": _snapshot,
    "cache": _cache,
    "writecache": _writecache,
    "integrity": _integrity,
    "zero": _zero,
    "error": _error,
}
_WHOLE = ("raid", "thin", "snapshot", "cache", "writecache")
"""Targets that count from the start of their volume."""
