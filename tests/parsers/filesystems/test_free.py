"""What is free: the figures of each format's own tools, what counting may cost, and hostile structures."""

import random
import re
import struct
import zlib
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Fixture, Workshop, fixtures
from pyimount.formats import Format, Identity, NotThisFormat
from pyimount.formats.allocation import BYTES, READS, Reader, TooMuch, ones
from pyimount.layers import VolumeLayer
from pyimount.parsers.filesystems import fat
from pyimount.recognition.registry import volume_formats
from pyimount.scanning.space import with_space
from pyimount.sources.source import BytesSource
from pyimount.sources.view import ShortRead, View
from tests.kept import kept, put
from tests.needing import needs

MIB = 1 << 20


def made(work: Workshop, size: int, *command: str) -> Path:
    """An image with a file system that this command makes."""
    needs(command[0])
    image = work.blank(size)
    work.run(*command, image)
    return image


def volume(image: Path, *, free: bool = False) -> VolumeLayer:
    (found,) = pyimount.detect(image, free=free).volumes
    return found


def number(pattern: str, printed: str) -> int:
    found = re.search(pattern, printed)
    assert found is not None, printed
    return int(found[1])


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        ("-b", "1024"),
        ("-b", "1024", "-O", "meta_bg,^resize_inode,sparse_super2"),
        ("-b", "1024", "-O", "meta_bg,^resize_inode,bigalloc"),
        ("-b", "4096", "-O", "bigalloc"),
        ("-b", "4096", "-O", "^64bit,^metadata_csum,uninit_bg"),
        ("-b", "2048", "-O", "^sparse_super,^resize_inode"),
    ],
)
def test_ext_by_its_group_descriptors(work: Workshop, options: tuple[str, ...]) -> None:
    image = made(work, 300 * MIB, "mkfs.ext4", "-q", "-F", *options)
    printed = work.run("dumpe2fs", "-h", image)
    right = number(r"Free blocks: +(\d+)", printed) * number(r"Block size: +(\d+)", printed)
    assert (volume(image).free, volume(image).details["free_from"]) == (right, "group descriptors")
    # As it is while mounted: the counter is another day's, and the superblock says that it is not clean.
    with image.open("r+b") as file:
        file.seek(1024 + 12)
        file.write(bytes(4))
        file.seek(1024 + 0x3A)
        file.write(bytes(2))
    assert volume(image).free == right


@pytest.mark.parametrize(
    "options",
    [(), ("-m", "crc=0"), ("-m", "rmapbt=1,reflink=1"), ("-s", "size=4096"), ("-l", "su=32k")],
)
def test_xfs_by_its_agfs_and_its_log(work: Workshop, options: tuple[str, ...]) -> None:
    image = made(work, 400 * MIB, "mkfs.xfs", "-q", *options)
    blocks = number(r"fdblocks = (\d+)", work.run("xfs_db", "-r", "-c", "sb 0", "-c", "p fdblocks", image))
    found = volume(image)
    assert (found.free, found.details["free_from"], found.state) == (blocks * 4096, "AGFs", "clean")


def test_xfs_of_many_groups_has_its_counter_while_clean(work: Workshop) -> None:
    image = made(work, 4096 * MIB, "mkfs.xfs", "-q", "-d", "agcount=20")
    few, all_ = volume(image), volume(image, free=True)
    assert (few.details["free_from"], all_.details["free_from"]) == ("superblock", "AGFs")
    assert few.free == all_.free
    # The log's first record is no unmount any more: what the superblock counts may be old.
    with image.open("rb") as file:
        raw = file.read(256)
    (place,) = struct.unpack(">Q", raw[48:56])
    group, block = place >> raw[124], place & (1 << raw[124]) - 1
    start = (group * struct.unpack(">I", raw[84:88])[0] + block) * 4096
    with image.open("r+b") as file:
        file.seek(start + 512 + 9)
        file.write(b"\0")
    dirty = volume(image)
    assert (dirty.state, dirty.free) == ("dirty", None)
    assert "--free" in str(dirty.details["free_unknown"])
    assert volume(image, free=True).free == all_.free


