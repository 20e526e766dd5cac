"""Images elsewhere: the same as here from servers that do as they should, and one true line about others."""

import io
import json
import mmap
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pyimount
from fixtures.recipes import aff4, ewf
from fixtures.workshop import fixtures
from pyimount.cli import main
from pyimount.problems import Code
from pyimount.sources import http, urls
from pyimount.sources.remote import BLOCK, RemoteSource
from tests.benchmarks import link
from tests.kept import kept
from tests.sources.web import serving

pytest.importorskip("aiohttp")
fsspec = pytest.importorskip("fsspec")
TOP = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WAITS", (0.01, 0.01))


def files_of(name: str, folder: Path) -> dict[str, bytes]:
    fixture = next(each for each in fixtures() if each.name == name)
    fixture.unpack(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def volumes(scan: pyimount.Scan) -> object:
    return scan.to_dict()["disks"][0]["volumes"]


@pytest.mark.parametrize(
    "name", ["gpt", "ext4", "ewf-segments", "qcow2-compressed", "split", "lvm2", "gzip-qcow2"]
)
def test_what_is_elsewhere_is_as_it_is_here(name: str, tmp_path: Path) -> None:
    files = files_of(name, tmp_path)
    first = min(files)
    here = pyimount.detect(tmp_path / first)
    with serving(files) as server:
        there = pyimount.detect(server.url(first))
        assert volumes(there) == volumes(here)
        assert there.disks[0].container == here.disks[0].container
        assert there.disks[0].problems == here.disks[0].problems
        assert there.disks[0].paths == tuple(
            server.url(each) for each in sorted(files)[: len(here.disks[0].paths)]
        )


def test_no_place_is_asked_for_twice(tmp_path: Path) -> None:
    with serving({"disk.img": bytes(kept("gpt"))}) as server:
        pyimount.detect(server.url("disk.img"))
        ranges = [headers["Range"] for _, headers in server.seen]
        assert len(set(ranges)) == len(ranges)


@pytest.mark.parametrize("fault", ["", "mixed", "single", "mute", "torn", "untagged"])
def test_many_ranges_at_once_give_what_one_by_one_gives(fault: str, tmp_path: Path) -> None:
    image = large_disk()
    with serving({"disk.img": image}, *filter(None, [fault])) as server:
        assert volumes(pyimount.detect(server.url("disk.img"))) == volumes(pyimount.detect(image))
        if fault in ("", "mixed"):
            assert server.requests <= 20
            assert server.sent < len(image) // 4


@pytest.mark.needs("qemu-img")
def test_through_a_container_as_well(tmp_path: Path) -> None:
    raw, made = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(large_disk())
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, made], check=True)
    with serving({"disk.qcow2": made.read_bytes()}) as server:
        assert volumes(pyimount.detect(server.url("disk.qcow2"))) == volumes(pyimount.detect(raw))
        assert server.requests <= 20


@pytest.mark.needs("sfdisk", "ewfacquire", "qemu-img")
def test_a_disk_of_many_volumes_takes_few_requests(tmp_path: Path) -> None:
    """14 volumes in 1.8 GiB, whatever they are wrapped in; ``make bench`` has the time that this takes."""
    raw = link.disk(tmp_path)
    here = [(each.type, each.uuid, each.size) for each in pyimount.detect(raw).volumes]
    assert len(here) > len(link.PARTS)
    for _, path in link.wrapped(raw):
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            serving({path.name: data}) as server,
        ):
            scan = pyimount.detect(server.url(path.name))
            assert [(each.type, each.uuid, each.size) for each in scan.volumes] == here
            assert server.requests <= link.REQUESTS
            assert server.sent < 16 << 20


def in_parts(disk: bytes, folder: Path) -> Path:
    for number in range(3):
        size = len(disk) // 3 + 512
        (folder / f"disk.{number + 1:03}").write_bytes(disk[number * size : (number + 1) * size])
    return folder / "disk.001"


def in_aff(disk: bytes, folder: Path) -> Path:
    raw = folder / "content.raw"
    raw.write_bytes(disk)
    subprocess.run(["affconvert", "-q", "-s1m", "-o", folder / "disk.aff", raw], check=True)
    raw.unlink()
    return folder / "disk.aff"


