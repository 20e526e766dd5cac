"""A volume group of many members, what nothing recognises, and a search: beside what bounds them."""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyimount
from tests.benchmarks.measure import in_turn
from tests.benchmarks.unpacking import content
from tests.mapping.lvm2_groups import group_text, linear, lv_text, pv_image, pv_text

MIB = 1 << 20
SEARCHED = 32 * MIB

Row = tuple[str, float, tuple[str, float], str]
"""What ``row`` prints: what, ours, the other's name and value, and the unit."""


def groups(folder: Path) -> Iterator[Row]:
    """One group of 200 physical volumes beside one of 50: time, and the size of the report."""
    paths = {count: _group(folder, count) for count in (50, 200)}
    small, large = in_turn([partial(pyimount.detect, paths[count]) for count in paths], 3)
    yield "detect() a group of 200 PVs", large, ("of 50 PVs", small), "s"
    sizes = [len(json.dumps(pyimount.detect(each).to_dict())) / 1e6 for each in paths.values()]
    yield "JSON of a group of 200 PVs", sizes[1], ("of 50 PVs", sizes[0]), "MB"


def _group(folder: Path, count: int) -> list[Path]:
    text = group_text(
        [lv_text(f"lv{number}", [linear(3, f"pv{number}", 0)]) for number in range(count)],
        [pv_text(number) for number in range(count)],
    )
    paths = [folder / f"pv{count}.{number}.img" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(pv_image(number, text))
    return paths


def nothing(folder: Path) -> Iterator[Row]:
    """What is not recognised beside what is empty."""
    noise, zeros = (folder / f"{name}.img" for name in ("noise", "zeros"))
    noise.write_bytes(os.urandom(64 * MIB))
    with zeros.open("wb") as file:
        file.truncate(64 * MIB)
    other, empty = in_turn((partial(pyimount.detect, noise), partial(pyimount.detect, zeros)), 200)
    yield "detect(), nothing recognised", other * 1000, ("zeros", empty * 1000), "ms"


def searches(folder: Path) -> Iterator[Row]:
    """A search beside one ``find`` over the same bytes."""
    words = folder / "words.img"
    words.write_bytes(content(SEARCHED))

    def find() -> None:
        words.read_bytes().find(b"no such magic is in there")

    searched, found = in_turn((partial(pyimount.detect, words, search=True), find), 5)
    yield "detect(search=True)", SEARCHED / 1e6 / searched, ("read and find", SEARCHED / 1e6 / found), "MB/s"
    aligned, found = in_turn((partial(pyimount.detect, words, search=True, align=4), find), 3)
    yield (
        "the same at every fourth byte",
        SEARCHED / 1e6 / aligned,
        ("read and find", SEARCHED / 1e6 / found),
        "MB/s",
    )
