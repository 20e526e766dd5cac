"""VMDK as qemu-img writes it; dissect.hypervisor is the second opinion."""

import re
import struct
import zlib
from pathlib import Path

import pytest
from dissect.hypervisor.disk.vmdk import SparseDisk

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.workshop import Workshop
from pyimount.parsers.containers import vmdk_extents
from pyimount.recognition.opening import open_image
from pyimount.sources import pool as pool_module
from pyimount.sources.broker import Broker
from pyimount.sources.budget import NO_LIMIT, Meter
from pyimount.sources.errors import ReadError
from pyimount.sources.segments import gather
from tests.needing import needs

MIB = 1 << 20
OPEN = Path("/proc/self/fd")
DISK = mixed_bytes(3 * MIB // 2 + 7 * 512)
SPARSE = ("monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized")
FLAT = ("monolithicFlat", "twoGbMaxExtentFlat")

# Where the header of a sparse extent has them.
FLAGS, CAPACITY, GRAIN, PER_TABLE, RGD, GD = 8, 12, 20, 44, 48, 56


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    needs("qemu-img", "qemu-io")
    return Workshop(tmp_path)


def made(
    work: Workshop, variant: str = "monolithicSparse", name: str = "disk.vmdk", disk: bytes = DISK
) -> Path:
    raw, image = work.folder / "disk.raw", work.folder / name
    raw.write_bytes(disk)
    work.run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={variant}", raw, image)
    raw.unlink()
    return image


def changed(image: Path, at: int, form: str, *values: int) -> Path:
    data = bytearray(image.read_bytes())
    struct.pack_into(form, data, at, *values)
    image.write_bytes(data)
    return image


def descriptor(folder: Path, *extents: str, **values: str) -> Path:
    lines = ["# Disk DescriptorFile", "version=1", "CID=00000001"]
    lines += [f'{name}="{value}"' for name, value in {"createType": "custom", **values}.items()]
    path = folder / "disk.vmdk"
    path.write_text("\n".join([*lines, *extents, 'ddb.adapterType = "ide"', ""]))
    return path


@pytest.mark.parametrize("variant", [*SPARSE, *FLAT])
def test_the_disk_inside_is_the_one_that_was_put_there(work: Workshop, variant: str) -> None:
    image = made(work, variant)
    opened = open_path(image)
    assert codes(opened) == []
    assert opened.container.details["variant"] == variant
    assert where_different(inside(image), DISK) == []


def test_a_split_image_is_found_from_one_of_its_parts(work: Workshop) -> None:
    made(work, "twoGbMaxExtentSparse")
    opened = open_path(work.folder / "disk-s001.vmdk")
    assert opened.container.details["variant"] == "twoGbMaxExtentSparse"
    assert where_different(inside(work.folder / "disk-s001.vmdk"), DISK) == []


def test_a_part_without_its_descriptor_says_so(work: Workshop) -> None:
    made(work, "twoGbMaxExtentSparse").unlink()
    opened = open_path(work.folder / "disk-s001.vmdk")
    assert codes(opened) == ["missing-segment"]
    assert opened.source is not None
    assert opened.source.read_at(0, len(DISK)) == DISK


def test_dissect_reads_the_same(work: Workshop) -> None:
    image = made(work, "streamOptimized")
    with image.open("rb") as file:
        assert SparseDisk(file).read_sectors(0, len(DISK) // 512) == inside(image).read_at(0, len(DISK))


class TestDescriptor:
    def test_extents_of_every_kind_in_a_row(self, work: Workshop) -> None:
        sparse = made(work, name="one.vmdk")
        (work.folder / "two.bin").write_bytes(b"-" * 1024 + DISK)
        sectors = len(DISK) // 512
        image = descriptor(
            work.folder,
            f'RW {sectors} SPARSE "{sparse.name}"',
            "RW 5 ZERO",
            f'RDONLY {sectors} FLAT "two.bin" 2',
            'RW 4 FLAT "two.bin" 0',
        )
        wanted = DISK + bytes(5 * 512) + DISK + b"-" * 1024 + DISK[:1024]
        assert codes(open_path(image)) == []
        assert where_different(inside(image), wanted) == []

    def test_more_extents_than_files_may_be_open(
        self, work: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool_module, "most_open", lambda: 3)
        count, each = 12, 8
        for number in range(count):
            (work.folder / f"{number}.bin").write_bytes(DISK[number * each * 512 :][: each * 512])
        extents = [f'RW {each} FLAT "{number}.bin" 0' for number in range(count)]
        image, opened = open_image(gather([descriptor(work.folder, *extents)])[0], Broker(), Meter(NO_LIMIT))
        assert opened.source is not None
        for _ in range(2):
            assert opened.source.read_at(0, count * each * 512 + 1) == DISK[: count * each * 512]
        assert len(image.all_paths) == 1 + count
        if OPEN.exists():
            held = [path for path in OPEN.iterdir() if path.resolve().parent == work.folder]
            assert len(held) == 3
        (work.folder / "3.bin").unlink()
        with pytest.raises(ReadError, match="no such file"):
            opened.source.read_at(3 * each * 512, 512)
        image.close()

    @pytest.mark.parametrize(
        "name",
        [
            "/dev/sda",
            "/etc/shadow",
            "../../etc/shadow",
            "..\\..\\boot.ini",
            "C:\\disk.bin",
            "",
            ".",
            "other/disk.bin",
        ],
    )
    def test_a_name_is_only_looked_for_beside_the_image(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "disk.bin").write_bytes(bytes(4096))
        image = descriptor(tmp_path, f'RW 8 FLAT "{name}" 0', "RW 8 ZERO")
        opened = open_path(image)
        assert codes(opened) == ["missing-backing-file"]
        assert opened.source is not None
        assert opened.source.size == 8192
        assert opened.source.read_at(4096, 4096) == bytes(4096)
        with pytest.raises(ReadError):
            opened.source.read_at(0, 512)

    def test_a_link_to_elsewhere_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "own").mkdir()
        (tmp_path / "secret").write_bytes(bytes(4096))
        (tmp_path / "own" / "flat.bin").symlink_to(tmp_path / "secret")
        image = descriptor(tmp_path / "own", 'RW 8 FLAT "flat.bin" 0')
        assert codes(open_path(image)) == ["missing-backing-file"]
        assert codes(open_path(image, allow=(tmp_path,))) == []

    def test_an_extent_that_is_too_short(self, tmp_path: Path) -> None:
        (tmp_path / "flat.bin").write_bytes(b"x" * 1024)
        image = descriptor(tmp_path, 'RW 8 FLAT "flat.bin" 0')
        assert codes(open_path(image)) == ["truncated"]
        assert inside(image).read_at(0, 1024) == b"x" * 1024
        with pytest.raises(ReadError):
            inside(image).read_at(1024, 1)

    def test_an_extent_that_is_itself_a_descriptor(self, tmp_path: Path) -> None:
        image = descriptor(tmp_path, 'RW 8 SPARSE "disk.vmdk"')
        assert codes(open_path(image)) == ["damaged"]

    def test_an_extent_on_vmfs_needs_no_offset(self, tmp_path: Path) -> None:
        (tmp_path / "disk-flat.vmdk").write_bytes(b"x" * 4096)
        image = descriptor(tmp_path, 'RW 8 VMFS "disk-flat.vmdk"', createType="vmfs")
        opened = open_path(image)
        assert (opened.container.details["variant"], codes(opened)) == ("vmfs", [])
        assert inside(image).read_at(0, 4096) == b"x" * 4096

    def test_a_raw_device_is_named_and_not_read(self, tmp_path: Path) -> None:
        image = descriptor(tmp_path, 'RW 8 VMFSRDM "disk-rdm.vmdk"')
        assert codes(open_path(image)) == ["unsupported"]

    @pytest.mark.parametrize(
        "extents", [(), ("RW x FLAT",), ('RW 99999999999999999999 FLAT "a"',), ("RW 1 ZERO",) * 5000]
    )
    def test_one_that_makes_no_sense_is_no_vmdk(self, tmp_path: Path, extents: tuple[str, ...]) -> None:
        assert open_path(descriptor(tmp_path, *extents)).container.type == "raw"

    def test_names_are_in_the_encoding_it_names(self, tmp_path: Path) -> None:
        image = descriptor(tmp_path, 'RW 8 FLAT "Größe.bin" 0', encoding="windows-1252")
        image.write_bytes(image.read_text().encode("cp1252"))
        (tmp_path / "Größe.bin").write_bytes(bytes(4096))
        assert codes(open_path(image)) == []

    @pytest.mark.parametrize(
        ("encoding", "name"),
        [
            ("windows-1250", "Płyta główna"),
            ("windows-1251", "Диск сервера"),
            ("windows-1253", "Δίσκος"),
            ("windows-1255", "דיסק"),
            ("windows-932", "ソフトの表"),
            ("Shift_JIS", "ソフトの表"),
            ("windows-936", "服务器磁盘"),
            ("windows-949", "서버 디스크"),
            ("EUC-KR", "서버 디스크"),
            ("windows-950", "伺服器磁碟"),
            ("ISO-8859-1", "Größe"),
            ("ISO-8859-5", "Диск"),
            ("ISO-8859-15", "Œuvre"),
            ("GB18030", "服务器ᠠ"),
            ("UTF-8", "Größe 服务器"),
        ],
    )
    def test_every_encoding_that_vmware_names(self, tmp_path: Path, encoding: str, name: str) -> None:
        python = {"Shift_JIS": "cp932", "EUC-KR": "euc_kr"}.get(encoding, encoding.replace("windows-", "cp"))
        image = descriptor(
            tmp_path,
            f'RW 8 FLAT "{name}-f001.vmdk" 0',
            f'RW 8 FLAT "{name}-f002.vmdk" 0',
            encoding=encoding,
        )
        image.write_bytes(image.read_text("utf-8").encode(python))
        for number in (1, 2):
            (tmp_path / f"{name}-f00{number}.vmdk").write_bytes(bytes([number]) * 4096)
        # Another that would fit as well, were the encoding not known.
        (tmp_path / "другой-f001.vmdk").write_bytes(bytes(4096))
        assert codes(open_path(image)) == []
        assert inside(image).read_at(0, 8192) == b"\1" * 4096 + b"\2" * 4096

    @pytest.mark.parametrize("encoding", ["x-klingon", "UTF-8", "windows-1252"])
    def test_where_the_encoding_is_wrong_the_one_file_that_fits_is_taken(
        self, tmp_path: Path, encoding: str
    ) -> None:
        image = descriptor(
            tmp_path, 'RW 8 FLAT "ソ-f001.vmdk" 0', 'RW 8 FLAT "ソ-f002.vmdk" 0', encoding=encoding
        )
        image.write_bytes(image.read_text("utf-8").encode("cp932"))
        for number in (1, 2):
            (tmp_path / f"ソ-f00{number}.vmdk").write_bytes(bytes([number]) * 4096)
        assert codes(open_path(image)) == []
        assert inside(image).read_at(0, 8192) == b"\1" * 4096 + b"\2" * 4096
        (tmp_path / "表-f001.vmdk").write_bytes(bytes(4096))
        assert codes(open_path(image)) == ["missing-backing-file"]

    def test_an_ascii_name_is_not_guessed(self, tmp_path: Path) -> None:
        (tmp_path / "copy-flat.vmdk").write_bytes(bytes(4096))
        assert codes(open_path(descriptor(tmp_path, 'RW 8 FLAT "disk-flat.vmdk" 0'))) == [
            "missing-backing-file"
        ]

    @pytest.mark.parametrize(
        "first",
        ["# Disk Descriptor File", "#Disk DescriptorFile", "# made by hand\n\n \n#", "  \n# x", None],
    )
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_the_first_line_is_what_qemu_takes(self, tmp_path: Path, first: str | None, end: str) -> None:
        needs("qemu-img")
        (tmp_path / "disk-flat.vmdk").write_bytes(DISK[:4096])
        lines = ["version=1", "CID=21212121", "parentCID=ffffffff", 'createType="monolithicFlat"']
        lines = [*([first] if first is not None else []), *lines, 'RW 8 FLAT "disk-flat.vmdk" 0', ""]
        image = tmp_path / "disk.vmdk"
        image.write_bytes("\n".join(lines).replace("\n", end).encode())
        told = Workshop(tmp_path).run("qemu-img", "info", image)
        assert ("file format: vmdk" in told) == (open_path(image).container.type == "vmdk")
        if "file format: vmdk" in told:
            assert inside(image).read_at(0, 4096) == DISK[:4096]

    def test_a_text_that_is_none(self, tmp_path: Path) -> None:
        image = tmp_path / "script"
        image.write_text('#!/bin/sh\necho version=1\nRW 8 FLAT "disk-flat.vmdk" 0\n')
        assert open_path(image).container.type == "raw"


class TestStreamEnd:
    @pytest.mark.parametrize("behind", [b"# Disk DescriptorFile\n" + bytes(1002), bytes(100_000), b"x" * 700])
    def test_bytes_behind_it_are_none_of_its_own(self, work: Workshop, behind: bytes) -> None:
        image = made(work, "streamOptimized", disk=DISK + bytes(2 * MIB))
        with image.open("ab") as file:
            file.write(behind)
        assert codes(open_path(image)) == []
        assert where_different(inside(image), DISK + bytes(2 * MIB)) == []

    def test_however_many_these_are(self, work: Workshop) -> None:
        image = made(work, "streamOptimized", disk=DISK + bytes(2 * MIB))
        with image.open("ab") as file:
            file.truncate(image.stat().st_size + 5 * MIB)
        assert codes(open_path(image)) == []
        assert where_different(inside(image), DISK + bytes(2 * MIB)) == []


class TestVirtualBoxParent:
    """VirtualBox links its snapshots by UUIDs alone (VMDK.cpp)."""

    def chain(self, work: Workshop, **changes: str) -> Path:
        top, base = made(work, name="{top}.vmdk", disk=bytes(len(DISK))), made(work, name="base.vmdk")
        work.run("qemu-io", "-c", "write -q -P 85 65536 65536", top)
        own = {
            "image": "11111111-2222-3333-4444-555555555555",
            "modification": "a" * 8 + "-1111-1111-1111-" + "a" * 12,
        }
        linked = {"parent": own["image"], "parentmodification": own["modification"], **changes}
        for image, uuids in ((base, own), (top, linked)):
            data = image.read_bytes()
            at = data.index(b"# Disk DescriptorFile")
            old = data[at : data.index(b"\0", at)]
            new = old + "".join(f'ddb.uuid.{name}="{value}"\n' for name, value in uuids.items()).encode()
            image.write_bytes(data[:at] + new + data[at + len(new) :])
        return top

    def test_shows_through(self, work: Workshop) -> None:
        wanted = bytearray(DISK)
        wanted[65536:131072] = b"\x55" * 65536
        top = self.chain(work)
        assert codes(open_path(top)) == []
        assert where_different(inside(top), bytes(wanted)) == []

    @pytest.mark.parametrize(
        ("changes", "said"),
        [({"parent": "1" * 8}, "does not say"), ({"parentmodification": "b" * 8}, "was changed since")],
    )
    def test_another_or_a_changed_disk_is_not_taken(
        self, work: Workshop, changes: dict[str, str], said: str
    ) -> None:
        opened = open_path(self.chain(work, **changes))
        assert codes(opened) == ["missing-backing-file"]
        assert said in opened.container.problems[0].message
        with pytest.raises(ReadError):
            inside(work.folder / "{top}.vmdk").read_at(0, 512)

    def test_missing(self, work: Workshop) -> None:
        top = self.chain(work)
        (work.folder / "base.vmdk").unlink()
        assert codes(open_path(top)) == ["missing-backing-file"]


class TestParent:
    def chain(self, work: Workshop) -> Path:
        made(work, name="base.vmdk")
        top = work.folder / "top.vmdk"
        work.run("qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", top)
        work.run("qemu-io", "-c", "write -q -P 85 65536 65536", top)
        return top

    def test_shows_through(self, work: Workshop) -> None:
        wanted = bytearray(DISK)
        wanted[65536:131072] = b"\x55" * 65536
        top = self.chain(work)
        details = open_path(top).container.details
        assert details["backing_file"] == "base.vmdk"
        assert details["parent_cid"] == open_path(work.folder / "base.vmdk").container.details["cid"]
        assert where_different(inside(top), bytes(wanted)) == []

    def test_missing(self, work: Workshop) -> None:
        top = self.chain(work)
        (work.folder / "base.vmdk").unlink()
        assert codes(open_path(top)) == ["missing-backing-file"]
        assert inside(top).read_at(65536, 65536) == b"\x55" * 65536
        with pytest.raises(ReadError):
            inside(top).read_at(0, 512)

    def test_one_that_has_been_changed_since_is_not_taken(self, work: Workshop) -> None:
        top, base = self.chain(work), work.folder / "base.vmdk"
        base.write_bytes(worded(base.read_bytes(), b"CID", b"0badf00d"))
        opened = open_path(top)
        assert codes(opened) == ["missing-backing-file"]
        assert "0badf00d" in opened.container.problems[0].message

    def test_a_disk_that_is_its_own_parent(self, work: Workshop) -> None:
        top = self.chain(work)
        cid = str(open_path(top).container.details["cid"]).encode()
        data = top.read_bytes().replace(b'Hint="base.vmdk"', b'Hint="top.vmdk" ', 1)
        top.write_bytes(worded(data, b"parentCID", cid))
        opened = open_path(top)
        assert codes(opened) == ["missing-backing-file"]
        assert "leads back" in opened.container.problems[0].message


def worded(image: bytes, key: bytes, value: bytes) -> bytes:
    """The image with another value in its descriptor, and all else in its place.

    qemu-img writes numbers without leading zeros: one in sixteen is shorter than the others.
    """
    found = re.search(rb"^" + key + rb"=([0-9a-f]+)$", image, re.MULTILINE)
    assert found is not None
    area = image.index(b"\0", found.end())
    longer = len(value) - len(found[1])
    # Zeros follow the descriptor: as many go, or come, as it is longer or shorter now.
    assert image[area : area + 16] == bytes(16)
    words = image[: found.start(1)] + value + image[found.end(1) : area]
    return words + bytes(max(0, -longer)) + image[area + max(0, longer) :]


@pytest.mark.parametrize("cid", [b"1", b"0badf00", b"0badf00d"])
def test_numbers_of_any_length_are_changed_in_place(cid: bytes) -> None:
    image = b"# Disk\nCID=" + cid + b"\nparentCID=ffffffff\n" + bytes(500) + b"extent"
    changed = worded(worded(image, b"CID", b"12345678"), b"parentCID", b"7")
    assert changed.startswith(b"# Disk\nCID=12345678\nparentCID=7\n\0")
    assert (len(changed), changed[-6:]) == (len(image), b"extent")


class TestHostileHeader:
    @pytest.mark.parametrize(
        ("at", "form", "value"),
        [
            (CAPACITY, "<Q", 0),
            (GRAIN, "<Q", 0),
            (GRAIN, "<Q", 3),
            (GRAIN, "<Q", 1 << 40),
            (PER_TABLE, "<I", 0),
            (PER_TABLE, "<I", 0xFFFFFFFF),
            (4, "<I", 99),
        ],
    )
    def test_figures_that_cannot_be(self, work: Workshop, at: int, form: str, value: int) -> None:
        assert open_path(changed(made(work), at, form, value)).container.type == "raw"

    def test_a_capacity_of_any_size_takes_no_memory(self, work: Workshop) -> None:
        opened = open_path(changed(made(work), CAPACITY, "<Q", 1 << 50))
        assert opened.source is not None
        assert opened.source.read_at(0, 65536) == DISK[:65536]
        assert pyimount.detect(work.folder / "disk.vmdk").disks[0].size == 1 << 59

    def test_the_redundant_directory_is_used_where_the_first_is_lost(self, work: Workshop) -> None:
        image = changed(made(work), GD, "<Q", 1 << 40)
        assert codes(open_path(image)) == ["backup-used"]
        assert where_different(inside(image), DISK) == []

    def test_a_bomb_gives_one_grain_and_no_more(self, work: Workshop) -> None:
        image = made(work, "streamOptimized", disk=b"A" * 65536)
        data = bytearray(image.read_bytes())
        start = next(
            at for at in range(512, len(data), 512) if data[at + 12] == 0x78 and data[at : at + 8] == bytes(8)
        )
        bomb = zlib.compress(bytes(32 * MIB))
        data[start + 8 : start + 12] = struct.pack("<I", len(bomb))
        data[start + 12 : start + 12 + len(bomb)] = bomb
        image.write_bytes(data)
        with pytest.raises(ReadError, match="more than the 65536"):
            inside(image).read_at(0, 512)


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("variant", ["monolithicSparse", "streamOptimized"])
def test_a_truncated_image_gives_what_is_there(work: Workshop, variant: str, tenths: int) -> None:
    image = made(work, variant)
    data = image.read_bytes()
    image.write_bytes(data[: len(data) * tenths // 10])
    assert "truncated" in codes(open_path(image))
    source = inside(image)
    readable = 0
    for at in range(0, len(DISK), 65536):
        try:
            assert source.read_at(at, 65536) == DISK[at : at + 65536]
            readable += 1
        except ReadError:
            continue
    assert readable <= len(DISK) // 65536
    assert readable or tenths < 5


def test_cowd(tmp_path: Path) -> None:
    """By the description in libvmdk's documentation: a directory of tables of 4096 grains, a sector each."""
    grains = {5: b"five" * 128, 4100: b"late" * 128}
    head = vmdk_extents.COWD_HEADER.construct.build(
        {
            "magicNumber": b"COWD",
            "version": 1,
            "flags": 3,
            "numSectors": 8192,
            "grainSize": 1,
            "gdOffset": 4,
            "numGDEntries": 2,
            "freeSector": 72,
            "parentFileName": bytes(1024),
        }
    )
    tables = [[0] * 4096, [0] * 4096]
    tables[0][5], tables[1][4] = 69, 70
    data = head.ljust(4 * 512, b"\0") + struct.pack("<2I", 5, 37).ljust(512, b"\0")
    data += b"".join(struct.pack("<4096I", *table) for table in tables) + grains[5] + grains[4100]
    (tmp_path / "disk-delta.vmdk").write_bytes(data)
    wanted = bytearray(8192 * 512)
    for number, content in grains.items():
        wanted[number * 512 : number * 512 + 512] = content
    opened = open_path(tmp_path / "disk-delta.vmdk")
    assert opened.container.details["variant"] == "COWD"
    assert where_different(inside(tmp_path / "disk-delta.vmdk"), bytes(wanted)) == []
    image = descriptor(tmp_path, 'RW 8192 VMFSSPARSE "disk-delta.vmdk"', createType="vmfsSparse")
    assert codes(open_path(image)) == []
    assert where_different(inside(image), bytes(wanted)) == []


def test_sesparse_reads_as_dissect_reads_it(tmp_path: Path) -> None:
    names = [each.name for each in vmdk_extents.SESPARSE_HEADER.construct.subcons]
    fields = dict.fromkeys(names, 0) | {
        "magicNumber": 0xCAFEBABE,
        "version": 0x200000001,
        "capacity": 16384,
        "grainSize": 8,
        "grainTableSize": 64,
        "reserved": bytes(32),
        "grainDirectoryOffset": 2,
        "grainDirectorySize": 1,
        "grainTablesOffset": 4,
        "grainTablesSize": 64,
        "grainsOffset": 72,
    }
    head = vmdk_extents.SESPARSE_HEADER.construct.build(fields)
    directory = struct.pack("<Q", 0x10000000 << 32).ljust(1024, b"\0")
    table = [0] * 4096
    table[1], table[2], table[3] = 3 << 60, 2 << 60, 3 << 60 | 1 << 48
    data = head.ljust(1024, b"\0") + directory + struct.pack("<4096Q", *table)
    data = data.ljust(72 * 512, b"\0") + b"a" * 4096 + b"b" * 4096
    path = tmp_path / "disk-sesparse.vmdk"
    path.write_bytes(data)
    wanted = (bytes(4096) + b"a" * 4096 + bytes(4096) + b"b" * 4096).ljust(16384 * 512, b"\0")
    with path.open("rb") as file:
        assert SparseDisk(file).read_sectors(0, 64) == wanted[: 64 * 512]
    source = inside(path)
    assert source.size == len(wanted)
    assert source.read_at(0, 65536) == wanted[:65536]


def test_a_content_id_without_its_leading_zeros_is_the_same() -> None:
    from pyimount.parsers.containers.vmdk_descriptor import _content_id

    assert _content_id("3A0E437") == _content_id("03a0e437") == "03a0e437"
    assert _content_id("") is None
