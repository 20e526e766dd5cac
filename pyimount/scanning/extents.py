"""The extents of a partition table: what is wrong with their places, and what they leave over."""

from collections.abc import Iterator

from pyimount.formats import Extent, Partition, Table
from pyimount.problems import Code, Problem


def partition_problems(table: Table, size: int) -> Iterator[tuple[Partition, tuple[Problem, ...]]]:
    """Every partition of ``table`` with what is wrong about its place in ``size`` bytes."""
    overlaps: dict[int, Problem] = {}
    last: Partition | None = None
    for partition in sorted(table.partitions, key=lambda entry: (entry.offset, entry.size)):
        if partition.meta or partition.size == 0:
            continue
        if last is not None and partition.offset < last.offset + last.size:
            message = (
                f"partitions {last.number} and {partition.number} overlap from byte {partition.offset} on"
            )
            overlaps[partition.slot] = Problem(Code.OVERLAP, message)
        if last is None or partition.offset + partition.size > last.offset + last.size:
            last = partition
    for partition in table.partitions:
        problems = []
        if partition.slot in overlaps:
            problems.append(overlaps[partition.slot])
        if partition.offset + partition.size > size:
            end = partition.offset + partition.size
            message = f"ends at byte {end}, {end - size} bytes after the end of what holds it"
            problems.append(Problem(Code.OUTSIDE_PARENT, message))
        yield partition, tuple(problems)


def rest_of(table: Table, size: int) -> list[tuple[Extent, str]]:
    """What no partition takes of ``size`` bytes, in order: the table's own extents and the gaps.

    The flag beside each is The Sleuth Kit's: ``meta`` or ``unalloc``.
    """
    taken = [(entry.offset, entry.offset + entry.size) for entry in table.partitions if not entry.meta]
    taken += [(entry.offset, entry.offset + entry.size) for entry in table.meta]
    found = [(extent, "meta") for extent in table.meta]
    end = 0
    for start, stop in sorted(taken):
        if start > end:
            found.append((Extent(offset=end, size=min(start, size) - end, name=""), "unalloc"))
        end = max(end, stop)
        if end >= size:
            break
    if end < size:
        found.append((Extent(offset=end, size=size - end, name=""), "unalloc"))
    return sorted(found, key=lambda entry: entry[0].offset)
