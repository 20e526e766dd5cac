"""Tables as device-mapper has them: volumes that are made of targets, over devices and over each other.

A recipe has ``volume``, the name of the one to open; ``pvs``, which input each physical volume is (None where
it is missing); and ``tables``: for every volume that is needed a list of targets. A target has ``type``,
``start`` and ``size`` (bytes within the volume), and by its type:

- ``linear``: ``area``; ``striped``: ``areas`` and ``chunk``;
- ``mirror``: ``areas``, the first preferred; ``log``, the volume that says where the others are in step with
  it (None where there is none: they then count everywhere), and ``region`` in bytes;
- ``raid``: ``raid_type`` (``raid5_ls`` …), ``chunk``, ``copies``, and ``devices``: each with ``volume``,
  ``offset``, ``size``, ``trusted`` and ``write_mostly``, or None for one that is not to be used;
- ``thin``: ``metadata``, ``data``, ``device``, ``origin``; ``snapshot``: ``origin``, ``store``, ``chunk``;
- ``cache``: ``origin``, ``metadata``, ``data``; ``writecache``: ``origin``, ``store``; ``zero``; ``error``.

An area is ``{"pv": name, "offset": bytes, "size": bytes}``, or has ``volume`` in place of ``pv``.
Targets: Documentation/admin-guide/device-mapper of the Linux kernel.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from pyimount.formats import Details, Json
from pyimount.mapping import overlay
from pyimount.mapping.mirror_log import MirrorLeg, MirrorLog
from pyimount.mapping.parity import (
    DDF_N_CONTINUE,
    DDF_N_RESTART,
    DDF_ZERO_RESTART,
    LEFT_ASYMMETRIC,
    LEFT_ASYMMETRIC_6,
    LEFT_SYMMETRIC,
    LEFT_SYMMETRIC_6,
    PARITY_0,
    PARITY_0_6,
    PARITY_N,
    RIGHT_ASYMMETRIC,
    RIGHT_ASYMMETRIC_6,
    RIGHT_SYMMETRIC,
    RIGHT_SYMMETRIC_6,
    ParitySource,
)
from pyimount.mapping.raid import (
    Device,
    LinearSource,
    MirrorSource,
    Raid10Layout,
    Raid10Source,
    StripedSource,
    Zone,
)
from pyimount.mapping.recipes import (
    RecipeError,
    damaged,
    input_of,
    is_write_mostly,
    list_of,
    number_of,
    word_of,
)
from pyimount.mapping.thin import ThinPool, ThinSource
from pyimount.problems import Code
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import SliceSource, Source, ZeroSource

Target = dict[str, Json]
Table = list[Target]

SECTOR = 512
DEPTH_CAP = 24
"""Volumes over one another; LVM itself piles up ten at most, but for chains of external origins."""
DEVICES_CAP = 4096
"""Devices of one array: many more than the kernel has."""

PARITY: Mapping[str, tuple[int, int]] = {
    # Unlike md's own level 4, whose parity is on the last device.
    "raid4": (5, PARITY_0),
    "raid5": (5, LEFT_SYMMETRIC),
    "raid5_0": (5, PARITY_0),
    "raid5_n": (5, PARITY_N),
    "raid5_la": (5, LEFT_ASYMMETRIC),
    "raid5_ra": (5, RIGHT_ASYMMETRIC),
    "raid5_ls": (5, LEFT_SYMMETRIC),
    "raid5_rs": (5, RIGHT_SYMMETRIC),
    "raid6": (6, DDF_ZERO_RESTART),
    "raid6_zr": (6, DDF_ZERO_RESTART),
    "raid6_nr": (6, DDF_N_RESTART),
    "raid6_nc": (6, DDF_N_CONTINUE),
    "raid6_n_6": (6, PARITY_N),
    "raid6_0_6": (6, PARITY_0_6),
    "raid6_la_6": (6, LEFT_ASYMMETRIC_6),
    "raid6_ra_6": (6, RIGHT_ASYMMETRIC_6),
    "raid6_ls_6": (6, LEFT_SYMMETRIC_6),
    "raid6_rs_6": (6, RIGHT_SYMMETRIC_6),
}
"""Level and layout, as md numbers it, of the types with parity."""
RAID0 = ("raid0", "raid0_meta")
RAID10 = ("raid10", "raid10_near")


class UnreadableSource(Source):
    """Bytes that are known not to be had; reading them raises ReadError that says ``why``."""

    __slots__ = ("_why",)

    def __init__(self, size: int, why: str) -> None:
        self.size = size
        self._why = why

    def _read(self, offset: int, length: int) -> bytes:  # noqa: ARG002
        # The same words for all of it: a report says each thing once.
        raise ReadError(self._why)

    def lost_around(self, offset: int) -> tuple[int, int] | None:  # noqa: ARG002
        """All of it."""
        return 0, self.size


def open_mapped(parameters: Details, inputs: Sequence[Source]) -> Source:
    """The bytes of a volume from its recipe; raises OpenError for a recipe that is none."""
    name, tables, pvs = parameters.get("volume"), parameters.get("tables"), parameters.get("pvs")
    if not isinstance(name, str) or not isinstance(tables, dict) or not isinstance(pvs, dict):
        raise OpenError("the recipe has no volume, tables and pvs")
    return Tables(tables, {pv: input_of(which, inputs) for pv, which in pvs.items()}).volume(name)


class Tables:
    """Volumes by their tables, over the physical volumes of ``pvs`` (None for those that are missing).

    Each is opened once, however many stand over it.
    """

    def __init__(self, tables: Mapping[str, Json], pvs: Mapping[str, Source | None]) -> None:
        self._tables = tables
        self._pvs = pvs
        self._open: dict[str, Source] = {}
        self._pools: dict[str, ThinPool] = {}
        self._within: list[str] = []
        self._heights: dict[str, int] = {}

    def volume(self, name: str) -> Source:
        """The bytes of a volume; raises RecipeError where they cannot be given."""
        found = self._open.get(name)
        if found is None:
            if name in self._within:
                way = " over ".join((*self._within[self._within.index(name) :], name))
                raise RecipeError(Code.LOOP, f"a volume stands over itself: {way}")
            if len(self._within) >= DEPTH_CAP:
                raise RecipeError(Code.BUDGET, f"more than {DEPTH_CAP} volumes stand over one another")
            self._within.append(name)
            try:
                made = self._made(name)
            finally:
                self._within.pop()
            height = self._heights.get(name, 0)
            if height >= DEPTH_CAP:
                raise RecipeError(Code.BUDGET, f"more than {DEPTH_CAP} volumes stand over one another")
            found = self._open[name] = made
        if self._within:
            # One that was opened before may already stand high.
            over = self._within[-1]
            self._heights[over] = max(self._heights.get(over, 0), self._heights.get(name, 0) + 1)
        return found

    def _made(self, name: str) -> Source:
        table = self._tables.get(name)
        if not isinstance(table, list) or not table:
            raise damaged(f"there is no volume {name}")
        sources, sizes, end = [], [], 0
        for target in table:
            if not isinstance(target, dict) or number_of(target, "start") != end:
                raise damaged(f"volume {name} has a gap at {end}")
            size = number_of(target, "size")
            sources.append(self._target(target, size))
            sizes.append(size)
            end += size
        if len(sources) == 1:
            return sources[0]
        return LinearSource(
            [Device(source, 0, size) for source, size in zip(sources, sizes, strict=True)], sizes
        )

    def _target(self, target: Target, size: int) -> Source:
        kind = target.get("type")
        if kind == "zero":
            return ZeroSource(size)
        if kind == "error":
            return UnreadableSource(size, "the volume group has no data there")
        if kind == "linear":
            return _exactly(self.run(target.get("area")), size)
        if kind == "striped":
            return _striped(self._areas(target), number_of(target, "chunk"), size)
        if kind == "mirror":
            return self._mirrored(target, size)
        if kind == "raid":
            return self._raid(target, size)
        if kind == "thin":
            return self._thin(target, size)
        origin = self.volume(word_of(target, "origin"))
        if kind == "snapshot":
            store, chunk = self.volume(word_of(target, "store")), number_of(target, "chunk")
            return overlay.OverlaySource(origin, size, partial(overlay.snapshot, store, chunk))
        if kind == "cache":
            metadata, data = self.run(target.get("metadata")), self.run(target.get("data"))
            return overlay.OverlaySource(origin, size, partial(overlay.cache, metadata, data))
        if kind == "writecache":
            store = self.volume(word_of(target, "store"))
            return overlay.OverlaySource(origin, size, partial(overlay.writecache, store))
        raise RecipeError(Code.UNSUPPORTED, f"targets of type {kind} are not read")

    def _place(self, area: Json) -> tuple[Source, int, int]:
        """Where a run of a physical or another volume lies: in what, from where on, how many bytes."""
        if not isinstance(area, dict):
            raise damaged("a target has no area")
        offset, size = number_of(area, "offset"), number_of(area, "size")
        if "pv" not in area:
            return self.volume(word_of(area, "volume")), offset, size
        name = word_of(area, "pv")
        if name not in self._pvs:
            raise damaged(f"there is no physical volume {name}")
        source = self._pvs[name]
        if source is None:
            return UnreadableSource(size, f"physical volume {name} is missing"), 0, size
        return source, offset, size

    def run(self, area: Json) -> Source:
        """The bytes of an area; raises RecipeError where they cannot be given."""
        source, offset, size = self._place(area)
        if offset + size <= source.size:
            return SliceSource(source, offset, size)
        # As far as it reaches: the image may be cut off.
        return LinearSource([Device(source, offset, size)], [size])

    def _areas(self, target: Target) -> list[Device]:
        return [Device(*self._place(area)) for area in list_of(target, "areas", DEVICES_CAP)]

    def _mirrored(self, target: Target, size: int) -> Source:
        places = [self._place(area) for area in list_of(target, "areas", DEVICES_CAP)]
        if any(each != size for _, _, each in places):
            raise damaged(f"a mirror of {size} bytes has legs of another size")
        log = self.mirror_log(target)
        if log is None:
            return MirrorSource([Device(*place) for place in places], size)
        others = [MirrorLeg(*place, log) for place in places[1:]]
        return MirrorSource([Device(*places[0]), *others], size, step=number_of(target, "region"))

    def mirror_log(self, target: Target) -> MirrorLog | None:
        """The log of a mirror; None where it has none. Raises RecipeError where that cannot be opened."""
        if target.get("log") is None:
            return None
        region, size = number_of(target, "region"), number_of(target, "size")
        if region < SECTOR:
            raise damaged(f"a mirror has regions of {region} bytes")
        return MirrorLog(self.volume(word_of(target, "log")), region, size)

    def _raid(self, target: Target, size: int) -> Source:
        kind, chunk = word_of(target, "raid_type"), number_of(target, "chunk")
        described = list_of(target, "devices", DEVICES_CAP)
        devices = [self._device(each) for each in described]
        each = min((number_of(leg, "size") for leg in described if isinstance(leg, dict)), default=0)
        if kind == "raid1":
            # Devices that are written late, and read only for want of others, come last.
            order = sorted(range(len(devices)), key=lambda slot: is_write_mostly(described[slot]))
            return MirrorSource(devices, size, order)
        if chunk < 512:
            raise damaged(f"an array has chunks of {chunk} bytes")
        if kind in RAID0:
            zones = _zones(len(devices), each // chunk * chunk)
            return _at_most(StripedSource(devices, zones, chunk), size)
        if kind in RAID10:
            try:
                # Its near copies; the one far copy is the first itself.
                laid_out = Raid10Layout(0x100 | number_of(target, "copies"), chunk, len(devices), each)
            except ValueError as error:
                raise damaged(str(error)) from error
            return _at_most(Raid10Source(devices, laid_out, chunk), size)
        if kind not in PARITY:
            raise RecipeError(Code.UNSUPPORTED, f"arrays of type {kind} are not read")
        level, layout = PARITY[kind]
        width = len(devices) - (2 if level == 6 else 1)
        if width < (2 if level == 6 else 1) or each // chunk * chunk * width < size:
            raise damaged(f"{len(devices)} devices of {each} bytes do not make {size} bytes of {kind}")
        return ParitySource(devices, level=level, layout=layout, chunk=chunk, size=size)

    def _device(self, described: Json) -> Device | None:
        if not isinstance(described, dict):
            return None
        trusted = described.get("trusted")
        source = self.volume(word_of(described, "volume"))
        return Device(
            source,
            number_of(described, "offset"),
            number_of(described, "size"),
            trusted if isinstance(trusted, int) else None,
        )

    def _thin(self, target: Target, size: int) -> Source:
        data, origin = self.volume(word_of(target, "data")), target.get("origin")
        outside = self.volume(origin) if isinstance(origin, str) else None
        pool = self.pool(word_of(target, "metadata"))
        return ThinSource(pool, data, number_of(target, "device"), size, outside)

    def pool(self, metadata: str) -> ThinPool:
        """The pool whose metadata is this volume; raises RecipeError where it cannot be read."""
        found = self._pools.get(metadata)
        if found is None:
            try:
                found = self._pools[metadata] = ThinPool(self.volume(metadata))
            except ReadError as error:
                raise damaged(f"the metadata of the thin pool cannot be read: {error}") from error
        return found


def is_raid10_lost(gone: Sequence[bool], copies: int) -> bool:
    """Whether an array has chunks all copies of which lie on devices that are gone."""
    count = len(gone)
    return any(
        all(gone[(chunk * copies + copy) % count] for copy in range(min(copies, count)))
        for chunk in range(count)
    )


def _striped(areas: Sequence[Device], chunk: int, size: int) -> Source:
    each = areas[0].size
    if chunk < 512 or any(area.size != each for area in areas) or each * len(areas) != size or each % chunk:
        raise damaged(f"{len(areas)} stripes of {each} bytes, {chunk} at a time, do not make {size} bytes")
    return StripedSource(areas, _zones(len(areas), each), chunk)


def _zones(count: int, each: int) -> list[Zone]:
    return [Zone(0, count * each, 0, tuple(range(count)))]


def _exactly(run: Source, size: int) -> Source:
    if run.size != size:
        raise damaged(f"a target of {size} bytes stands over {run.size}")
    return run


def _at_most(array: Source, size: int) -> Source:
    """An array without what it could hold beyond the volume's size."""
    if array.size < size:
        raise damaged(f"an array has {array.size} bytes where {size} are needed")
    return array if array.size == size else SliceSource(array, 0, size)
