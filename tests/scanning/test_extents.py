"""Gaps, overlaps, and what reaches beyond the disk."""

from hypothesis import given
from hypothesis import strategies as st

from pyimount.formats import Extent, Partition, Table
from pyimount.problems import Code
from pyimount.scanning.extents import partition_problems, rest_of

SIZE = 1000


def table(*extents: tuple[int, int], meta: tuple[tuple[int, int], ...] = ()) -> Table:
    return Table(
        pttype="dos",
        sector_size=512,
        partitions=tuple(
            Partition(number=slot + 1, slot=slot, offset=offset, size=size)
            for slot, (offset, size) in enumerate(extents)
        ),
        meta=tuple(Extent(offset=offset, size=size, name="table") for offset, size in meta),
    )


def rest(found: Table) -> list[tuple[int, int, str]]:
    return [(extent.offset, extent.size, flag) for extent, flag in rest_of(found, SIZE)]


def test_gaps_before_between_and_after() -> None:
    found = rest(table((100, 200), (400, 100), meta=((0, 1),)))
    assert found == [(0, 1, "meta"), (1, 99, "unalloc"), (300, 100, "unalloc"), (500, 500, "unalloc")]


def test_no_gaps_in_a_full_disk_or_beyond_it() -> None:
    assert rest(table((0, 1000))) == []
    assert rest(table((0, 5000))) == []
    assert rest(table((2000, 10))) == [(0, 1000, "unalloc")]


def test_an_extended_partition_takes_nothing_itself() -> None:
    extended = Partition(number=1, slot=0, offset=100, size=800, meta=True)
    logical = Partition(number=5, slot=4, offset=200, size=300)
    found = Table(pttype="dos", sector_size=512, partitions=(extended, logical))
    assert rest(found) == [(0, 200, "unalloc"), (500, 500, "unalloc")]
    assert [problems for _, problems in partition_problems(found, SIZE)] == [(), ()]


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 1500)), max_size=8))
def test_gaps_and_partitions_cover_the_disk(extents: list[tuple[int, int]]) -> None:
    covered = [0] * SIZE
    for offset, size in extents:
        covered[offset : offset + size] = [1] * len(covered[offset : offset + size])
    for offset, size, _ in rest(table(*extents)):
        assert size > 0
        assert covered[offset : offset + size] == [0] * size
        covered[offset : offset + size] = [1] * size
    assert covered == [1] * SIZE


def test_overlap_and_end_are_named() -> None:
    found = {
        partition.number: [problem.code for problem in problems]
        for partition, problems in partition_problems(table((0, 500), (400, 200), (900, 200)), SIZE)
    }
    assert found == {1: [], 2: [Code.OVERLAP], 3: [Code.OUTSIDE_PARENT]}


def test_an_overlap_with_any_earlier_one_is_found() -> None:
    problems = dict(partition_problems(table((0, 900), (100, 10), (500, 10)), SIZE))
    assert [len(found) for found in problems.values()] == [0, 1, 1]
