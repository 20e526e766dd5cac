"""Where boxes stand: to scale where that can be, none too narrow to be seen, nothing left out unsaid."""

import random
from itertools import pairwise
from typing import Any

import pytest

from pyimount.layers import DiskLayer, Group, Recipe, Scan, VolumeLayer
from pyimount.problems import Code, Problem
from pyimount.reports.facts import told
from pyimount.reports.picture import DEEPEST, WIDTH, Box, Picture, picture, shares, used_part

MIB = 1 << 20
RECIPE = Recipe("slice")


def disk(number: int = 0, size: int | None = 100 * MIB, **facts: Any) -> DiskLayer:
    return DiskLayer(
        id=number, index=None, paths=(f"{number}.img",), container={"type": "raw"}, size=size,
        sector_size=512, recipe=RECIPE, **facts,
    )  # fmt: skip


def volume(number: int, *parents: int, **facts: Any) -> VolumeLayer:
    return VolumeLayer(id=number, parents=parents or (0,), recipe=RECIPE, index=str(number), **facts)


def box_of(shown: Picture, number: int) -> Box:
    (found,) = [
        box for box in shown.boxes if number in [each.id for each in box.layers] and box.kind != "strip"
    ]
    return found


def in_reach(shown: Picture) -> bool:
    return all(
        box.x >= -1e-6
        and box.x + box.width <= shown.width + 1e-6
        and box.y + box.height <= shown.height + 1e-6
        for box in shown.boxes
    )


def overlap(one: Box, other: Box) -> bool:
    return (
        one.x + 1e-6 < other.x + other.width
        and other.x + 1e-6 < one.x + one.width
        and one.y + 1e-6 < other.y + other.height
        and other.y + 1e-6 < one.y + one.height
    )


def test_what_has_room_is_to_scale() -> None:
    parts = (volume(1, offset=0, size=25 * MIB), volume(2, offset=25 * MIB, size=50 * MIB))
    shown = picture(Scan((disk(),), parts))
    first, second = box_of(shown, 1), box_of(shown, 2)
    assert (first.x, first.width, second.x, second.width) == pytest.approx((0, 300, 300, 600))
    assert first.to_scale
    assert second.to_scale
    (gap,) = [box for box in shown.boxes if box.kind == "gap"]
    assert (gap.x, gap.width, gap.size) == (pytest.approx(900), pytest.approx(300), 25 * MIB)


def test_what_would_not_be_seen_is_widened_and_says_so() -> None:
    parts = (volume(1, offset=0, size=512), volume(2, offset=512, size=100 * MIB - 512))
    shown = picture(Scan((disk(),), parts))
    small, large = box_of(shown, 1), box_of(shown, 2)
    assert small.width >= 60
    assert not small.to_scale
    assert "drawn wider than to scale" in told(small)
    assert large.to_scale
    assert small.width + large.width == pytest.approx(WIDTH)


def test_what_lies_under_widened_boxes_is_not_wider_for_it() -> None:
    """A hybrid disc: a file system over all of it, and small partitions beside."""
    parts = (volume(1, offset=0, size=100 * MIB), volume(2, offset=512, size=512))
    shown = picture(Scan((disk(),), parts))
    assert box_of(shown, 1).to_scale
    assert not box_of(shown, 2).to_scale