@pytest.mark.parametrize(
    ("size", "options"), [(1440, ("-F", "12")), (40000, ("-F", "16")), (60000, ("-F", "32", "-s", "1"))]
)
def test_fat_as_fsck_counts(work: Workshop, size: int, options: tuple[str, ...]) -> None:
    image = made(work, size << 10, "mkfs.fat", *options)
    (work.folder / "file").write_bytes(bytes(300_000))
    work.run("mcopy", "-i", image, work.folder / "file", "::")
    used, clusters = map(int, re.findall(r"(\d+)/(\d+) clusters", work.run("fsck.fat", "-n", image))[0])
    found = volume(image)
    cluster = found.details["cluster_size"]
    assert isinstance(cluster, int)
    # fsck.fat counts the root directory of a FAT32 as in use, too, and so is it.
    assert (found.free, found.used) == ((clusters - used) * cluster, used * cluster)


def test_a_fat_too_large_to_count_has_its_hint_unless_that_is_stale(work: Workshop) -> None:
    image = made(work, 4 << 30, "mkfs.fat", "-F", "32", "-s", "4")
    few, whole = volume(image), volume(image, free=True)
    assert few.free == whole.free
    assert "hint" in str(few.details["free_from"])
    assert whole.details["free_from"] == "FAT"
    with image.open("r+b") as file:
        file.seek(512 + 488)
        file.write((5).to_bytes(4, "little"))
    stale = volume(image)
    assert stale.free is None
    assert "stale" in str(stale.details["free_unknown"])
    assert volume(image, free=True).free == whole.free


@pytest.mark.parametrize("size", [100 * MIB, 3 << 30])
def test_ntfs_as_ntfsinfo_counts(work: Workshop, size: int) -> None:
    image = made(work, size, "mkntfs", "-q", "-F", "-f", "-c", "4096")
    clusters = number(r"Free Clusters: (\d+)", work.run("ntfsinfo", "-m", image))
    assert (volume(image).free, volume(image).details["free_from"]) == (clusters * 4096, "$Bitmap")


def test_ntfs_beyond_the_budget_is_null_and_all_is_read_when_asked_for(work: Workshop) -> None:
    image = made(work, 40 << 30, "mkntfs", "-q", "-F", "-f", "-c", "4096")
    assert volume(image).free is None
    assert "--free" in str(volume(image).details["free_unknown"])
    clusters = number(r"Free Clusters: (\d+)", work.run("ntfsinfo", "-m", image))
    scan = pyimount.detect(image, free=True)
    assert scan.volumes[0].free == clusters * 4096
    assert scan.disks[0].allocation_read > MIB
    assert scan.disks[0].bytes_read == pyimount.detect(image).disks[0].bytes_read


@pytest.mark.parametrize(("size", "cluster"), [(100 * MIB, "4K"), (16 << 30, "4K")])
def test_exfat_as_dump_exfat_counts(work: Workshop, size: int, cluster: str) -> None:
    image = made(work, size, "mkfs.exfat", "-c", cluster)
    assert volume(image).free == number(r"Free Clusters:\s+(\d+)", work.run("dump.exfat", image)) * 4096


@pytest.mark.parametrize("options", [(), ("-m", "single"), ("-M",)])
def test_btrfs_as_its_block_group_items_say(work: Workshop, options: tuple[str, ...]) -> None:
    image = made(work, 300 * MIB, "mkfs.btrfs", "-q", *options)
    printed = work.run("btrfs", "inspect-internal", "dump-tree", image)
    groups = re.findall(r"block group used (\d+) .*flags (\S+)", printed)
    used = sum(int(bytes_) * (2 if "DUP" in flags else 1) for bytes_, flags in groups)
    assert used
    assert (volume(image).free, volume(image).used) == (300 * MIB - used, used)


