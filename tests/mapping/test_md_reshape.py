"""md: arrays in the middle of a reshape, laid out by hand in the old layout and as far as it came in the new.

``tests/kernel/test_md.py`` has the same of arrays that the kernel was reshaping.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from pyimount.mapping import md
from pyimount.mapping.assembly import Mapped
from pyimount.mapping.kinds import disagreement
from pyimount.sources.source import Source
from tests.kept import put
from tests.mapping.md_members import CHUNK, DATA_OFFSET, content, copied, members, with_parity
from tests.mapping.test_md import codes, told
from tests.mapping.volume_members import opened

MOVED = 2 * CHUNK
"""How far the new layout's data begins from where the old one's does."""
WHOLE = content(60 * CHUNK)


def halfway(
    old: Sequence[bytes], new: Sequence[bytes], rows: int, *, backwards: bool = False, **facts: Any
) -> list[bytes]:
    """Members of which so many rows of ``new`` are moved: the first, or when ``backwards`` the last."""
    count = max(len(old), len(new))
    size = len(old[0])
    areas = [*old, *[bytes(size)] * (count - len(old))]
    offset = MOVED if backwards else -MOVED
    made = members(
        areas,
        feature_map=0x44 | (0x20 if backwards and len(old) == len(new) else 0),
        new_offset=offset // 512,
        raid_disks=len(new),
        delta_disks=len(new) - len(old),
        new_level=facts["level"],
        **facts,
    )
    images = []
    for number, image in enumerate(made):
        changed = bytearray(image + bytes(MOVED))
        for row in range(rows):
            at = (len(new[0]) // CHUNK - 1 - row if backwards else row) * CHUNK
            if number < len(new):
                put(changed, DATA_OFFSET + offset + at, new[number][at : at + CHUNK])
        images.append(bytes(changed))
    return images


def read(images: Sequence[bytes], lost: Sequence[int] = ()) -> tuple[Mapped, bytes]:
    there = told([b"" if number in lost else image for number, image in enumerate(images)])
    (volume,) = md.assemble(there).volumes
    assert volume.readable, volume.problems
    source: Source = opened(md, volume, there)
    assert disagreement(source) is None
    return volume, source.read_at(0, source.size)


@pytest.mark.parametrize("rows", [0, 1, 5, 16])
def test_mirrors_that_get_another_member(rows: int) -> None:
    # 4 members have 30 rows of 2 chunks, 5 members 24 of 2.5.
    old, new = copied(WHOLE, 4, 2, 1), copied(WHOLE, 5, 2, 1)
    position = rows * 5 // 2 * CHUNK
    images = halfway(
        old, new, rows, level=10, layout=0x102, new_layout=0x102, new_chunk=2,
        reshape_position=position // 512,
    )  # fmt: skip
    volume, found = read(images)
    assert (codes(md.assemble(told(images))), volume.size) == ([], len(WHOLE))
    assert found == WHOLE
    for lost in range(5):
        assert read(images, [lost])[1] == WHOLE


@pytest.mark.parametrize(("new_layout", "rows"), [(0, 0), (0, 3), (3, 19), (1, 20)])
def test_parity_that_is_laid_out_anew(new_layout: int, rows: int) -> None:
    old, new = with_parity(WHOLE, 5, 2), with_parity(WHOLE, 5, new_layout)
    images = halfway(
        old, new, rows, level=5, layout=2, new_layout=new_layout, new_chunk=2,
        reshape_position=rows * 3 * CHUNK // 512,
    )  # fmt: skip
    assert read(images)[1] == WHOLE
    for lost in range(4):
        assert read(images, [lost])[1] == WHOLE


def test_one_that_goes_backwards() -> None:
    old, new = with_parity(WHOLE, 5, 2), with_parity(WHOLE, 5, 0)
    images = halfway(
        old, new, 7, backwards=True, level=5, layout=2, new_layout=0, new_chunk=2,
        reshape_position=(20 - 7) * 3 * CHUNK // 512,
    )  # fmt: skip
    assert read(images)[1] == WHOLE


def test_one_in_the_same_place_says_what_may_be_half_moved() -> None:
    areas = with_parity(WHOLE, 5, 2)
    images = members(
        areas, level=5, layout=2, new_layout=2, new_level=5, new_chunk=2, feature_map=4, reshape_position=64
    )  # fmt: skip
    volume, found = read(images)
    assert found == WHOLE
    assert [problem.code.value for problem in volume.problems] == ["ambiguous"]
    assert f"byte {64 * 512}" in volume.problems[0].message
