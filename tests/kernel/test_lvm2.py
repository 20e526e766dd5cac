"""Logical volumes made by LVM and read by the kernel: what it reads from them is what pyimount reads."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from pyimount.mapping import lvm2
from pyimount.mapping.assembly import Mapped, Member, by_members
from pyimount.parsers.volumes.lvm2 import parse
from pyimount.problems import Code
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource, Source
from pyimount.sources.view import View
from tests.kernel import lvm2_volumes as group
from tests.kernel.uml import kernel_in
from tests.needing import needs

PIECE = 16 << 10


def made(factory: pytest.TempPathFactory, *scripts: str) -> Path:
    needs("lvm")
    uml = kernel_in(factory.mktemp("lvm2"))
    group.make(uml, *scripts)
    return uml.share


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory, group.SIMPLE, group.RAID, group.FILL, group.WITHOUT)


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory, group.THIN, group.AFTERWARDS)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory, group.SNAPSHOTS, group.AFTERWARDS)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory, group.CACHES, group.AFTERWARDS)


class Assembled:
    """What a group's images make up."""

    def __init__(self, folder: Path, prefix: str, without: int | None = None) -> None:
        self.members = []
        for number in range(group.PVS):
            source = BytesSource((folder / f"{prefix}{number}.img").read_bytes())
            identity = parse(View(source))
            if number != without and identity.group is not None:
                member = Member(
                    id=number,
                    index=str(number + 1),
                    membership=identity.group,
                    details=identity.details,
                    source=source,
                )
                self.members.append(member)
        self.assembly = lvm2.assemble(self.members)
        self.volumes: Mapping[str, Mapped] = {volume.name or "": volume for volume in self.assembly.volumes}

    def open(self, name: str) -> Source:
        volume = self.volumes[name]
        return lvm2.open_mapped(volume.parameters, by_members(self.members, volume.members))

    def codes(self, name: str) -> list[Code]:
        return [problem.code for problem in self.volumes[name].problems]


def read_by_kernel(folder: Path, prefix: str = "kernel-") -> dict[str, bytes]:
    return {path.name.removeprefix(prefix): path.read_bytes() for path in folder.glob(f"{prefix}*")}


def reads_as(source: Source, plain: bytes) -> None:
    assert source.size == len(plain)
    assert source.read_at(0, len(plain)) == plain
    chance = random.Random(len(plain))  # noqa: S311
    for _ in range(30):
        offset, length = chance.randrange(len(plain)), chance.choice((1, 17, 512, 4097, 300_000))
        assert source.read_at(offset, length) == plain[offset : offset + length]


def test_every_segment_type(arrays: Path) -> None:
    there, plain = Assembled(arrays, "kept"), read_by_kernel(arrays)
    assert there.assembly.complete
    assert {name for name, volume in there.volumes.items() if not volume.hidden} == {*plain, "errors"}
    assert len(plain) >= 24
    for name, content in plain.items():
        reads_as(there.open(name), content)
        assert there.volumes[name].problems == ()
    with pytest.raises(ReadError, match="has no data there"):
        there.open("errors").read_at(0, 512)


@pytest.mark.parametrize("without", range(group.PVS))
def test_without_each_physical_volume(arrays: Path, without: int) -> None:
    there, plain = Assembled(arrays, "kept", without), read_by_kernel(arrays)
    lines = (arrays / "whole").read_text().splitlines()
    whole = {name for number, name in map(str.split, lines) if int(number) == without}
    # The kernel in the guest does not start the reshaped array again, and a mirror not without its first leg.
    assert len(whole) >= 16
    assert not there.assembly.complete
    assert [problem.code for problem in there.assembly.problems] == [Code.MISSING_MEMBER]
    for name in whole:
        reads_as(there.open(name), plain[name])
    for name in plain.keys() - whole:
        source, content = there.open(name), plain[name]
        had = 0
        for at in range(0, len(content), PIECE):
            try:
                assert source.read_at(at, PIECE) == content[at : at + PIECE]
                had += 1
            except ReadError as error:
                assert f"physical volume pv{without} is missing" in str(error)  # noqa: PT017
        lost = had * PIECE < len(content)
        said = [problem.message for problem in there.volumes[name].problems]
        assert lost == (f"without pv{without}: what lay there cannot be read" in said)
        assert there.volumes[name].readable == bool(had)


@pytest.mark.parametrize("state", ["kept", "live"])
def test_thin_volumes(thin: Path, state: str) -> None:
    there, plain = Assembled(thin, state), read_by_kernel(thin, "kernel-" if state == "kept" else "crash-")
    assert {"thin", "thin2", "thinsnap", "thinext"} <= plain.keys()
    for name, content in plain.items():
        reads_as(there.open(name), content)
    assert there.volumes["pool"].hidden


@pytest.mark.parametrize("state", ["kept", "live"])
def test_snapshots(snapshots: Path, state: str) -> None:
    there = Assembled(snapshots, state)
    plain = read_by_kernel(snapshots, "kernel-" if state == "kept" else "crash-")
    assert {"origin", "snap", "snapbig", "merged", "virtual", "tiny"} <= plain.keys()
    for name, content in plain.items():
        reads_as(there.open(name), content)
    assert there.volumes["merged"].details["merging"] == "undo"
    # Its store was too small for what was written.
    assert not there.volumes["full"].readable
    assert there.codes("full") == [Code.DAMAGED]


@pytest.mark.parametrize("state", ["kept", "live"])
def test_caches(caches: Path, state: str) -> None:
    there = Assembled(caches, state)
    plain = read_by_kernel(caches, "kernel-" if state == "kept" else "crash-")
    assert plain.keys() == {"cached", "cachedvol", "through", "wcached"}
    for name, content in plain.items():
        reads_as(there.open(name), content)
    behind = {
        name for name in plain if there.open(f"{name}_{'wcorig' if name == 'wcached' else 'corig'}")
        .read_at(0, len(plain[name])) != plain[name]
    }  # fmt: skip
    # What was written last is in the caches only, and yet it is read.
    assert "wcached" in behind
    assert behind & {"cached", "cachedvol"}


def test_a_leg_that_was_away_is_not_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = made(tmp_path_factory, group.STALE)
    there, plain = Assembled(folder, "after"), read_by_kernel(folder)
    assert plain.keys() == {"one", "five", "ten"}
    for name, content in plain.items():
        reads_as(there.open(name), content)
        assert there.codes(name) == [Code.STALE_MEMBER]
    assert there.codes("plain") == []
    before = Assembled(folder, "before")
    assert before.codes("one") == []
    assert before.open("one").read_at(0, PIECE) != plain["one"][:PIECE]


def test_a_physical_volume_that_left_is_stale(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = made(tmp_path_factory, group.LEFT)
    there, plain = Assembled(folder, "after"), read_by_kernel(folder)
    assert plain.keys() == {"stays", "moves", "new"}
    assert there.assembly.complete
    assert there.assembly.stale == (0,)
    for name, content in plain.items():
        reads_as(there.open(name), content)
        assert 0 not in there.volumes[name].members
