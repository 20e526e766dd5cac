"""Files in images elsewhere: the same as here, and where a server does wrong, what is wrong in a line."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Workshop, fixtures
from pyimount.cli import main
from pyimount.files.system import Damaged
from pyimount.problems import Code
from pyimount.sources import http
from pyimount.sources.errors import OpenError
from tests.kept import kept
from tests.mapping.md_members import CHUNK, members
from tests.sources.test_remote import object_store
from tests.sources.web import Web, serving

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
pytest.importorskip("dissect.extfs")
pytest.importorskip("dissect.ntfs")

SECRET = "Zm9vYmFy"  # noqa: S105


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WAITS", (0.01, 0.01))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with FAT, ext4 and NTFS, and the NTFS's own files in it."""
    return next(each for each in fixtures() if each.name == "demo").unpack(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def server(demo: Path) -> Iterator[Web]:
    with serving({"disk.img": demo.read_bytes()}) as started:
        yield started


COMMANDS = {
    "ls": ["ls", "IMAGE"],
    "ls-long": ["ls", "--long", "--bytes", "IMAGE", "3:/"],
    "ls-json": ["ls", "--json", "--streams", "IMAGE", "3:/", "2:/"],
    "cat": ["cat", "IMAGE", "3:/$MFT"],
    "stat": ["stat", "IMAGE", "3:/$Boot"],
    "find": ["find", "IMAGE"],
    "tree": ["tree", "IMAGE"],
    "within": ["detect", "--within", "--json", "IMAGE"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_the_same_as_here(
    command: str, demo: Path, server: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    told = []
    for image in (str(demo), server.url("disk.img")):
        assert main([image if word == "IMAGE" else word for word in COMMANDS[command]]) == 0
        out, err = capfd.readouterr()
        told.append((out, err))
    (here, _), (there, _) = told
    if command == "within":
        # What was read, and how it is come by again, is of the place; what is in it is not.
        here, there = (json.dumps(_volumes(json.loads(text))) for text in (here, there))
    assert there == here
    assert here


def _volumes(report: dict[str, object]) -> object:
    return report["disks"][0]["volumes"]  # type: ignore[index]


def test_a_copy_is_the_same(demo: Path, server: Web, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for image, target in ((str(demo), here), (server.url("disk.img"), there)):
        assert main(["cp", "-r", "--hash", "sha256", image, "3:/", str(target)]) in (0, 1)
    listed = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (here, there)
    ]
    assert listed[0] == listed[1]
    assert len(listed[0]) > 8


def test_the_library_reads_them_in_a_process_apart_and_in_this_one(server: Web) -> None:
    scan = pyimount.detect(server.url("disk.img"))
    for in_process in (False, True):
        with pyimount.open_filesystem(scan, "3", in_process=in_process) as files:
            assert files.get("/$Boot").read()[3:7] == b"NTFS"
    # A report that was kept says which state it is of.
    again = pyimount.Scan.from_dict(json.loads(json.dumps(scan.to_dict())))
    with pyimount.open_filesystem(again, "3") as files:
        assert files.get("/$Boot").read()[3:7] == b"NTFS"


def test_all_volumes_share_what_was_fetched(server: Web, capfd: pytest.CaptureFixture[str]) -> None:
    """A tree opens every volume: the image is opened once for the scan, and once for its files."""
    assert main(["find", server.url("disk.img")]) == 0
    assert capfd.readouterr().out
    asked = [headers["Range"] for _, headers in server.seen]
    assert max(map(asked.count, asked)) <= 2


def segments_and_more(name: str, folder: Path) -> dict[str, bytes]:
    next(each for each in fixtures() if each.name == name).unpack(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.needs("mke2fs", "ewfacquire")
def test_segments_that_lie_beside_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw, work = ext4(tmp_path), tmp_path / "ewf"
    work.mkdir()
    Workshop(work).run(
        "ewfacquire", "-u", "-q", "-t", work / "disk", "-f", "encase6", "-c", "none", "-S", str(2 << 20), raw
    )
    files = {path.name: path.read_bytes() for path in work.iterdir()}
    assert len(files) > 2
    with serving(files) as server:
        assert main(["cat", server.url("disk.E01"), "0:/etc/hostname"]) == 0
        assert capfd.readouterr().out == "evidence\n"
        out = tmp_path / "out.raw"
        assert main(["export", server.url("disk.E02"), "disk", "-o", str(out)]) == 0
        assert out.read_bytes() == raw.read_bytes()
        server.faults.add("unlisted")
        assert main(["cat", server.url("disk.E01"), "0:/large.bin"]) == 1
        assert "0:/large.bin" in capfd.readouterr().err


@pytest.mark.needs("mke2fs", "qemu-img")
def test_a_container_and_one_whose_parent_lies_beside_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A parent is not looked for elsewhere, whatever it is called: what is in it is said to be missing."""
    raw, work = ext4(tmp_path), tmp_path / "qcow2"
    work.mkdir()
    shop = Workshop(work)
    shop.run("qemu-img", "convert", "-c", "-O", "qcow2", raw, work / "whole.qcow2")
    shop.run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", "whole.qcow2", "-F", "qcow2", work / "top.qcow2"
    )
    with serving({path.name: path.read_bytes() for path in work.iterdir()}) as server:
        assert main(["cat", server.url("whole.qcow2"), "0:/etc/hostname"]) == 0
        assert capfd.readouterr().out == "evidence\n"
        server.seen.clear()
        assert main(["ls", server.url("top.qcow2"), "0:/"]) == 1
        assert "parent image, which is missing" in capfd.readouterr().err
        assert {path for path, _ in server.seen} == {"/top.qcow2"}
        assert main(["export", server.url("top.qcow2"), "disk", "-o", str(tmp_path / "out")]) == 1
        assert "bytes could not be read" in capfd.readouterr().err


def ext4(folder: Path) -> Path:
    """An ext4 with /etc/hostname in it, and bytes of many kinds."""
    tree = folder / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "hostname").write_text("evidence\n")
    (tree / "large.bin").write_bytes(bytes(range(256)) * (6 << 12))
    image = Workshop(folder).blank(16 << 20)
    Workshop(folder).run("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image)
    return image


def test_one_disk_of_a_set_lies_here_and_one_elsewhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    volume = bytes(kept("ext2"))
    volume += bytes(-len(volume) % CHUNK)
    half = len(volume) // 2 // CHUNK * CHUNK
    parts = [volume[:half], volume[half:]]
    if len(parts[0]) != len(parts[1]):
        parts[1] = parts[1][: len(parts[0])]
    first, second = members(parts, level=-1, layout=0, chunksize=0)
    here = tmp_path / "a.img"
    here.write_bytes(first)
    with serving({"b.img": second}) as server:
        arguments = ["ls", "--with", server.url("b.img"), str(here)]
        assert main(arguments) == 0
        (line,) = capfd.readouterr().out.splitlines()
        index = line.partition(":")[0]
        assert "ext2" in line
        assert main([*arguments, f"{index}:/"]) == 0
        assert "lost+found" in capfd.readouterr().out


FAULTS = {
    "whole": "sends no parts of files",
    "404": "is not there",
    "403": "refuses access",
    "sizeless": "does not say how large",
    "recodes": "recoded",
}


@pytest.mark.parametrize("command", ["ls", "cat", "export"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_opened_says_why_in_a_line(
    fault: str, command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving({"disk.img": bytes(kept("ext2"))}, fault) as server:
        url = server.url(f"disk.img?sig={SECRET}", user=f"me:{SECRET}@")
        rest = {"ls": [], "cat": ["0:/x"], "export": ["0", "-o", str(tmp_path / "out")]}[command]
        assert main([command, url, *rest]) == 1
    out, err = capfd.readouterr()
    assert FAULTS[fault] in err.splitlines()[0]
    assert SECRET not in out + err


LATER = {
    "changes": "changed",
    "grows": "changed",
    "goes": "is not there",
    "breaks": "ended in the middle",
    "short": "bytes came",
}


@pytest.mark.parametrize("command", [["cat", "3:/$LogFile"], ["find", "3:/"]], ids=str)
@pytest.mark.parametrize("fault", LATER)
def test_what_goes_wrong_while_files_are_read_is_said(
    fault: str, command: list[str], demo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From each answer on after which the server may begin to do wrong: never silence, never a traceback."""
    data = demo.read_bytes()
    with serving({"disk.img": data}) as server:
        assert main([command[0], server.url("disk.img"), *command[1:]]) == 0
        whole, requests = capfd.readouterr().out, server.requests
    assert requests > 3
    for after in sorted({1, requests // 2, requests - 1}):
        with serving({"disk.img": data}, fault) as server:
            server.after = after
            status = main([command[0], server.url("disk.img"), *command[1:]])
            out, err = capfd.readouterr()
            # What had come before may be all that was wanted.
            assert status == 1 or out == whole
            if status:
                assert LATER[fault] in err, (after, err)
                assert "Traceback" not in err
        if fault in ("breaks", "short"):
            break  # from the first range on, whatever was asked for before


def test_what_was_scanned_is_what_is_read(tmp_path: Path) -> None:
    """Between the scan and the reading, too, and when the report was kept."""
    first, second = bytes(kept("ext2")), bytes(kept("ext2"))[:-1] + b"x"
    with serving({"disk.img": first}) as server:
        scan = pyimount.detect(server.url("disk.img"))
        server.files["disk.img"] = second
        server.faults, server.after = {"changes"}, 0
        stored = pyimount.Scan.from_dict(scan.to_dict())
        for each in (scan, stored):
            with pytest.raises(OpenError, match="was changed since it was scanned"):
                pyimount.open_volume(each, "0")
            for in_process in (False, True):
                with pytest.raises(OpenError, match="was changed since it was scanned"):
                    pyimount.open_filesystem(each, "0", in_process=in_process)
        server.faults = {"grows"}
        with pytest.raises(OpenError, match="was changed since it was scanned"):
            pyimount.open_volume(scan, "0")


def test_without_a_tag_the_size_tells_states_apart() -> None:
    data = bytes(kept("ext2"))
    with serving({"disk.img": data}, "untagged") as server:
        scan = pyimount.detect(server.url("disk.img"))
        assert pyimount.open_volume(scan, "0").read(16) == data[:16]
        server.files["disk.img"] += bytes(512)
        with pytest.raises(OpenError, match="was changed since it was scanned"):
            pyimount.open_volume(scan, "0")


def test_where_a_server_leads_and_one_that_is_slow(demo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving({"disk.img": demo.read_bytes()}, delay=0.02, rate=20_000_000) as server:
        for name in ("moved/disk.img", "disk.img"):
            assert main(["cat", "--from", "3", "--count", "4", server.url(name), "3:/$Boot"]) == 0
            assert capfd.readouterr().out == "NTFS"
        assert main(["ls", server.url("round")]) == 1
        assert "from one address to the next" in capfd.readouterr().err


def test_a_busy_server_is_asked_again(demo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving({"disk.img": demo.read_bytes()}, "busy") as server:
        assert main(["ls", server.url("disk.img"), "3:/"]) == 0
        assert "$MFT" in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_an_object_store(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
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
        store.put_file(str(demo), "evidence/disk.img")
        url = "s3://evidence/disk.img"
        for command in (
            ["ls", "3:/"],
            ["cat", "3:/$MFT"],
            ["stat", "3:/$MFT"],
            ["find", "3:/"],
            ["tree", "3:/"],
        ):
            told = []
            for image in (str(demo), url):
                assert main([command[0], image, *command[1:]]) == 0
                told.append(capfd.readouterr().out)
            assert told[0] == told[1]
        assert main(["cp", "-r", url, "3:/$Extend", str(tmp_path / "copied")]) == 0
        scan = pyimount.detect(url)
        store.pipe_file("evidence/disk.img", demo.read_bytes()[::-1])
        store.invalidate_cache()
        with pytest.raises(OpenError, match="was changed since it was scanned"):
            pyimount.open_filesystem(scan, "3")
    out, err = capfd.readouterr()
    assert SECRET not in out + err


def test_an_image_within_one_elsewhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A disk image that is a member of a ZIP archive that is elsewhere."""
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.img", bytes(kept("ext2")))
        archive.writestr("notes.txt", b"nothing")
    with serving({"case.zip": packed.getvalue()}) as server:
        local = tmp_path / "case.zip"
        local.write_bytes(packed.getvalue())
        told = []
        for image in (str(local), server.url("case.zip")):
            status = main(["ls", image])
            told.append((status, capfd.readouterr().out))
        assert told[0] == told[1]


def test_a_change_is_told_by_its_code(demo: Path) -> None:
    with serving({"disk.img": demo.read_bytes()}, "changes") as server:
        server.after = 1 << 20
        scan = pyimount.detect(server.url("disk.img"))
        with pyimount.open_filesystem(scan, "3") as files:
            journal = files.get("/$LogFile")
            server.after = 0
            with pytest.raises(Damaged) as raised:
                journal.read()
    assert raised.value.problem.code is Code.CHANGED