def in_file(name: str, build: Callable[[bytes], bytes]) -> Callable[[bytes, Path], Path]:
    def made(disk: bytes, folder: Path) -> Path:
        (folder / name).write_bytes(build(disk))
        return folder / name

    return made


WRAPPED = {
    "split": in_parts,
    "e01": in_file("disk.E01", lambda disk: b"".join(ewf.e01_image(disk))),
    "ex01": in_file("disk.Ex01", ewf.ex01_image),
    "aff4": lambda disk, folder: aff4.simple(folder / "disk.aff4", disk, "zlib"),
    "aff": pytest.param(in_aff, marks=pytest.mark.needs("affconvert")),
}


@pytest.mark.parametrize("made", WRAPPED.values(), ids=WRAPPED)
def test_what_is_expected_is_fetched_at_once_through_every_container(
    made: Callable[[bytes, Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aff4, "PER_BEVY", 1024)  # as its writers have it
    disk = large_disk(4 << 20, filled=True)
    first = made(disk, tmp_path)
    with serving({path.name: path.read_bytes() for path in tmp_path.iterdir()}) as server:
        scan = pyimount.detect(server.url(first.name))
        assert [(each.type, each.offset) for each in scan.volumes] == [
            (each.type, each.offset) for each in pyimount.detect(disk).volumes
        ]
        several = [each for _, each in server.seen if "," in each.get("Range", "")]
        assert several, "nothing was expected"


def large_disk(size: int = 32 << 20, *, filled: bool = False) -> bytes:
    """A disk with an MBR of four partitions of ``size`` bytes each, with a file system.

    ``filled``: what follows that does not become smaller when it is packed.
    """
    from struct import pack

    volume = bytes(kept("ext2"))[:size]
    left = size - len(volume)
    volume += random.Random(18).randbytes(left) if filled else bytes(left)  # noqa: S311
    entries = b"".join(
        pack("<B3sB3sII", 0, b"\0" * 3, 0x83, b"\0" * 3, (1 << 11) + number * size // 512, size // 512)
        for number in range(4)
    )
    return bytes(446) + entries + b"\x55\xaa" + bytes((1 << 20) - 512) + volume * 4


def test_segments_are_looked_for_only_beside_what_may_be_one(tmp_path: Path) -> None:
    with serving({"disk.img": bytes(kept("ext2"))}) as server:
        pyimount.detect(server.url("disk.img"))
        assert {path for path, _ in server.seen} == {"/disk.img"}


def test_a_server_that_lists_nothing_leaves_segments_missing(tmp_path: Path) -> None:
    files = files_of("ewf-segments", tmp_path)
    with serving(files, "unlisted") as server:
        scan = pyimount.detect(server.url("stick.E01"))
    assert Code.MISSING_SEGMENT in {problem.code for _, problem in scan.all_problems()}


PAGES = {
    "not whole": b"<a href='stick.E02' <a href=stick.E02><![x[",
    "no address": b"<a href='http://['>x</a><a href='//[/'>y</a><a href=stick.E02>",
    "shouted": b'<A HREF = "stick.E02">',
    "escaped": b'<a href="stick&#46;E02">',
    "whole address": b"<a href='/stick.E02'>",
    "not text": b"\xff\xfe<a href='stick.E02'>\x00",
    "elsewhere": b"<a href='http://127.0.0.2/stick.E02'><a href='below/stick.E02'><a href='../stick.E02'>",
    "costly": b"<!" * (1 << 20) + b"href=" * (1 << 18),
    "<a ": b"<a " * (1 << 20),
}


@pytest.mark.parametrize("page", PAGES)
def test_a_folders_page_may_be_anything(page: str, tmp_path: Path) -> None:
    files = files_of("ewf-segments", tmp_path)
    with serving(files) as server:
        server.page = b"<a href=stick.E01>" + PAGES[page]
        scan = pyimount.detect(server.url("stick.E01"))
        # The folder is the top one: ``..`` leads into it again.
        assert (server.url("stick.E02") in scan.disks[0].paths) == (page not in ("costly", "<a "))


FAULTS = {
    "whole": "sends no parts of files",
    "404": "is not there (404)",
    "403": "refuses access (403)",
    "500": "answers with 500",
    "sizeless": "does not say how large",
    "recodes": "recoded",
    "unnumbered": "not with what is asked for",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_opened_says_why_in_a_line(fault: str) -> None:
    with serving({"disk.img": bytes(kept("ext2"))}, fault) as server:
        scan = pyimount.detect(server.url("disk.img"))
    (disk,) = scan.disks
    assert (disk.size, scan.exit_status()) == (None, 1)
    (problem,) = disk.problems
    assert problem.code is Code.UNREADABLE
    assert problem.message.startswith(server.url("disk.img") + ": ")
    assert FAULTS[fault] in problem.message
    assert "\n" not in problem.message


LARGE = bytes(kept("ext2")) + bytes(4 * BLOCK)
READING = {
    "short": "bytes came",
    "breaks": "ended in the middle",
    "silent": "does not answer in time",
    "elsewhere": "the server sends",
}


@pytest.mark.parametrize("fault", READING)
def test_what_cannot_be_read_says_why_in_a_line(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "silent":
        monkeypatch.setattr(http, "SILENT_SECONDS", 0.3)
    with serving({"disk.img": LARGE}, fault) as server:
        source = RemoteSource.open(server.url("disk.img"))
        assert source.read_at(0, 4096) == LARGE[:4096]
        with pytest.raises(http.ReadError) as raised:
            source.read_at(BLOCK + 5, 4096)
        assert READING[fault] in str(raised.value)
        assert "\n" not in str(raised.value)
        assert pyimount.detect(server.url("disk.img")).exit_status(strict=True) != 0


def test_a_server_that_boasts_of_its_size_is_not_believed() -> None:
    with serving({"disk.img": LARGE}, "boasts") as server:
        source = RemoteSource.open(server.url("disk.img"))
        with pytest.raises(http.ReadError, match="changed while it was read: the server has another state"):
            source.read_at(source.size - 10, 10)


@pytest.mark.parametrize("fault", ["changes", "grows", "goes"])
@pytest.mark.parametrize("tagged", [True, False])
def test_what_changes_while_it_is_read_is_said_to(fault: str, *, tagged: bool) -> None:
    image = bytes(kept("gpt"))
    with serving({"disk.img": image}, fault, *([] if tagged else ["untagged"])) as server:
        scan = pyimount.detect(server.url("disk.img"))
    told = {problem.code for _, problem in scan.all_problems()}
    if (fault, tagged) == ("changes", False):
        return  # of the same size, and without a tag: nothing tells one from the other
    assert told & {Code.CHANGED, Code.READ_ERROR}
    assert (Code.CHANGED in told) == (fault != "goes")
    assert scan.exit_status(strict=True) != 0


def test_nothing_is_read_of_another_state() -> None:
    with serving({"disk.img": LARGE}, "changes") as server:
        source = RemoteSource.open(server.url("disk.img"))
        for number in (1, 3):
            source.read_at(number * BLOCK, 1)
        with pytest.raises(http.ReadError, match="changed while"):
            source.read_at(2 * BLOCK, 1)
        with pytest.raises(http.ReadError, match="changed while"):
            source.read_at(0, 1)
        assert "changed while" in (source.changed() or "")


def test_a_busy_server_is_asked_again() -> None:
    image = bytes(kept("gpt"))
    with serving({"disk.img": image}, "busy") as server:
        assert volumes(pyimount.detect(server.url("disk.img"))) == volumes(pyimount.detect(image))


def test_where_a_server_leads_is_gone_to_and_not_for_ever() -> None:
    image = bytes(kept("ext2"))
    with serving({"disk.img": image}) as server:
        assert volumes(pyimount.detect(server.url("moved/disk.img"))) == volumes(pyimount.detect(image))
        (problem,) = pyimount.detect(server.url("round")).disks[0].problems
        assert "from one address to the next" in problem.message


def test_no_server_and_no_package_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = pyimount.detect("http://127.0.0.1:9/disk.img").disks[0].problems
    assert "no connection" in problem.message
    (problem,) = pyimount.detect("nonsense://x/disk.img").disks[0].problems
    assert "nonsense" in problem.message
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    (problem,) = pyimount.detect("http://127.0.0.1:9/disk.img").disks[0].problems
    assert "pip install 'pyimount[remote]'" in problem.message


def test_what_an_image_names_is_not_asked_for_elsewhere(tmp_path: Path) -> None:
    files = files_of("qcow2-backing", tmp_path)
    with serving(files) as server:
        scan = pyimount.detect(server.url("disk.qcow2"))
        assert {path for path, _ in server.seen} == {"/disk.qcow2"}
    assert Code.MISSING_BACKING_FILE in {problem.code for _, problem in scan.all_problems()}


def test_a_url_in_an_image_is_no_url(tmp_path: Path) -> None:
    with serving({"base.img": bytes(1 << 20)}) as server:
        work = tmp_path / "disk.qcow2"
        name = server.url("base.img").encode()
        header = bytearray(kept("qcow2-backing"))
        header[8:20] = (512).to_bytes(8, "big") + len(name).to_bytes(4, "big")
        header[512 : 512 + len(name)] = name
        work.write_bytes(header)
        pyimount.detect(work)
        pyimount.detect(work, allow=["/"])
        assert server.seen == []


SECRET = "Zm9vYmFy"  # noqa: S105


def test_credentials_reach_no_report_and_no_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving({"disk.img": bytes(kept("ext2"))}) as server:
        given = server.url(f"disk.img?X-Signature={SECRET}", user=f"me:{SECRET}@")
        assert main(["detect", "--json", given]) == 0
        assert server.seen[0][0].endswith(SECRET)
        assert server.seen[0][1]["Authorization"].startswith("Basic ")
        assert main(["detect", "--jsonl", given]) == 0
        assert main(["export", given, "0", "-o", str(tmp_path / "out")]) == 0
        assert (tmp_path / "out").read_bytes() == bytes(kept("ext2"))
        server.faults.add("403")
        assert main(["detect", given]) == 1
        server.faults = {"500"}
        assert main(["detect", "--jsonl", given]) == 1
        with pytest.raises(SystemExit):
            main(["mount", given])
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert "disk.img?..." in out
    assert SECRET not in repr(pyimount.detect(f"nonsense://me:{SECRET}@host/disk.img").to_dict())


def test_two_signed_urls_are_two_images() -> None:
    with serving({"disk.img": bytes(kept("ext2"))}) as server:
        signed = [server.url(f"disk.img?version={number}") for number in (1, 2)]
        assert len(pyimount.detect(signed).disks) == 2
        assert len(list(pyimount.detect_many([*signed, signed[0]]))) == 2


def test_what_may_be_shown_of_a_url() -> None:
    assert urls.shown("s3://bucket/a?b.img") == "s3://bucket/a?b.img"
    assert urls.shown("ssh://me:secret@host/disk.img") == "ssh://host/disk.img"
    assert urls.shown("https://host/disk.img?sig=1&x=/y#z") == "https://host/disk.img?..."
    assert urls.shown(urls.shown("https://host/disk.img?sig=1&x=/y#z")) == "https://host/disk.img?..."
    assert urls.given("https://host/disk.img?...") == "https://host/disk.img?sig=1&x=/y#z"


def test_many_images_elsewhere_and_resuming(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "reports.jsonl"
    images = {f"{name}.img": bytes(kept(name)) for name in ("ext2", "fat12")}
    with serving(images) as server:
        arguments = ["detect", "--jsonl", "--resume", str(file), *map(server.url, images)]
        assert main(arguments) == 0
        assert main(arguments) == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {(line["path"], line["size"], line["mtime"]) for line in lines} == {
        (server.url(name), len(data), '"one"') for name, data in images.items()
    }
    assert len(lines) == 2


def test_an_export_reads_from_front_to_back_in_few_requests(tmp_path: Path) -> None:
    image = bytes(kept("ext2")) + bytes(16 << 20)
    with serving({"disk.img": image}) as server:
        assert main(["export", server.url("disk.img"), "disk", "-o", str(tmp_path / "out")]) == 0
        assert server.requests < 30
    assert (tmp_path / "out").read_bytes() == image


@contextmanager
def object_store() -> Iterator[str]:
    """A real S3 interface on this machine: moto's server."""
    code = (
        "from moto.server import ThreadedMotoServer; import sys; "
        "server = ThreadedMotoServer('127.0.0.1', 0); server.start(); "
        "print(server.get_host_and_port()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            port = next(line for line in process.stdout if line.strip().isdigit())
            yield f"http://127.0.0.1:{int(port)}"
        finally:
            process.kill()


@pytest.mark.filterwarnings("ignore")
def test_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    files = files_of("ewf-segments", tmp_path)
    with object_store() as endpoint:
        for name, value in (
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            monkeypatch.setenv(name, value)
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("evidence")
        for name, data in files.items():
            store.pipe_file(f"evidence/{name}", data)
        here = pyimount.detect(tmp_path / "stick.E01")
        there = pyimount.detect("s3://evidence/stick.E02")
        assert volumes(there) == volumes(here)
        assert there.disks[0].paths == tuple(f"s3://evidence/{name}" for name in sorted(files))
        with store.open("evidence/stick.E01") as file:
            one = pyimount.detect(file)
        assert one.disks[0].paths == ("s3://evidence/stick.E01",)
        assert one.disks[0].container["type"] == "ewf"
        assert "is not there" in pyimount.detect("s3://evidence/none.img").disks[0].problems[0].message
        store.pipe_file("evidence/disk.img", LARGE)
        source = RemoteSource.open("s3://evidence/disk.img")
        store.pipe_file("evidence/disk.img", LARGE[::-1])
        with pytest.raises(http.ReadError, match="changed while it was read"):
            source.read_at(BLOCK, 10)
        assert "changed while it was read" in (source.changed() or "")


def test_any_file_system_of_fsspec() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/evidence/disk.img", bytes(kept("gpt")))
    assert volumes(pyimount.detect("memory://evidence/disk.img")) == volumes(
        pyimount.detect(bytes(kept("gpt")))
    )
    assert "folder" in pyimount.detect("memory://evidence").disks[0].problems[0].message
    source = RemoteSource.open("memory://evidence/disk.img")
    memory.pipe_file("/evidence/disk.img", b"another")
    assert "changed while it was read" in (source.changed() or "")


def test_file_objects_and_bytes(tmp_path: Path) -> None:
    image = bytes(kept("gpt"))
    path = tmp_path / "disk.img"
    path.write_bytes(image)
    here = pyimount.detect(path)
    with path.open("rb") as file:
        file.seek(100)
        scan = pyimount.detect(file)
        assert file.tell() == 100, "it stands where it stood"
        assert not file.closed
    assert scan.to_dict() == here.to_dict()
    with pyimount.open_volume(scan, here.volumes[0].index) as opened:
        assert len(opened.read(512)) == 512
    for each in (io.BytesIO(image), image, bytearray(image), memoryview(image)):
        assert volumes(pyimount.detect(each)) == volumes(here)
    for made in (fsspec.open(str(path)), fsspec.open(f"file://{path}")):
        assert volumes(pyimount.detect(made)) == volumes(here)
    with fsspec.open(f"file://{path}") as file:
        assert volumes(pyimount.detect(file)) == volumes(here)
    several = pyimount.detect([image, io.BytesIO(image), io.BytesIO(image), path])
    assert [disk.paths[0] for disk in several.disks] == [
        "<bytes>", "<BytesIO>", "<BytesIO> #2", str(path),
    ]  # fmt: skip


def test_what_is_compressed_on_the_way_is_read_as_it_comes_out(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "disk.img.gz"
    path.write_bytes(gzip.compress(bytes(kept("ext2"))))
    with fsspec.open(str(path), compression="gzip") as file:
        assert pyimount.detect(file).volumes[0].type == "ext2"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda path: io.StringIO("text"), "text"),
        (lambda path: b"/evidence/disk.img", "os.fsdecode"),
        (lambda path: path.open("ab"), "not"),
        (lambda path: 3.5, "float"),
        (lambda path: [3], "int"),
    ],
)
def test_what_is_no_image_is_refused(made: object, said: str, tmp_path: Path) -> None:
    image = made(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(TypeError, match=said):
        pyimount.detect(image)
    if hasattr(image, "close"):
        image.close()
