"""Logical volumes read in sequence: a linear one beside the file itself, a striped one beside dissect."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fixtures.recipes.lvm2 import MDA, MDA_SIZE, PV0, PV1, area, group_text, label
from pyimount.mapping import lvm2
from pyimount.mapping.assembly import Member, by_members
from pyimount.parsers.volumes.lvm2 import FORMAT
from pyimount.sources.budget import NO_LIMIT, Meter
from pyimount.sources.file import FileSource
from pyimount.sources.source import Source
from pyimount.sources.view import View
from tests.benchmarks.measure import in_turn

MIB = 1 << 20
EXTENT = 512 << 10
EXTENTS = 192
"""Of each volume: 96 MiB."""
DATA = EXTENTS * EXTENT
START = MIB
PV_SIZE = START + 2 * DATA

Row = tuple[str, float, tuple[str, float], str]
"""What ``row`` prints: what, ours, the other's name and value, and the unit."""


def volumes(folder: Path) -> Iterator[Row]:
    """MiB a second of each volume, 1 MiB a read, ours and the other's.

    dissect takes the stripe size of a striped volume for a number of extents (3.18): it reads wrong bytes, in
    long runs. So its RAID 0, over the same files, stands beside too. What limits us: of a linear volume, the
    file; of a striped one, copying its 64 KiB pieces.
    """
    paths = [folder / f"pv{number}.img" for number in range(2)]
    for path, uuid in zip(paths, (PV0, PV1), strict=True):
        _write(path, uuid, _text())
    members = list(_members(paths))
    ours = {volume.name: volume for volume in lvm2.assemble(members).volumes}
    for name, other, beside in (
        ("root", "the file", partial(_file, paths[0])),
        ("root", "dissect.volume", partial(_sequence, _by_dissect(paths, "root"))),
        ("striped", "dissect.volume's RAID 0", partial(_sequence, _raid0(paths))),
        ("striped", "dissect.volume, not striped", partial(_sequence, _by_dissect(paths, "striped"))),
    ):
        source = lvm2.open_mapped(ours[name].parameters, by_members(members, ours[name].members))
        if other.endswith("RAID 0") and beside.args[0]().read(DATA) != source.read_at(0, DATA):
            raise ValueError("the striped volume and the RAID 0 differ")
        spent = in_turn((partial(_by_steps, source), beside), 5)
        mine, its = (DATA / MIB / seconds for seconds in spent)
        what = "striped" if name == "striped" else "linear"
        yield f"LV, {what}, 1 MiB a read", mine, (other, its), "MiB/s"


def _text() -> bytes:
    """The metadata of the fixture, with larger volumes: ``root``, and ``striped`` over both."""
    text = group_text(1)
    for old, new in (
        (b'"MISSING"', b""),
        (b"pe_count = 6", b"pe_count = %d" % (2 * EXTENTS)),
        (b"extent_count = 3", b"extent_count = %d" % EXTENTS),
        (b"extent_count = 2", b"extent_count = %d" % EXTENTS),
        (b'"pv0", 3', b'"pv0", %d' % EXTENTS),
    ):
        text = text.replace(old, new)
    return text


def _write(path: Path, uuid: str, text: bytes) -> None:
    with path.open("wb") as file:
        file.truncate(PV_SIZE)
        file.seek(512)
        file.write(label(uuid=uuid, size=PV_SIZE))
        file.seek(MDA)
        file.write(area(text, size=MDA_SIZE))
        file.seek(START)
        for number in range(2 * DATA // MIB):
            file.write(number.to_bytes(2, "big") * (MIB // 2))


def _members(paths: Sequence[Path]) -> Iterator[Member]:
    for number, path in enumerate(paths):
        source = FileSource(path, Meter(NO_LIMIT))
        identity = FORMAT.parse(View(source))
        if identity.group is None:
            raise ValueError(f"{path} is no member")
        yield Member(
            id=number, index=str(number), membership=identity.group, details=identity.details, source=source
        )


def _by_dissect(paths: Sequence[Path], name: str) -> Callable[[], BinaryIO]:
    from dissect.volume.lvm import LVM2

    volume = LVM2([path.open("rb") for path in paths]).volume_group.logical_volumes[name]
    return volume.open  # type: ignore[no-any-return]


def _raid0(paths: Sequence[Path]) -> Callable[[], BinaryIO]:
    """The same bytes as the striped volume's, in the same places."""
    from dissect.volume.raid.raid import PhysicalDisk, VirtualDisk

    places = (START + DATA, START)
    disks = {
        number: (0, PhysicalDisk(path.open("rb"), place, DATA // 2))
        for number, (path, place) in enumerate(zip(paths, places, strict=True))
    }
    return VirtualDisk("striped", "", DATA, 0, 0, 64 << 10, len(disks), disks).open  # type: ignore[no-any-return]


def _by_steps(source: Source) -> None:
    for offset in range(0, source.size, MIB):
        source.read_at(offset, MIB)


def _file(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        file.seek(START)
        for _ in range(DATA // MIB):
            file.read(MIB)


def _sequence(opened: Callable[[], BinaryIO]) -> None:
    stream = opened()
    while stream.read(MIB):
        pass
