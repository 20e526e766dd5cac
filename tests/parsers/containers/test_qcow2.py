"""QCOW2 as qemu-img and qemu-io write it; dissect.hypervisor is the second opinion."""

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
from dissect.hypervisor.disk.qcow2 import QCow2

import pyimount
from fixtures.comparing import codes, inside, mixed_bytes, open_path, where_different
from fixtures.workshop import Workshop
from pyimount.parsers.containers import qcow2
from pyimount.sources.errors import ReadError
from tests.needing import needs

MIB = 1 << 20
DISK = mixed_bytes(3 * MIB // 2 + 7 * 512)

# Where the header has them.
CLUSTER_BITS, SIZE, CRYPT, L1_SIZE, L1_TABLE, FEATURES = 20, 24, 32, 36, 40, 72


@pytest.fixture
def work(tmp_path: Path) -> Workshop:
    needs("qemu-img", "qemu-io")
    return Workshop(tmp_path)


def made(work: Workshop, *options: str, disk: bytes = DISK, name: str = "disk.qcow2") -> Path:
    raw, image = work.folder / "disk.raw", work.folder / name
    raw.write_bytes(disk)
    work.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, image)
    return image


def over(work: Workshop, base: str, kind: str, *more: str, name: str = "top.qcow2", size: str = "") -> Path:
    image = work.folder / name
    sizes = (size,) if size else ()
    work.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", kind, *more, image, *sizes)
    return image


def changed(image: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(image.read_bytes())
    change(data)
    image.write_bytes(data)
    return image


def put(at: int, form: str, *values: int) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into(form, data, at, *values)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-o", "compat=0.10"),
        ("-c", "-o", "compat=0.10"),
        ("-c",),
        ("-c", "-o", "cluster_size=512"),
        ("-c", "-o", "cluster_size=2M"),
        ("-o", "cluster_size=2M,preallocation=metadata"),
        ("-c", "-o", "compression_type=zstd"),
        ("-o", "extended_l2=on"),
        ("-c", "-o", "extended_l2=on,cluster_size=16k"),
        ("-o", "data_file=data.bin"),
        ("-o", "data_file=data.bin,data_file_raw=on"),
        ("-o", "refcount_bits=1"),
        ("-o", "refcount_bits=64"),
    ],
    ids=" ".join,
)
def test_the_disk_inside_is_the_one_that_was_put_there(work: Workshop, options: tuple[str, ...]) -> None:
    image = made(work, *options)
    assert codes(open_path(image)) == []
    assert where_different(inside(image), DISK) == []


def test_dissect_reads_the_same(work: Workshop) -> None:
    image = made(work, "-c")
    with image.open("rb") as file:
        assert QCow2(file).open().read() == inside(image).read_at(0, len(DISK))


def test_many_threads_read_the_same(work: Workshop) -> None:
    source = inside(made(work, "-c"))
    with ThreadPoolExecutor(8) as pool:
        runs = [(at % len(DISK), 50000) for at in range(0, 20 * MIB, 333333)]
        read = pool.map(lambda run: source.read_at(*run), runs)
        assert all(data == DISK[at : at + length] for data, (at, length) in zip(read, runs, strict=True))


def test_the_header_is_told(work: Workshop) -> None:
    image = made(work, "-o", "lazy_refcounts=on,refcount_bits=32,cluster_size=4096")
    work.run("qemu-img", "snapshot", "-c", "first", image)
    work.run("qemu-img", "snapshot", "-c", "second", image)
    work.run("qemu-img", "bitmap", "--add", image, "changes")
    details = open_path(image).container.details
    assert details["version"] == 3
    assert details["cluster_size"] == 4096
    assert details["refcount_bits"] == 32
    assert details["features"] == ["lazy_refcounts", "bitmaps"]
    assert details["bitmap_count"] == 1
    assert details["snapshot_count"] == 2
    snapshots = details["snapshots"]
    assert isinstance(snapshots, list)
    assert [
        (entry["id"], entry["name"], entry["size"]) for entry in snapshots if isinstance(entry, dict)
    ] == [
        ("1", "first", len(DISK)),
        ("2", "second", len(DISK)),
    ]


