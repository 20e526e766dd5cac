"""Arrays, volume groups and locks whose content is given, written without a kernel."""

from pathlib import Path

from fixtures.recipes.lvm2 import SIZE as PV_SIZE
from pyimount.parsers.volumes.vss import BLOCK, HEADER_AT
from tests.mapping.luks_volumes import DATA_AT, VOLUME_KEY, luks1, xts
from tests.mapping.lvm2_groups import EXTENT, group_text, linear, lv_text, pv_image, pv_text
from tests.mapping.md_members import members
from tests.mapping.vss_volume import CATALOG_AT, EACH, SIZE, STORES_AT, StoreSpec, build
from tests.mounting.images import MIB, blank, tool
from tests.needing import needs


def luks(folder: Path, inner: bytes, name: str = "luks.img") -> Path:
    """A LUKS1 volume, opened by ``open sesame``, with this in it."""
    image = folder / name
    image.write_bytes(bytes(luks1())[:DATA_AT] + xts(VOLUME_KEY, inner))
    return image


def mirror(folder: Path, inner: bytes) -> list[Path]:
    """The two members of a RAID 1 with this in it."""
    paths = [folder / "first.md", folder / "second.md"]
    for path, data in zip(paths, members([inner, inner], "1.2", level=1, layout=0, chunk=0), strict=True):
        path.write_bytes(data)
    return paths


def volume_group(folder: Path, inner: bytes) -> list[Path]:
    """Two physical volumes; a logical volume ``data``, on both, begins with this."""
    count = -(-len(inner) // EXTENT)
    half = count // 2
    text = group_text(
        [lv_text("data", [linear(half, "pv0", 0), linear(count - half, "pv1", 0, half)])],
        [pv_text(0), pv_text(1)],
    )
    parts = [inner[: half * EXTENT], inner[half * EXTENT :]]
    paths = []
    for number, part in enumerate(parts):
        image = pv_image(number, text)
        image[2 * MIB : 2 * MIB + len(part)] = part
        paths.append(folder / f"pv{number}.img")
        paths[-1].write_bytes(image)
    return paths


def three_logical_volumes(folder: Path, inner: list[bytes]) -> Path:
    """One physical volume; its logical volumes ``one``, ``two`` and ``three`` begin with these."""
    names, count = ("one", "two", "three"), (PV_SIZE - 2 * MIB) // EXTENT // 3
    volumes = [lv_text(name, [linear(count, "pv0", number * count)]) for number, name in enumerate(names)]
    image = pv_image(0, group_text(volumes, [pv_text(0)]))
    for number, part in enumerate(inner):
        assert len(part) <= count * EXTENT
        at = 2 * MIB + number * count * EXTENT
        image[at : at + len(part)] = part
    path = folder / "three.raw"
    path.write_bytes(image)
    return path


def ntfs_with_shadows(folder: Path) -> Path:
    """An NTFS of mkntfs, with the catalog and the stores of two shadow copies."""
    needs("mkntfs")
    image = blank(folder / "ntfs.img", SIZE)
    tool("mkntfs", "-F", "-q", "-s", "512", "-c", "4096", "-p", "0", "-H", "0", "-S", "0", image)
    shadowed = build([StoreSpec(), StoreSpec()])
    with image.open("r+b") as file:
        for at, length in ((HEADER_AT, 512), (CATALOG_AT, BLOCK), (STORES_AT * BLOCK, 2 * EACH * BLOCK)):
            file.seek(at)
            file.write(shadowed[at : at + length])
    return image
