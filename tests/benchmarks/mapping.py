"""Arrays read in sequence, beside dissect.volume's own reader, in one run."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pyimount.mapping import md
from pyimount.mapping.assembly import Member, by_members
from pyimount.parsers.volumes.md import FORMAT
from pyimount.sources.budget import NO_LIMIT, Meter
from pyimount.sources.file import FileSource
from pyimount.sources.source import Source
from pyimount.sources.view import View
from tests.benchmarks.measure import in_turn
from tests.mapping.md_members import content, members, striped, with_parity

MIB = 1 << 20
CHUNK = 64 << 10
DATA = 60 * MIB
"""Of each array: a multiple of the stripes of all."""

Row = tuple[str, float, tuple[str, float], str]
"""What ``row`` prints: what, ours, the other's name and value, and the unit."""


class Array(NamedTuple):
    """A set of member files; ``lost``: those that pyimount is to do without."""

    what: str
    areas: Callable[[bytes], Sequence[bytes]]
    facts: dict[str, int]
    lost: tuple[int, ...] = ()


def _striped(data: bytes) -> Sequence[bytes]:
    return striped(data, (len(data) // 3,) * 3, CHUNK)


RAID5 = partial(with_parity, level=5, layout=2, chunk=CHUNK), {"level": 5, "layout": 2}
RAID6 = partial(with_parity, level=6, layout=2, chunk=CHUNK), {"level": 6, "layout": 2}
ARRAYS = (
    Array("RAID 0", _striped, {"level": 0, "layout": 2, "feature_map": 0x1000, "size": 0}),
    Array("RAID 5", *RAID5),
    Array("RAID 5, one missing", *RAID5, (1,)),
    Array("RAID 6", *RAID6),
    Array("RAID 6, two missing", *RAID6, (1, 2)),
)


def arrays(folder: Path) -> Iterator[Row]:
    """MiB a second of each array, ours and dissect's.

    dissect reads no array that lacks a member, so what it does with the whole one stands beside. Asked for
    more than a chunk at once it reads and gives too much (3.18): so there are rows of both. What limits us:
    whole arrays, copying; with one member missing, that a stripe is read anew where it was read in part
    before; with two, besides, the one product in GF(2^8) that each stripe takes.
    """
    data = content(DATA)
    for array in ARRAYS:
        paths = _written(folder, members(array.areas(data), chunk=CHUNK, **array.facts))
        ours, theirs = (
            _opened([path for at, path in enumerate(paths) if at not in array.lost]),
            _by_dissect(paths),
        )
        if ours.read_at(0, DATA) != data or _sequence(theirs, CHUNK) != DATA:
            raise ValueError(f"{array.what}: what was read is not what was written")
        for step in (MIB, CHUNK):
            actions = (partial(_by_steps, ours, step), partial(_sequence, theirs, step))
            spent = in_turn(actions, 5)
            speeds = [DATA / MIB / seconds for seconds in spent]
            yield (
                f"{array.what}, {step >> 10} KiB a read",
                speeds[0],
                ("dissect.volume, whole", speeds[1]),
                "MiB/s",
            )


def _written(folder: Path, images: Sequence[bytes]) -> list[Path]:
    paths = [folder / f"member.{number}" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    return paths


def _opened(paths: Sequence[Path]) -> Source:
    there = []
    for number, path in enumerate(paths):
        source = FileSource(path, Meter(NO_LIMIT))
        identity = FORMAT.parse(View(source))
        if identity.group is None:
            raise ValueError(f"{path} is no member")
        there.append(
            Member(
                id=number, index=str(number), membership=identity.group,
                details=identity.details, source=source,
            )
        )  # fmt: skip
    (volume,) = md.assemble(there).volumes
    return md.open_mapped(volume.parameters, by_members(there, volume.members))


def _by_dissect(paths: Sequence[Path]) -> Callable[[], BinaryIO]:
    from dissect.volume.md import MD

    (configuration,) = MD([path.open("rb") for path in paths]).configurations
    (disk,) = configuration.virtual_disks
    disk.size = DATA  # it takes a member's for the array's
    return disk.open  # type: ignore[no-any-return]


def _by_steps(source: Source, step: int) -> None:
    for offset in range(0, source.size, step):
        source.read_at(offset, step)


def _sequence(opened: Callable[[], BinaryIO], step: int) -> int:
    stream, total = opened(), 0
    while piece := stream.read(step):
        total += len(piece)
    return total
