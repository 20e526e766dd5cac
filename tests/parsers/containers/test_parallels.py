"""Parallels hard disks as qemu-img writes them, and folders by the descriptor's specification."""

import struct
from pathlib import Path

import pytest
from dissect.hypervisor.disk.hdd import HDS

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.recipes.parallels import BASE, NONE, descriptor
from fixtures.workshop import Workshop
from pyimount.parsers.containers import parallels
from pyimount.sources.errors import ReadError
from tests.needing import needs

MIB = 1 << 20
DISK = mixed_bytes(3 * MIB // 2)
SECTORS = len(DISK) // 512
TOP = "{11111111-2222-3333-4444-555555555555}"

# Where the header has them.
TRACKS, ENTRIES, SIZE, IN_USE = 28, 32, 36, 44


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    needs("qemu-img", "qemu-io")
    return Workshop(tmp_path)


def made(work: Workshop, name: str = "disk.hdd", disk: bytes = DISK, cluster: int = 65536) -> Path:
    raw, image = work.folder / "disk.raw", work.folder / name
    raw.write_bytes(disk)
    options = f"cluster_size={cluster}"
    work.run("qemu-img", "convert", "-f", "raw", "-O", "parallels", "-o", options, raw, image)
    raw.unlink()
    return image


def folder(work: Workshop, *images: tuple[str, str, str], top: str = "") -> Path:
    shots = [(BASE, NONE), *([(TOP, BASE)] if len(images) > 1 else [])]
    about = work.folder / "DiskDescriptor.xml"
    about.write_text(descriptor(SECTORS, list(images), shots, top))
    return about


def changed(image: Path, at: int, form: str, *values: int) -> Path:
    data = bytearray(image.read_bytes())
    struct.pack_into(form, data, at, *values)
    image.write_bytes(data)
    return image


@pytest.mark.parametrize("cluster", [4096, 65536, MIB])
def test_the_disk_inside_is_the_one_that_was_put_there(work: Workshop, cluster: int) -> None:
    image = made(work, cluster=cluster)
    opened = open_path(image)
    assert codes(opened) == []
    assert opened.container.details["cluster_size"] == cluster
    assert where_different(inside(image), DISK) == []


def test_dissect_reads_the_same(work: Workshop) -> None:
    image = made(work)
    with image.open("rb") as file:
        assert HDS(file).read(len(DISK)) == inside(image).read_at(0, len(DISK))


def test_the_older_signature_counts_sectors(work: Workshop) -> None:
    image = made(work)
    data = bytearray(image.read_bytes())
    data[:16] = parallels.OLD
    data[SIZE + 4 : SIZE + 8] = b"\xff" * 4  # no part of the size there
    count = struct.unpack_from("<I", data, ENTRIES)[0]
    for at in range(64, 64 + 4 * count, 4):
        struct.pack_into("<I", data, at, struct.unpack_from("<I", data, at)[0] * 128)
    image.write_bytes(data)
    work.run("qemu-img", "convert", "-f", "parallels", "-O", "raw", image, "judge.raw")
    assert (work.folder / "judge.raw").read_bytes() == DISK
    assert where_different(inside(image), DISK) == []


class TestFolder:
    def test_by_its_descriptor_or_an_image_in_it(self, work: Workshop) -> None:
        image = made(work, "disk.hds")
        about = folder(work, (BASE, "Compressed", "disk.hds"))
        for path in (about, image):
            opened = open_path(path)
            assert codes(opened) == []
            assert opened.container.details["variant"] == "bundle"
            assert opened.container.details["name"] == "evidence"
            assert where_different(inside(path), DISK) == []

    def test_the_folder_itself(self, work: Workshop) -> None:
        made(work, "disk.hds")
        folder(work, (BASE, "Compressed", "disk.hds"))
        assert pyimount.detect(work.folder).disks[0].size == len(DISK)

    def test_a_plain_image(self, work: Workshop) -> None:
        (work.folder / "disk.hds").write_bytes(DISK)
        assert where_different(inside(folder(work, (BASE, "Plain", "disk.hds"))), DISK) == []

    @pytest.mark.parametrize("kind", ["Compressed", "Plain"])
    def test_a_snapshot_lies_over_its_parent(self, work: Workshop, kind: str) -> None:
        if kind == "Plain":
            (work.folder / "base.hds").write_bytes(DISK)
        else:
            made(work, "base.hds")
        over = mixed_bytes(len(DISK), seed=5)[: 2 * 65536].ljust(len(DISK), b"\0")
        made(work, "top.hds", over, cluster=4096)
        about = folder(work, (BASE, kind, "base.hds"), (TOP, "Compressed", "top.hds"), top=TOP)
        wanted = b"".join(
            over[at : at + 4096] if any(over[at : at + 4096]) else DISK[at : at + 4096]
            for at in range(0, len(DISK), 4096)
        )
        for path in (about, work.folder / "top.hds"):
            assert codes(open_path(path)) == []
            assert where_different(inside(path), wanted) == []
        if kind == "Compressed":
            assert where_different(inside(work.folder / "base.hds"), DISK) == []

    def test_a_missing_image(self, work: Workshop) -> None:
        made(work, "top.hds", b"top." * 16384 + bytes(len(DISK) - 65536))
        about = folder(work, (BASE, "Plain", "gone.hds"), (TOP, "Compressed", "top.hds"), top=TOP)
        assert codes(open_path(about)) == ["missing-backing-file"]
        assert inside(about).read_at(0, 65536) == b"top." * 16384
        with pytest.raises(ReadError, match="missing"):
            inside(about).read_at(65536, 1)

    @pytest.mark.parametrize("name", ["/etc/passwd", "../base.hds", "..\\base.hds", "", "/dev/zero"])
    def test_a_name_is_only_looked_for_beside_the_descriptor(self, work: Workshop, name: str) -> None:
        own = work.folder / "own"
        own.mkdir()
        (work.folder / "base.hds").write_bytes(DISK)
        about = folder(work, (BASE, "Plain", name)).rename(own / "DiskDescriptor.xml")
        assert codes(open_path(about)) == ["missing-backing-file"]

    def test_snapshots_in_a_circle(self, work: Workshop) -> None:
        made(work, "disk.hds")
        about = work.folder / "DiskDescriptor.xml"
        images = [(BASE, "Compressed", "disk.hds"), (TOP, "Compressed", "disk.hds")]
        about.write_text(descriptor(SECTORS, images, [(BASE, TOP), (TOP, BASE)], TOP))
        opened = open_path(about)
        assert opened.source is None
        assert codes(opened) == ["damaged"]

    @pytest.mark.parametrize(
        "text",
        [
            '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
            '<?xml version="1.0"?><html/>',
            '<?xml version="1.0"?><Parallels_disk_image>',
            '<?xml version="1.0"?><Parallels_disk_image/>',
            '<?xml version="1.0"?>' + "<Parallels_disk_image>" * 20000,
            '<?xml version="1.0"?><Parallels_disk_image>' + "<StorageData>" * 20000,
            '<?xml version="1.0"?><Parallels_disk_image>'
            + "<Shot></Shot>" * 20000
            + "</Parallels_disk_image>",
            '<?xml version="1.0"?><!--' + "-" * 900000,
        ],
        ids=["entities", "html", "open", "empty", "deep", "nested", "many", "comment"],
    )
    def test_xml_that_is_no_descriptor(self, tmp_path: Path, text: str) -> None:
        about = tmp_path / "DiskDescriptor.xml"
        about.write_text(text)
        assert open_path(about).container.type == "raw"

    def test_encrypted(self, work: Workshop) -> None:
        made(work, "disk.hds")
        about = folder(work, (BASE, "Compressed", "disk.hds"))
        engine = "{ac8c51b1-0000-4000-8000-000000000001}"
        about.write_text(about.read_text().replace(f"<Engine>{NONE}", f"<Engine>{engine}"))
        opened = open_path(about)
        assert opened.source is None
        assert codes(opened) == ["unsupported"]


class TestHostileHeader:
    @pytest.mark.parametrize(("at", "value"), [(16, 3), (TRACKS, 0), (TRACKS, 0xFFFFFFFF)])
    def test_figures_that_cannot_be(self, work: Workshop, at: int, value: int) -> None:
        assert open_path(changed(made(work), at, "<I", value)).container.type == "raw"

    def test_a_table_of_any_length_takes_no_memory(self, work: Workshop) -> None:
        opened = open_path(changed(made(work, cluster=4096), ENTRIES, "<I", 0xFFFFFFFF))
        assert opened.source is not None
        assert where_different(opened.source, DISK) == []

    def test_a_table_that_is_too_short(self, work: Workshop) -> None:
        opened = open_path(changed(made(work), SIZE, "<Q", 1 << 50))
        assert codes(opened) == ["damaged"]
        assert opened.source is not None
        assert opened.source.read_at(0, 65536) == DISK[:65536]
        with pytest.raises(ReadError):
            opened.source.read_at(1 << 50, 1)

    def test_in_use(self, work: Workshop) -> None:
        image = made(work)
        assert open_path(image).container.details["in_use"] is False
        assert open_path(changed(image, IN_USE, "<I", parallels.IN_USE)).container.details["in_use"] is True


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_image_gives_what_is_there(work: Workshop, tenths: int) -> None:
    image = made(work)
    data = image.read_bytes()
    image.write_bytes(data[: len(data) * tenths // 10])
    assert codes(open_path(image)) == ["truncated"]
    source = inside(image)
    readable = 0
    for at in range(0, len(DISK), 65536):
        try:
            assert source.read_at(at, 65536) == DISK[at : at + 65536]
            readable += 1
        except ReadError:
            continue
    assert 0 < readable < len(DISK) // 65536