@pytest.mark.parametrize("data", ["single", "raid1", "raid0", "raid1c3", "raid5", "raid6"])
def test_btrfs_of_several_devices_as_its_block_group_items_say(work: Workshop, data: str) -> None:
    """Of each device what lies on it; of stripes that stands nowhere, and all together is a detail."""
    needs("mkfs.btrfs")
    images = [work.blank(300 * MIB, f"disk{number}.img") for number in range(3)]
    work.run("mkfs.btrfs", "-q", "-d", data, "-m", "raid1c3", *images)
    printed = work.run("btrfs", "inspect-internal", "dump-tree", images[0])
    groups = re.findall(r"block group used (\d+) .*flags (\S+)", printed)
    # How many bytes of devices one of these takes.
    share = {
        "single": (1, 1),
        "RAID1": (2, 1),
        "RAID0": (1, 1),
        "RAID1C3": (3, 1),
        "RAID5": (3, 2),
        "RAID6": (3, 1),
    }
    used = 0
    for bytes_, flags in groups:
        times, of = share[flags.rpartition("|")[2] if "|" in flags else "single"]
        used += int(bytes_) * times // of
    scan = pyimount.detect(images)
    for found in scan.volumes:
        assert found.details["all_devices"] == {"size": 900 * MIB, "free": 900 * MIB - used, "used": used}
        assert not found.problems
    if data in {"raid0", "raid5", "raid6"}:
        assert [found.free for found in scan.volumes] == [None] * 3
        assert all("stripes" in str(found.details["free_unknown"]) for found in scan.volumes)
    else:
        assert sum(found.used or 0 for found in scan.volumes) == used
        assert all(found.free == 300 * MIB - (found.used or 0) for found in scan.volumes)


def test_btrfs_whose_trees_lie_on_another_device_has_no_figure(work: Workshop) -> None:
    needs("mkfs.btrfs")
    images = [work.blank(300 * MIB, f"disk{number}.img") for number in range(2)]
    work.run("mkfs.btrfs", "-q", "-d", "single", "-m", "single", *images)
    figures = {found.free is None for found in pyimount.detect(images).volumes}
    assert figures == {True, False}
    (without,) = [found for found in pyimount.detect(images).volumes if found.free is None]
    assert "is on another device" in str(without.details["free_unknown"])
    assert not without.problems


@pytest.mark.parametrize("leb", [15872, 126976, 253952, 2 << 20])
def test_ubifs_as_its_master_node_says(work: Workshop, leb: int) -> None:
    """mkfs.ubifs prints how many eraseblocks it made: what is free, used and index fills the main ones."""
    needs("mkfs.ubifs")
    folder = work.folder / "content"
    folder.mkdir()
    (folder / "file").write_bytes(random.Random(7).randbytes(300_000))  # noqa: S311
    image = work.folder / "ubifs.img"
    printed = work.run(
        "mkfs.ubifs", "-v", "-r", folder, "-m", "512", "-e", str(leb), "-c", "400", "-o", image
    )
    main = number(r"main_lebs: +(\d+)", printed) * leb
    found = volume(image)
    assert found.free is not None
    index = found.details["index_size"]
    assert isinstance(index, int)
    assert 300_000 < main - found.free - index < 320_000
    data = bytearray(image.read_bytes())
    for at in (1, 2):
        assert volume(image).free == found.free
        data[at * leb + 100] ^= 1
        image.write_bytes(data)
    assert volume(image).free is None
    assert "no master node" in str(volume(image).details["free_unknown"])


def test_ubifs_whose_master_node_was_written_again(work: Workshop) -> None:
    """The last whole one counts; each stands at the next write unit."""
    needs("mkfs.ubifs")
    folder = work.folder / "content"
    folder.mkdir()
    image = work.folder / "ubifs.img"
    work.run("mkfs.ubifs", "-r", folder, "-m", "2048", "-e", "126976", "-c", "100", "-o", image)
    free = volume(image).free
    assert free is not None
    data = bytearray(image.read_bytes())
    for times in (1, 2):
        node = data[126976 : 126976 + 512]
        struct.pack_into("<Q", node, 24 + 16 + 32 + 8, free - 4096 * times)  # total_free; total_dirty stays
        struct.pack_into("<Q", node, 24 + 16 + 32 + 16, 0)
        struct.pack_into("<I", node, 4, zlib.crc32(node[8:]) ^ 0xFFFFFFFF)
        data[126976 + 2048 * times : 126976 + 2048 * times + 512] = node
    image.write_bytes(data)
    assert volume(image).free == free - 4096 * 2
    data[126976 + 4096 + 60] ^= 1
    image.write_bytes(data)
    assert volume(image).free == free - 4096


