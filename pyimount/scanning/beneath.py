"""What a member's own bytes show, where the array that it says it belongs to cannot be had.

An array's superblock outlives the array: the disk is partitioned or formatted anew, and at its end it still
says that it is a member. What stands whole on the one disk is then shown. A piece of a striped array never
is: it would be a table or a file system in shreds.
"""

from collections.abc import Iterable, Iterator, Mapping

from pyimount.formats import Table
from pyimount.layers import VolumeLayer
from pyimount.problems import Code, Problem
from pyimount.recognition.probing import Opaque, Probe, probe_beneath
from pyimount.records import Record
from pyimount.scanning.tasks import Task, run_of
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import View

_SAMPLES = 48
"""Reads by which an array is tried: more than enough to meet every disk of it."""
_GOLDEN = 0.6180339887498949
_LOOKED_AT = 16
"""Partitions of which it is asked whether something begins there."""

_EXPLAIN = frozenset(
    {
        Code.LOCKED,
        Code.WRONG_KEY,
        Code.UNSUPPORTED,
        Code.MISSING_MEMBER,
        Code.STALE_MEMBER,
        Code.BUDGET,
        Code.READ_ERROR,
        Code.DAMAGED,
    }
)
"""Problems that say why a layer shows nothing."""


class Holder(Record):
    """A layer that holds others: what to say where it shows none, its bytes, and how deep it lies."""

    opaque: Opaque
    source: Source
    depth: int


def is_whole(source: Source) -> bool:
    """Whether an array's bytes can be read, going by samples all over it.

    Raises BudgetError as the source does.
    """
    if source.size == 0:
        return False
    try:
        for number in range(_SAMPLES):
            # Not at even distances: those may all lie on one disk of the array.
            source.read_at(int(number * _GOLDEN % 1 * source.size) // 512 * 512, 512)
    except ReadError:
        return False
    return True


def plain_reading(source: Source, sector_size: int | None = None) -> Probe | None:
    """What stands whole in a member's own bytes; None where nothing does. Raises BudgetError."""
    view = View(source, sector_size)
    found = probe_beneath(view)
    table = found.table if found.table is not None and _is_sound(found.table, view) else None
    identity = found.identity
    if identity is not None and (identity.fs_size is None or not 0 < identity.fs_size <= source.size):
        identity = None
    if table is None and identity is None:
        return None
    message = (
        "read from the bytes of this one member: the array that its superblock speaks of cannot be had, "
        "and this stands whole here, so the superblock may be left over"
    )
    problem = Problem(Code.AMBIGUOUS, message)
    return found.replaced(
        table=table,
        identity=identity,
        usage=found.usage if identity else None,
        problems=(*found.problems, problem),
        opaque=found.opaque if identity else None,
    )


def _is_sound(table: Table, view: View) -> bool:
    """Whether a table's partitions lie on this disk, and most of them begin with something there."""
    # What it is made of brings construct, which most scans of what is not recognised do without.
    from pyimount.parsers.partitions.sector_sizes import begins

    data = [entry for entry in table.partitions if not entry.meta and entry.size]
    if not data or any(entry.offset + entry.size > view.size for entry in table.partitions):
        return False
    asked = data[:_LOOKED_AT]
    return 2 * sum(begins(view, entry.offset) for entry in asked) >= len(asked)


def with_reasons(volumes: Iterable[VolumeLayer], holders: Mapping[int, Holder]) -> Iterator[VolumeLayer]:
    """The volumes; each that holds others and shows none says so."""
    known = [*volumes]
    shown = {parent for volume in known for parent in volume.parents}
    for volume in known:
        holder = holders.get(volume.id)
        if holder is None or _shows(volume, shown) or any(one.code in _EXPLAIN for one in volume.problems):
            yield volume
        else:
            problem = Problem(Code.UNSUPPORTED, holder.opaque.reason)
            yield volume.replaced(problems=(*volume.problems, problem))


def _shows(volume: VolumeLayer, parents: set[int]) -> bool:
    """Whether something is shown of what a layer holds, under it or where its group stands."""
    grouped = volume.group is not None and volume.group.volume is not None
    return volume.id in parents or grouped or volume.locked is True


def beneath(volume: VolumeLayer, number: int, holder: Holder) -> Task | None:
    """The task for what stands whole in the bytes of an array's member; None where nothing does.

    It is the volume of this number inside the member. Raises BudgetError.
    """
    found = plain_reading(holder.source) if holder.opaque.array else None
    if found is None:
        return None
    place = run_of(volume.id, f"{volume.index}.{number}", 0, holder.source.size, base=volume.disk_offset)
    return Task(place=place, source=holder.source, depth=holder.depth + 1, found=found)
