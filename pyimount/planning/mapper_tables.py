"""Device-mapper tables of a logical volume, as its recipe has them: whether the kernel may make them."""

from collections.abc import Iterator, Mapping
from typing import Any

from pyimount.formats import Json
from pyimount.layers import VolumeLayer

SECTOR = 512
"""Bytes of a sector, in which device-mapper counts."""
DEPTH_CAP = 64
"""So many volumes may stand over one another: a scan stops far below; a report may say anything."""
LINES_CAP = 1 << 16
"""Lines of one device-mapper table."""


class MapperTables:
    """The device-mapper tables in the recipe of a logical volume, as far as the kernel is to make them."""

    def __init__(self, volume: VolumeLayer) -> None:
        parameters = volume.recipe.parameters
        self._name = parameters.get("volume")
        tables, pvs = parameters.get("tables"), parameters.get("pvs")
        self.tables: dict[str, Json] = tables if isinstance(tables, dict) else {}
        self.pvs: dict[str, Any] = pvs if isinstance(pvs, dict) else {}
        self._lines = 0

    def targets(self, name: str) -> list[dict[str, Any]]:
        """The targets of one of the volumes."""
        table = self.tables.get(name)
        return [target for target in table if isinstance(target, dict)] if isinstance(table, list) else []

    def why_not(self, sizes: list[int]) -> str | None:
        """Why the kernel is not to map this; ``sizes``: bytes of each physical volume that is there."""
        pending = [(str(self._name), 0)]
        while pending:
            name, depth = pending.pop()
            if depth > DEPTH_CAP:
                return "volumes stand over one another without an end"
            targets = self.targets(name)
            if not targets:
                return "the report has no table for it"
            self._lines += len(targets)
            if self._lines > LINES_CAP:
                return f"it has more than {LINES_CAP} targets"
            for target in targets:
                why = self._why_not_target(target, sizes)
                if why is not None:
                    return why
                pending.extend((area["volume"], depth + 1) for area in areas_of(target) if "pv" not in area)
        return None

    def _why_not_target(self, target: Mapping[str, Any], sizes: list[int]) -> str | None:
        kind, areas = target.get("type"), list(areas_of(target))
        if kind not in ("linear", "striped", "zero", "error"):
            return f"targets of type {kind} are our own server's to read"
        if not _in_sectors(target, "start", "size") or not target["size"]:
            return "a target that is no run of sectors"
        if kind in ("zero", "error"):
            return "a target with areas" if areas else None
        if kind == "linear" and len(areas) != 1:
            return "a linear target of several areas"
        if kind == "striped" and (
            not areas
            or not _in_sectors(target, "chunk")
            or not target["chunk"]
            or target["size"] % (target["chunk"] * len(areas))
        ):
            return "stripes that are no whole chunks"
        for area in areas:
            if not _in_sectors(area, "offset", "size") or area["size"] * len(areas) != target["size"]:
                return "an area that is no run of sectors"
            if "pv" in area:
                number = self.pvs.get(area["pv"])
                if not isinstance(number, int) or not 0 <= number < len(sizes):
                    return "a physical volume is missing"
                if area["offset"] + area["size"] > sizes[number]:
                    return "a physical volume is cut off"
            elif not isinstance(area.get("volume"), str):
                return "an area of nothing"
        return None


def areas_of(target: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The areas of one target: runs of a physical volume, or of a volume below."""
    for area in [target.get("area"), *(target.get("areas") or ())]:
        if isinstance(area, dict):
            yield area


def _in_sectors(values: Mapping[str, Any], *keys: str) -> bool:
    return all(
        isinstance(values.get(key), int) and values[key] >= 0 and values[key] % SECTOR == 0 for key in keys
    )