def test_gfs2_as_its_resource_groups_say(work: Workshop) -> None:
    image = made(work, 100 * MIB, "mkfs.gfs2", "-q", "-O", "-p", "lock_nolock", "-j", "1", "-J", "8")
    printed = work.run("gfs2_edit", "-p", "rgs", image)
    free = sum(map(int, re.findall(r"rg_free +(\d+)", printed)))
    assert free
    assert volume(image).free == free * 4096


def test_ocfs2_as_its_global_bitmap_says(work: Workshop) -> None:
    image = made(
        work, 64 * MIB, "mkfs.ocfs2", "-q", "-F", "-M", "local", "-C", "4K", "-b", "4K", "-J", "size=4M"
    )
    printed = work.run("debugfs.ocfs2", "-R", "stat //global_bitmap", image)
    assert volume(image).free == number(r"Free: (\d+)", printed) * 4096


def test_counting_keeps_to_its_limits() -> None:
    class Counting(BytesSource):
        reads = 0

        def _read(self, offset: int, length: int) -> bytes:
            self.reads += 1
            return super()._read(offset, length)

    source = Counting(bytes(4 * MIB))
    reader = Reader(View(source))
    for at in range(READS):
        reader.read(at * 4096, 4096)
    with pytest.raises(TooMuch, match="--free"):
        reader.read(0, 1)
    assert source.reads == READS
    reader = Reader(View(source))
    assert len(b"".join(reader.pieces(1, BYTES))) == BYTES
    with pytest.raises(TooMuch):
        reader.read(0, 1)
    assert len(b"".join(Reader(View(source), whole=True).pieces(0, 4 * MIB))) == 4 * MIB


def test_bits_are_counted_from_either_end() -> None:
    assert ones(b"\xff\x0f") == 12
    assert [ones(b"\x01\x81", bits) for bits in (0, 1, 8, 9, 15, 16)] == [0, 1, 1, 2, 2, 3]
    assert [ones(b"\x01\x81", bits, big=True) for bits in (0, 1, 8, 9, 15, 16)] == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("fixture", fixtures(), ids=lambda fixture: fixture.name)
def test_every_figure_says_where_it_is_from(fixture: Fixture, tmp_path: Path) -> None:
    for found in pyimount.detect(fixture.unpack(tmp_path)).volumes:
        assert (found.free is not None) == ("free_from" in found.details)
        if found.free is not None and found.fs_size is not None:
            assert found.used is not None
            assert 0 <= found.free <= found.fs_size
            assert 0 <= found.used <= found.fs_size


HOSTILE = (
    "ext4", "xfs", "fat32", "fat12", "ntfs", "exfat", "btrfs", "f2fs", "hfs", "hfsplus", "udf", "ufs1-le",
    "jfs", "reiserfs", "minix-1-big-endian", "befs", "qnx4", "bfs", "hpfs", "ocfs2", "ubifs",
)  # fmt: skip


class Changing(BytesSource):
    """Bytes in memory that a test changes between reads."""

    def __init__(self, data: bytearray) -> None:
        super().__init__(b"")
        self.data = data
        self.size = len(data)

    def _read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])


@pytest.mark.parametrize("name", HOSTILE)
def test_no_bytes_of_allocation_structures_raise(name: str) -> None:
    chance = random.Random(name)  # noqa: S311
    image = kept(name)
    source = Changing(image)
    # Where anything stands: zeros alone would be hit nearly always.
    places = [at for at in range(0, len(image) - 511, 512) if image.count(0, at, at + 512) < 512]
    parsers = [each for each in volume_formats() if _answer(each, source) is not None]
    assert parsers
    for _ in range(100):
        changes = [
            (at + chance.randrange(500), chance.randbytes(4) * 2) for at in chance.choices(places, k=8)
        ]
        before = [(at, image[at : at + 8]) for at, _ in changes]
        for at, data in changes:
            put(image, at, chance.choice((data, b"\xff" * 8, bytes(8))))
        for each in parsers:
            found = _answer(each, source)
            if found is not None:
                with_space(found)
                with_space(found, whole=True)
        for at, kept_ in reversed(before):
            put(image, at, kept_)


