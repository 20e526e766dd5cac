"""The search of one disk for what nothing points to, as the scan makes it: what it finds becomes tasks."""

from collections.abc import Iterable, Mapping
from typing import Any

from pyimount.formats import Details
from pyimount.layers import VolumeLayer
from pyimount.problems import Code, Problem
from pyimount.recognition.probing import Probe
from pyimount.recognition.searching import Extents, Search
from pyimount.scanning.hints import Hints, Searching
from pyimount.scanning.tasks import Task, run_of
from pyimount.sources.budget import Meter
from pyimount.sources.errors import BudgetError
from pyimount.sources.source import SliceSource, Source

SECTOR_SIZE = 512
"""Bytes in a sector where nothing says otherwise."""

_SLOWEST = 16
"""More than a byte of any compression counts when it is unpacked."""


def search_disk(  # noqa: PLR0917
    disk: Mapping[str, Any],
    source: Source,
    own: Iterable[VolumeLayer],
    hints: Hints,
    searching: Searching,
    meter: Meter,
) -> tuple[list[Task], list[Problem]]:
    """Look for what nothing points to; what was found, and what is wrong with the search.

    ``disk``: the ``id`` and ``index`` of its layer. ``own``: the volumes that stand directly on it.
    """
    own = list(own)
    most = meter.budget.layers
    if not searching.bounded:
        meter.extend(*_cost_of_search(source.size))
    meter.extend(layers=most)
    problems: list[Problem] = []
    base = hints.offset or 0
    size = source.size - base if hints.size is None else hints.size
    within = SliceSource(source, min(base, source.size), max(0, size))
    known, running = _known(own, base)
    search = Search(within, known, running, searching.progress, searching.align)
    try:
        if not search.run(most):
            problems.append(Problem(Code.BUDGET, f"the search ended with {most} volumes found"))
    except BudgetError as error:
        problems.append(Problem(Code.BUDGET, f"the search stopped: {error}"))
    if search.unreadable:
        message = f"{search.unreadable} bytes could not be read in the search"
        problems.append(Problem(Code.READ_ERROR, message))
    prefix = "" if disk["index"] is None else f"{disk['index']}."
    number = max((int(volume.index.removeprefix(prefix)) for volume in own), default=0)
    tasks = []
    for found in search.found():
        number += 1
        place = run_of(disk["id"], f"{prefix}{number}", base + found.offset, found.size, base=0)
        inner = SliceSource(within, found.offset, found.size)
        tasks.append(Task(place=place, source=inner, found=_noted(found.probe)))
    return tasks, problems


def _known(own: Iterable[VolumeLayer], base: int) -> tuple[Extents, str | None]:
    """What is taken already, and the type of a volume that is known to begin and not where it ends."""
    known, running = Extents(), None
    for volume in own:
        if volume.offset is not None and (taken := _taken(volume)):
            known.add(volume.offset - base, taken)
            running = volume.type if taken == SECTOR_SIZE else running
    return known, running


def _taken(volume: VolumeLayer) -> int:
    """How many bytes from its start a volume takes for certain, so that nothing else is looked for there."""
    if volume.flag == "meta":
        # An extended partition holds others, with gaps between them.
        return 0 if volume.slot is not None else volume.size or 0
    if volume.type is None and volume.pttype is None:
        return 0
    if volume.fs_size is not None:
        return volume.fs_size
    return SECTOR_SIZE if volume.slot is None else volume.size or 0


def _noted(found: Probe) -> Probe:
    """The same, with a note in the details that it was found by a search."""
    note: Details = {"found_by": "search"}
    identity, table = found.identity, found.table
    return found.replaced(
        identity=identity.replaced(details={**identity.details, **note}) if identity else None,
        table=table.replaced(details={**table.details, **note}) if table else None,
    )


def _cost_of_search(size: int) -> tuple[int, int]:
    """What a search through so many bytes may read and unpack: each byte is read, and some twice."""
    return 2 * size + (64 << 20), 2 * size * _SLOWEST + (1 << 30)
