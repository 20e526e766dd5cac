"""Which reading counts, where several hold: the rule, held without any bytes."""

from typing import Any

import pytest

from pyimount.formats import Format, Identity, Partition, Precedence, Table, TableFormat, TableRule, Usage
from pyimount.problems import Code, Problem
from pyimount.recognition.probing import Probe, Reading, TableReading, choose

SECTOR = 512


def reading(name: str, *, precedence: Precedence = Precedence.FILESYSTEM, tolerates: tuple[str, ...] = (),
            rule: TableRule = TableRule.AMBIGUOUS, **facts: Any) -> Reading:  # fmt: skip
    identity = Identity(type=name, **facts)
    declared = Format(
        name=name, title=name.upper(), specification="", usage=Usage.FILESYSTEM, types=(name,),
        parse=lambda _: identity, precedence=precedence, tolerates=frozenset(tolerates), with_table=rule,
    )  # fmt: skip
    return Reading(declared, identity)


def table(name: str, *extents: tuple[int, int], over: tuple[str, ...] = ()) -> TableReading:
    partitions = tuple(
        Partition(number=slot + 1, slot=slot, offset=start, size=size)
        for slot, (start, size) in enumerate(extents)
    )
    found = Table(pttype=name, sector_size=SECTOR, partitions=partitions)
    declared = TableFormat(
        name=name, title=name.upper(), specification="", parse=lambda _: found, signatures=(), types=(name,),
        over=frozenset(over),
    )  # fmt: skip
    return TableReading(declared, found)


def codes(found: Probe) -> list[Code]:
    return [problem.code for problem in found.problems]


def test_nothing_is_nothing() -> None:
    assert choose([], []) == Probe()


@pytest.mark.parametrize("turned", [False, True])
def test_a_member_hides_the_file_system_beneath_it(turned: bool) -> None:
    readings = [reading("ext4", checked=True), reading("raid", precedence=Precedence.RAID, offset=4096)]
    found = choose(readings[::-1] if turned else readings, [])
    assert found.identity is not None
    assert found.identity.type == "raid"
    assert [(other.type, other.why_not) for other in found.candidates] == [
        ("ext4", "RAID takes the bytes beneath it")
    ]
    assert codes(found) == []


@pytest.mark.parametrize("turned", [False, True])
def test_a_checksum_decides_and_says_so(turned: bool) -> None:
    readings = [reading("a"), reading("b", checked=True)]
    found = choose(readings[::-1] if turned else readings, [])
    assert found.identity is not None
    assert found.identity.type == "b"
    assert codes(found) == [Code.AMBIGUOUS]
    assert "checksum" in found.candidates[0].why_not


def test_a_whole_one_wins_over_a_damaged_one_and_else_the_name_decides() -> None:
    hurt = (Problem(Code.DAMAGED, ""),)
    assert choose([reading("a", problems=hurt), reading("b")], []).identity == reading("b").identity
    assert choose([reading("b"), reading("a")], []).identity == reading("a").identity


def test_what_stands_together_by_design_is_not_ambiguous() -> None:
    found = choose([reading("udf", tolerates=("iso9660",), checked=True), reading("iso9660")], [])
    assert found.identity is not None
    assert found.identity.type == "udf"
    assert [other.type for other in found.candidates] == ["iso9660"]
    assert codes(found) == []


def test_gpt_stands_over_its_protective_mbr() -> None:
    found = choose([], [table("dos", (512, 512)), table("gpt", (1024, 512), over=("dos",))])
    assert found.table is not None
    assert found.table.pttype == "gpt"
    assert [other.type for other in found.candidates] == ["dos"]
    assert codes(found) == []


def test_two_unrelated_tables_are_ambiguous() -> None:
    found = choose([], [table("dos", (512, 512)), table("sun", (1024, 512))])
    assert codes(found) == [Code.AMBIGUOUS]


def test_a_boot_sector_is_no_table() -> None:
    found = choose([reading("vfat", rule=TableRule.HIDES)], [table("dos", (512, 512))])
    assert found.table is None
    assert found.identity is not None
    assert [other.type for other in found.candidates] == ["dos"]


def test_a_hybrid_shows_both() -> None:
    found = choose([reading("iso9660", rule=TableRule.SHARES)], [table("dos", (0, 4096))])
    assert found.table is not None
    assert found.identity is not None
    assert codes(found) == []


def test_a_superblock_within_a_partition_is_the_partitions() -> None:
    found = choose([reading("ufs", offset=8192)], [table("bsd", (0, 1 << 20))])
    assert found.table is not None
    assert found.identity is None
    assert codes(found) == []


def test_a_left_over_is_shown_beside_the_table() -> None:
    found = choose([reading("ext4", offset=1024)], [table("dos", (1 << 20, 1 << 20))])
    assert found.table is not None
    assert found.identity is not None
    assert codes(found) == [Code.AMBIGUOUS]


@pytest.mark.parametrize(
    ("offset", "has_table", "has_identity", "ambiguous"),
    [
        (3 << 20, False, True, False),  # behind all partitions: the array's superblock, the array's table
        ((2 << 20) - 4096, True, False, False),  # at the end of the last partition: that one's
        (4096, True, True, True),  # before the first: one of both is left over
    ],
)
def test_a_superblock_at_the_end(offset: int, has_table: bool, has_identity: bool, ambiguous: bool) -> None:
    member = reading("raid", precedence=Precedence.RAID, rule=TableRule.HIDES_WHEN_BEHIND, offset=offset)
    found = choose([member], [table("dos", (1 << 20, 1 << 20))])
    assert (found.table is not None, found.identity is not None) == (has_table, has_identity)
    assert (codes(found) == [Code.AMBIGUOUS]) == ambiguous