def _answer(declared: Format, source: Changing) -> Identity | None:
    try:
        return declared.parse(View(source))
    except (NotThisFormat, ShortRead):
        return None


def floppy(sectors: int = 1440, *, media: int = 0xF9, bpb: bool = True, fats: int = 3) -> bytearray:
    """A floppy without a mark; without a BPB it is one of DOS 1."""
    image = bytearray(sectors * 512)
    entries = 112 if bpb or sectors >= 640 else 64
    if bpb:
        figures = {
            "BS_jmpBoot": b"\x60\x38\x00", "BS_OEMName": b"Loader\x12\x34", "BPB_BytsPerSec": 512,
            "BPB_SecPerClus": 2, "BPB_RsvdSecCnt": 1, "BPB_NumFATs": 2, "BPB_RootEntCnt": entries,
            "BPB_TotSec16": sectors, "BPB_Media": media, "BPB_FATSz16": fats, "BPB_SecPerTrk": 9,
            "BPB_NumHeads": 2, "BPB_HiddSec": 0, "BPB_TotSec32": 0,
        }  # fmt: skip
        put(image, 0, fat.BPB.construct.build(figures))
    else:
        put(image, 0, b"\xeb\x2f\x14" + b"\x90" * 100)
    for number in range(2):
        put(image, 512 * (1 + number * fats), bytes((media, 0xFF, 0xFF)) + b"\xff\x0f")
    root = 512 * (1 + 2 * fats)
    put(image, root, b"EVIDENCE   \x08" + bytes(20) + b"A       TXT\x20" + bytes(14) + b"\x02\0\x05\0\0\0")
    return image


def described(image: bytes, path: Path) -> tuple[str | None, ...]:
    path.write_bytes(image)
    (found,) = pyimount.detect(path).volumes
    return found.type, found.label, found.version


def test_fat_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "floppy.img"
    assert described(floppy(), path) == ("vfat", "EVIDENCE", "FAT12")
    (found,) = pyimount.detect(path).volumes
    assert found.used == 1024  # one cluster
    for end in (b"\x55\xba", b"\xaa\x55"):
        image = floppy()
        put(image, 510, end)
        assert described(image, path) == ("vfat", "EVIDENCE", "FAT12")


@pytest.mark.parametrize(
    ("sectors", "media", "fats"), [(320, 0xFE, 1), (360, 0xFC, 2), (640, 0xFF, 1), (720, 0xFD, 2)]
)
def test_floppies_of_dos_1(tmp_path: Path, sectors: int, media: int, fats: int) -> None:
    path = tmp_path / "floppy.img"
    image = floppy(sectors, media=media, bpb=False, fats=fats)
    assert described(image, path) == ("vfat", "EVIDENCE", "FAT12")
    assert described(image + bytes(512), path)[0] is None
    put(image, 512 * (1 + fats), b"\0\0\0")
    assert described(image, path)[0] is None


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (512, b"\xf8"),  # another medium's
        (512 * 4, b"\xf8"),  # the FATs differ
        (512 * 4 + 100, b"\x12"),
        (512 * 7 + 11, b"\xc8"),  # no attributes of an entry
        (512 * 7 + 32 + 26, b"\xff\xff"),  # a cluster that is not there
        (512 * 7 + 3, b"\x01"),  # no name
        (19, (1441).to_bytes(2, "little")),  # more sectors than there are
        (22, (200).to_bytes(2, "little")),  # a FAT far larger than its clusters need
    ],
)
def test_what_is_no_fat_without_a_mark(tmp_path: Path, offset: int, data: bytes) -> None:
    image = floppy()
    put(image, offset, data)
    assert described(image, tmp_path / "floppy.img")[0] is None


def test_a_fat32_with_a_sector_count_of_64_bits(work: Workshop) -> None:
    image = made(work, 60000 << 10, "mkfs.fat", "-F", "32", "-s", "1")
    before = volume(image)
    with image.open("r+b") as file:
        file.seek(32)
        file.write(bytes(4))
        file.seek(0x52)
        file.write((60000 << 1).to_bytes(8, "little"))
    after = volume(image)
    assert (after.type, after.uuid, after.fs_size, after.free) == (
        "vfat",
        before.uuid,
        before.fs_size,
        before.free,
    )