class TestBackingFile:
    @pytest.mark.parametrize("options", [(), ("-o", "extended_l2=on,cluster_size=64k")])
    def test_shows_through(self, work: Workshop, options: tuple[str, ...]) -> None:
        made(work, "-o", "cluster_size=4096", name="base.qcow2")
        top = over(work, "base.qcow2", "qcow2", *options, size=str(len(DISK) + MIB))
        writes = (
            *("-c", "write -q -P 85 5000 9000"),
            *("-c", "write -q -z 512k 128k"),
            *("-c", "write -q -P 1 1M 2k"),
        )
        work.run("qemu-io", *writes, top)
        work.run("qemu-img", "convert", "-O", "raw", top, "judge.raw")
        judge = (work.folder / "judge.raw").read_bytes()
        assert judge[len(DISK) :] == bytes(MIB)  # the backing disk ends before
        assert where_different(inside(top), judge) == []

    def test_missing(self, work: Workshop) -> None:
        made(work, name="base.qcow2")
        top = over(work, "base.qcow2", "qcow2")
        work.run("qemu-io", "-c", "write -q -P 85 0 64k", top)
        (work.folder / "base.qcow2").unlink()
        assert codes(open_path(top)) == ["missing-backing-file"]
        assert inside(top).read_at(0, 65536) == b"\x55" * 65536
        with pytest.raises(ReadError):
            inside(top).read_at(65536, 1)

    def test_outside_the_folder_only_where_allowed(self, work: Workshop) -> None:
        other, own = work.folder / "other", work.folder / "own"
        other.mkdir()
        own.mkdir()
        base = made(work).rename(other / "base.qcow2")
        for name in ("../other/base.qcow2", str(base)):
            top = over(work, str(base), "qcow2", name="own/top.qcow2")
            work.run("qemu-img", "rebase", "-u", "-b", name, "-F", "qcow2", top)
            assert codes(open_path(top)) == ["missing-backing-file"]
            assert where_different(inside(top, allow=(other,)), DISK) == []

    @pytest.mark.parametrize(
        "name", ["/etc/passwd", "../../etc/passwd", "/dev/zero", "json:{}", "nbd://host/x", ".", "..", "x\0y"]
    )
    def test_any_name_is_only_looked_for_beside_the_image(self, work: Workshop, name: str) -> None:
        made(work, name="base.qcow2")
        top = over(work, "base.qcow2", "raw")
        place = struct.unpack_from(">Q", top.read_bytes(), 8)[0]
        raw = name.encode()

        def rename(data: bytearray) -> None:
            struct.pack_into(">I", data, 16, len(raw))
            data[place : place + len(raw)] = raw

        assert codes(open_path(changed(top, rename))) == ["missing-backing-file"]

    @pytest.mark.parametrize("length", [1, 2, 5])
    def test_a_chain_that_leads_back_ends(self, work: Workshop, length: int) -> None:
        base = made(work, name="0.qcow2")
        for number in range(1, length + 1):
            over(work, f"{number - 1}.qcow2", "qcow2", name=f"{number}.qcow2")
        base.unlink()
        (work.folder / f"{length}.qcow2").rename(base)  # the last is the first's own base
        opened = open_path(base)
        assert "missing-backing-file" in codes(opened)
        assert any("leads back" in problem.message for problem in opened.container.problems)
        assert opened.source is not None
        with pytest.raises(ReadError):
            opened.source.read_at(0, 512)

    def test_a_long_chain_is_followed_as_far_as_it_may_be(
        self, work: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(work, name="0.qcow2")
        for number in range(1, 51):
            over(work, f"{number - 1}.qcow2", "qcow2", name=f"{number}.qcow2")
        assert where_different(inside(work.folder / "50.qcow2"), DISK) == []
        monkeypatch.setattr("pyimount.recognition.opening._CHAIN_CAP", 20)
        assert "missing-backing-file" in codes(open_path(work.folder / "50.qcow2"))

    def test_a_raw_one_is_never_read_as_anything_else(self, work: Workshop) -> None:
        """Its first bytes are the guest's, who may write there a header that names a file of the host."""
        trap = made(work, name="trap.qcow2")
        top = over(work, "trap.qcow2", "raw")
        assert inside(top).read_at(0, 4) == b"QFI\xfb"
        assert where_different(inside(top), trap.read_bytes()) == []

    @pytest.mark.parametrize(
        "name",
        [
            "file:base.qcow2",
            'json:{"driver": "qcow2", "file": {"driver": "file", "filename": "base.qcow2"}}',
            'json:{"driver": "qcow2", "file.driver": "file", "file.filename": "base.qcow2"}',
            'json:{"file.filename": "base.qcow2"}',
            'json:{"driver": "qcow2", "file": {"filename": "base.qcow2"}}',
        ],
    )
    def test_other_ways_to_name_it(self, work: Workshop, name: str) -> None:
        base = made(work, name="base.qcow2")
        top = over(work, name, "qcow2", "-u", size=str(len(DISK)))
        assert codes(open_path(top)) == []
        assert where_different(inside(top), DISK) == []
        absolute = over(
            work, name.replace("base", str(base.with_suffix(""))), "qcow2", "-u", size=str(len(DISK))
        )
        work.run("qemu-img", "convert", "-O", "raw", absolute, "judge.raw")
        assert where_different(inside(absolute), (work.folder / "judge.raw").read_bytes()) == []

    @pytest.mark.parametrize(
        ("options", "start", "end"),
        [
            ('"driver": "raw", "file": {"driver": "file", "filename": "base.qcow2"}', 0, None),
            ('"driver": "file", "filename": "base.qcow2"', 0, None),
            ('"driver": "raw", "offset": 65536, "file.filename": "base.qcow2"', 65536, None),
            ('"driver": "raw", "offset": 512, "size": 4096, "file.filename": "base.qcow2"', 512, 4608),
        ],
    )
    def test_a_raw_one_by_its_options(
        self, work: Workshop, options: str, start: int, end: int | None
    ) -> None:
        base = made(work, name="base.qcow2").read_bytes()
        top = over(work, f"json:{{{options}}}", "raw", "-u", size=str(len(DISK)))
        wanted = base[start:end]
        source = inside(top)
        assert source.read_at(0, len(wanted)) == wanted[: source.size]
        assert source.read_at(len(wanted), 4096) == bytes(len(source.read_at(len(wanted), 4096)))

    @pytest.mark.parametrize(
        "name",
        [
            "http://host/base.qcow2",
            "https://host/base.qcow2",
            "ssh://host/base.qcow2",
            "nbd:host:10809:exportname=base.qcow2",
            "fat:base.qcow2",
            "host_device:base.qcow2",
            "file:/dev/base.qcow2",
            "/dev/base.qcow2",
            "//./base.qcow2",
            'json:{"driver": "nbd", "path": "base.qcow2"}',
            'json:{"driver": "qcow2", "file": {"driver": "host_device", "filename": "base.qcow2"}}',
            'json:{"driver": "qcow2", "file": {"driver": "https", "url": "https://host/base.qcow2"}}',
            'json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/dev/base.qcow2"}}',
            'json:{"driver": "quorum", "children": [{"filename": "base.qcow2"}]}',
            'json:{"driver": "qcow2", "file": "base.qcow2"}',
            'json:["base.qcow2"]',
            "json:" + "[" * 900,
        ],
    )
    def test_a_url_or_a_device_is_never_opened(self, work: Workshop, name: str) -> None:
        """Though a file of its last part lies beside the image."""
        made(work, name="base.qcow2")
        top = over(work, "x" * len(name), "qcow2", "-u", size=str(len(DISK)))
        opened = open_path(
            changed(
                top,
                lambda data: data.__setitem__(slice(0, None), data.replace(b"x" * len(name), name.encode())),
            )
        )
        assert codes(opened) == ["missing-backing-file"]


class TestDataFile:
    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("file:data.bin", True),
            ('json:{"driver": "file", "filename": "data.bin"}', True),
            ('json:{"driver": "raw", "file.filename": "data.bin"}', True),
            ("http://host/data.bin", False),
            ('json:{"driver": "host_device", "filename": "data.bin"}', False),
        ],
    )
    def test_other_ways_to_name_it(self, work: Workshop, name: str, found: bool) -> None:
        plain = "d" * len(name)
        image = made(work, "-o", f"data_file={plain}")
        (work.folder / plain).rename(work.folder / "data.bin")
        image.write_bytes(image.read_bytes().replace(plain.encode(), name.encode()))
        assert codes(open_path(image)) == ([] if found else ["missing-backing-file"])
        if found:
            assert where_different(inside(image), DISK) == []

    def test_missing(self, work: Workshop) -> None:
        image = made(work, "-o", "data_file=data.bin")
        (work.folder / "data.bin").unlink()
        opened = open_path(image)
        assert codes(opened) == ["missing-backing-file"]
        assert opened.container.details["data_file"] == "data.bin"
        first = next(at for at in range(0, len(DISK), 65536) if any(DISK[at : at + 65536]))
        with pytest.raises(ReadError, match="data file"):
            inside(image).read_at(first, 512)


