"""What is mutated: the committed images, and what only a group or a key makes readable."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fixtures.workshop import fixtures


@dataclass(frozen=True)
class Base:
    """An image: ``make`` puts its files into a folder; ``key`` unlocks it; ``kept``: it is committed."""

    name: str
    make: Callable[[Path], list[Path]]
    key: str | None = None
    kept: bool = False

    @property
    def keys(self) -> dict[str | int, str] | None:
        """Its key as ``detect`` takes it."""
        return {"*": self.key} if self.key else None


def committed() -> Iterator[Base]:
    """The committed images, with all of their files."""
    keys = {"corestorage": "p:heslo123"}
    for fixture in fixtures():

        def make(folder: Path, fixture=fixture) -> list[Path]:  # type: ignore[no-untyped-def]
            fixture.unpack(folder)
            return [folder / name for name in fixture.files]

        yield Base(fixture.name, make, keys.get(fixture.name), kept=True)


def _files(build: Callable[[], list[bytes]]) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        paths = []
        for number, data in enumerate(build()):
            paths.append(folder / f"disk{number}.img")
            paths[-1].write_bytes(data)
        return paths

    return make


def built() -> Iterator[Base]:
    """Groups whose members are all there, shadow copies, and volumes whose key is known."""
    from tests.mapping import bitlocker_volume, imsm_disks, ldm_disks, luks_volumes, md_members, vss_volume

    def arrays(level: int, metadata: str) -> Callable[[], list[bytes]]:
        data = md_members.content(3 * 16 * md_members.CHUNK)
        layout = 2 if level > 4 else 0
        return lambda: md_members.members(
            md_members.with_parity(data, level, layout), metadata, level=level, layout=layout
        )

    def shadows() -> list[bytes]:
        image = vss_volume.build([vss_volume.StoreSpec(), vss_volume.StoreSpec()])
        image[:512] = bitlocker_volume.ntfs()
        return [bytes(image)]

    def imsm(level: str, disks: int, columns: int) -> Callable[[], list[bytes]]:
        data = md_members.content(columns * 4 * imsm_disks.CHUNK)
        volume = imsm_disks.Volume(level, data, tuple(range(disks)))
        return lambda: [bytes(disk) for disk in imsm_disks.disks([volume])]

    def bitlocker(kind: str) -> Callable[[], list[bytes]]:
        return lambda: [bitlocker_volume.build(kind=kind)[0]]

    def ldm(make: Callable[[], tuple[list[bytearray], bytes, int]]) -> Callable[[], list[bytes]]:
        return lambda: [bytes(disk) for disk in make()[0]]

    passphrase = f"p:{luks_volumes.PASSPHRASE.decode()}"
    yield Base("built-luks1", _files(lambda: [bytes(luks_volumes.luks1())]), passphrase)
    yield Base("built-luks2", _files(lambda: [bytes(luks_volumes.luks2())]), passphrase)
    for kind in ("windows-7", "to-go", "vista"):
        yield Base(f"built-bitlocker-{kind}", _files(bitlocker(kind)))
    yield Base("built-vss", _files(shadows))
    for kind, make in ldm_disks.KINDS.items():
        yield Base(f"built-ldm-{kind}", _files(ldm(make)))
    for level, metadata in ((4, "1.1"), (5, "1.2"), (6, "1.0")):
        yield Base(f"built-md-raid{level}", _files(arrays(level, metadata)))
    for kind, disks, columns in (("raid0", 2, 2), ("raid5", 4, 3), ("raid10", 4, 2)):
        yield Base(f"built-imsm-{kind}", _files(imsm(kind, disks, columns)))


def bases() -> Mapping[str, Base]:
    """All of them, by name."""
    return {base.name: base for base in (*committed(), *built())}