@pytest.mark.parametrize("seed", range(20))
def test_shares_add_up_and_none_is_below_its_need(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    count = dice.randrange(1, 40)
    sizes = [dice.choice((0, 1, dice.randrange(1, 1 << 40))) for _ in range(count)]
    needs = [dice.uniform(1, 20) for _ in range(count)]
    dealt = shares(sizes, needs, 1000.0)
    assert sum(width for width, _ in dealt) == pytest.approx(1000)
    assert all(width >= need - 1e-6 for (width, _), need in zip(dealt, needs, strict=True))
    scales = [width / size for (width, true), size in zip(dealt, sizes, strict=True) if true and size]
    assert scales == pytest.approx(scales[:1] * len(scales))


def test_five_hundred_partitions_are_shown_or_told_of() -> None:
    parts = [volume(n, offset=n * MIB, size=MIB) for n in range(1, 501)]
    parts[400] = parts[400].replaced(problems=(Problem(Code.DAMAGED, "torn"),))
    shown = picture(Scan((disk(size=600 * MIB, pttype="gpt"),), tuple(parts)))
    drawn = [layer.id for box in shown.boxes for layer in box.layers if box.kind not in ("disk", "strip")]
    assert sorted(drawn) == list(range(1, 501))  # each is in one box
    assert len(shown.boxes) < 200
    assert min(box.width for box in shown.boxes) >= 3
    assert in_reach(shown)
    assert len(box_of(shown, 401).layers) == 1  # what is unwell is not hidden among neighbours
    several = next(box for box in shown.boxes if box.kind == "several")
    assert "the table has each of them" in told(several)


def test_thirty_levels_stand_beneath_each_other() -> None:
    parts = [volume(n, n - 1, offset=MIB * (n > 1), size=(100 - n) * MIB) for n in range(1, 31)]
    shown = picture(Scan((disk(),), tuple(parts)))
    boxes = [box_of(shown, n) for n in range(31)]
    assert all(below.y >= above.y + above.height for above, below in pairwise(boxes))
    assert all(box.width > 100 for box in boxes)
    assert in_reach(shown)


def test_what_lies_too_deep_is_said() -> None:
    parts = [volume(n, n - 1, offset=0, size=MIB) for n in range(1, 2000)]
    shown = picture(Scan((disk(),), tuple(parts)))
    last = box_of(shown, DEEPEST)
    assert last.deeper
    assert "holds more, which the table has" in told(last)


def test_what_lies_over_one_another_has_rows_of_its_own() -> None:
    parts = (
        volume(1, flag="meta", offset=10 * MIB, size=60 * MIB),
        volume(2, offset=20 * MIB, size=20 * MIB),
        volume(3, offset=15 * MIB, size=80 * MIB),
        volume(4, 3, offset=0, size=80 * MIB),
    )
    shown = picture(Scan((disk(),), parts))
    boxes = [box_of(shown, n) for n in range(1, 5)]
    assert not [1 for one in boxes for other in boxes if one is not other and overlap(one, other)]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_a_table_says_boxes_stay_within_the_picture(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    sizes = (None, 0, 1, 512, MIB, 99 * MIB, 1 << 62)
    parts = tuple(
        volume(
            n,
            dice.randrange(n),
            offset=dice.choice((*sizes, dice.randrange(100 * MIB))),
            size=dice.choice((*sizes, dice.randrange(100 * MIB))),
            flag=dice.choice(("alloc", "meta", "unalloc")),
            free=dice.choice((None, 0, 1 << 62)),
        )
        for n in range(1, 80)
    )
    shown = picture(Scan((disk(size=dice.choice((None, 100 * MIB))),), parts))
    assert in_reach(shown)
    drawn = [layer.id for box in shown.boxes if box.kind != "strip" for layer in box.layers]
    assert len(drawn) == len(set(drawn))
    assert all(box.used is None or 0 <= box.used <= 1 for box in shown.boxes)


def test_lines_join_the_members_of_an_array_over_several_disks() -> None:
    group = Group(
        type="md", uuid="u", name=None, role=None, members=3, present=3, complete=True, found=("3", "4", "5")
    )
    parts = [volume(n, n - 3, offset=0, size=MIB, group=group) for n in (3, 4, 5)]
    shown = picture(Scan((disk(0), disk(1), disk(2)), (*parts, volume(6, 3, 4, 5, size=2 * MIB))))
    joined = [(shown.boxes[a].layers[0].id, shown.boxes[b].layers[0].id) for a, b, _ in shown.lines]
    assert joined == [(3, 4), (4, 5)]


def test_logical_volumes_stand_side_by_side_and_say_so() -> None:
    parts = (volume(1, offset=0, size=100 * MIB), volume(2, 1, size=30 * MIB), volume(3, 1, size=10 * MIB))
    shown = picture(Scan((disk(),), parts))
    first, second = box_of(shown, 2), box_of(shown, 3)
    assert (first.width, second.width) == pytest.approx((900, 300))
    assert not first.placed
    assert any("not where its bytes lie" in line for line in told(second))


def test_used_space_is_what_the_file_system_bears_out() -> None:
    assert used_part(volume(1, fs_size=100, used=25)) == 0.25
    assert used_part(volume(1, fs_size=100, free=25)) == 0.75
    assert used_part(volume(1, size=200, fs_size=100, free=25)) == 0.375  # of the box, which is the volume
    assert used_part(volume(1, size=100, used=101)) is None
    assert used_part(volume(1, size=100)) is None