class TestUnsupported:
    @pytest.mark.parametrize(("method", "name"), [(1, "aes"), (2, "luks"), (7, "method 7")])
    def test_encrypted(self, work: Workshop, method: int, name: str) -> None:
        image = changed(made(work), put(CRYPT, ">I", method))
        opened = open_path(image)
        assert opened.source is None
        assert opened.container.details["encryption"] == name
        assert codes(opened) == ["unsupported"]
        assert pyimount.detect(image).to_dict()["disks"][0]["size"] is None

    def test_encrypted_by_qemu(self, work: Workshop) -> None:
        image = work.folder / "disk.qcow2"
        work.run(
            *("qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=secret"),
            *("-o", "encrypt.format=aes,encrypt.key-secret=s", image, "1M"),
        )
        assert open_path(image).container.details["encryption"] == "aes"

    def test_a_feature_that_is_not_known(self, work: Workshop) -> None:
        opened = open_path(changed(made(work), put(FEATURES, ">Q", 1 << 40)))
        assert opened.source is None
        assert codes(opened) == ["unsupported"]

    def test_zstd_without_a_library(self, work: Workshop) -> None:
        image = made(work, "-c", "-o", "compression_type=zstd")
        with patch.object(qcow2, "zstd_library", return_value=None):
            opened = open_path(image)
        assert opened.container.details["compression"] == "zstd"
        assert codes(opened) == ["unsupported"]
        assert opened.source is not None
        text = DISK.index(b"bottles")
        with pytest.raises(ReadError, match="zstd"):
            opened.source.read_at(text, 7)


class TestHostileHeader:
    @pytest.mark.parametrize("bits", [0, 8, 22, 63, 0xFFFFFFFF])
    def test_clusters_of_impossible_size(self, work: Workshop, bits: int) -> None:
        assert open_path(changed(made(work), put(CLUSTER_BITS, ">I", bits))).container.type == "raw"

    @pytest.mark.parametrize("entries", [0, 1 << 31, 0xFFFFFFFF])
    def test_a_first_table_of_any_length_takes_no_memory(self, work: Workshop, entries: int) -> None:
        opened = open_path(changed(made(work), put(L1_SIZE, ">I", entries)))
        assert opened.source is not None
        if entries:
            assert where_different(opened.source, DISK) == []
        else:
            assert codes(opened) == ["damaged"]
            with pytest.raises(ReadError):
                opened.source.read_at(0, 1)

    def test_a_disk_of_any_size(self, work: Workshop) -> None:
        opened = open_path(changed(made(work), put(SIZE, ">Q", (1 << 64) - 512)))
        # Its first table is too short for that, and no file is so long: two things that are wrong.
        assert [problem.code for problem in opened.container.problems] == ["damaged", "damaged"]
        short, impossible = (problem.message for problem in opened.container.problems)
        assert "too few" in short
        assert "more than any file" in impossible
        assert opened.source is not None
        assert opened.source.size == (1 << 63) - 1
        assert opened.source.read_at(0, MIB) == DISK[:MIB]
        with pytest.raises(ReadError):
            opened.source.read_at((1 << 63) - 512, 511)

    @pytest.mark.parametrize("place", [1, 1 << 40, (1 << 64) - 1])
    def test_a_first_table_anywhere(self, work: Workshop, place: int) -> None:
        opened = open_path(changed(made(work), put(L1_TABLE, ">Q", place)))
        assert opened.source is not None
        try:
            opened.source.read_at(0, 4096)
        except ReadError:
            pass
        else:
            assert place == 1

    def test_tables_that_point_at_themselves(self, work: Workshop) -> None:
        image = made(work)
        at = struct.unpack_from(">Q", image.read_bytes(), L1_TABLE)[0]
        opened = open_path(changed(image, put(at, ">Q", at | 1 << 63)))
        assert opened.source is not None
        assert opened.source.read_at(0, 512) == image.read_bytes()[at : at + 512]

    def test_snapshots_beyond_counting(self, work: Workshop) -> None:
        image = made(work)
        work.run("qemu-img", "snapshot", "-c", "one", image)
        opened = open_path(changed(image, put(60, ">I", 0xFFFFFFFF)))
        assert opened.container.details["snapshot_count"] == 0xFFFFFFFF
        assert opened.source is not None


def test_a_bomb_gives_one_cluster_and_no_more(work: Workshop) -> None:
    image = made(work, "-c", "-o", "cluster_size=2M", disk=b"A" * 2 * MIB)
    packer = zlib.compressobj(1, zlib.DEFLATED, -12)
    bomb = packer.compress(bytes(64 * MIB)) + packer.flush()
    data = bytearray(image.read_bytes())
    l1 = struct.unpack_from(">Q", data, L1_TABLE)[0]
    l2 = struct.unpack_from(">Q", data, l1)[0] & qcow2.OFFSET
    at = len(data) + 511 & ~511
    struct.pack_into(">Q", data, l2, qcow2.COMPRESSED | (len(bomb) // 512) << 49 | at)
    image.write_bytes(bytes(data).ljust(at, b"\0") + bomb)
    assert where_different(inside(image), bytes(2 * MIB)) == []


@pytest.mark.parametrize("options", [(), ("-c",)])
@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_image_gives_what_is_there(work: Workshop, tenths: int, options: tuple[str, ...]) -> None:
    image = made(work, *options, "-o", "cluster_size=4096")
    data = image.read_bytes()
    image.write_bytes(data[: len(data) * tenths // 10])
    assert "truncated" in codes(open_path(image))
    source = inside(image)
    readable = 0
    for at in range(0, len(DISK), 4096):
        try:
            assert source.read_at(at, 4096) == DISK[at : at + 4096]
            readable += 1
        except ReadError:
            continue
    assert readable < len(DISK) // 4096
    assert readable or tenths < 5
