"""All that a parser mounts stands in one session, shown by one server, and goes part by part."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyimount import Disk, ImageParser, Volume
from pyimount.exceptions import MountError
from pyimount.execution import sessions as ledgers
from pyimount.execution.plan_executor import Executor, Outcome
from tests.imagemounter.disks import e01, left_of
from tests.imagemounter.groups import luks, three_logical_volumes
from tests.mounting.images import blank, tool
from tests.needing import needs, needs_root

Make = Callable[..., ImageParser]


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    needs_root()


@pytest.fixture(scope="module")
def three_e01(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An E01 with three logical volumes."""
    needs("mkfs.ext4", "ewfacquire")
    folder = tmp_path_factory.mktemp("three")
    parts = []
    for name in ("one", "two", "three"):
        image = blank(folder / f"{name}.ext4", 640 << 10)
        tool("mkfs.ext4", "-q", "-b", "1024", "-O", "^has_journal,^resize_inode", "-L", name, image)
        parts.append(image.read_bytes())
    return e01(three_logical_volumes(folder, parts))


def servers(session: str) -> list[str]:
    """The processes of our server in a session, by their marks."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdecimal() else []
        except OSError:
            continue
        found |= {
            each.decode() for each in arguments if each.startswith(f"--mark=pyimount-{session}".encode())
        }
    return sorted(found)


def only_session(parser: ImageParser) -> str:
    (session,) = parser.case.sessions
    return session


def mounted(parser: ImageParser) -> dict[str, Volume]:
    return {volume.index: volume for volume in parser.init() if volume.mountpoint}


def test_three_logical_volumes_of_an_e01(parsers: Make, three_e01: Path) -> None:
    parser = parsers(three_e01)
    found = mounted(parser)
    assert [volume.info["label"] for volume in found.values()] == ["one", "two", "three"]
    session = only_session(parser)
    assert len(servers(session)) == 1
    (standing,) = [each for each in ledgers.sessions() if each.id == session]
    assert [each.path for each in standing.mounts] == [volume.mountpoint for volume in found.values()]
    assert standing.images == (str(three_e01),)
    assert {volume.session for volume in found.values()} == {session}
    raw = {volume.get_raw_path() for volume in found.values()}
    assert len(raw) == 3
    assert len(servers(session)) == 1


def test_each_volume_goes_alone_and_comes_again(parsers: Make, three_e01: Path) -> None:
    parser = parsers(three_e01)
    found = mounted(parser)
    session = only_session(parser)
    for index in ("0.1", "0.0", "0.2"):
        found[index].unmount()
        standing = [volume.mountpoint for volume in found.values() if volume.mountpoint]
        assert all(os.path.ismount(path) for path in standing)
        assert len(servers(session)) == 1
    # The disk is mounted still.
    assert Path(parser.disks[0].get_raw_path() or "").read_bytes()[512:520] == b"LABELONE"
    assert list(mounted(parser)) == ["0.0", "0.1", "0.2"]
    assert only_session(parser) == session
    assert len(servers(session)) == 1
    parser.clean()
    assert parser.case.sessions == ()
    assert left_of([session]) == []
    assert list(mounted(parser)) == ["0.0", "0.1", "0.2"]
    assert only_session(parser) != session


def test_two_disks_have_one_server_until_both_are_gone(
    parsers: Make, tree_e01: Path, three_e01: Path
) -> None:
    parser = parsers([tree_e01, three_e01])
    found = mounted(parser)
    assert list(found) == ["1.1", "1.2", "1.3", "2.0.0", "2.0.1", "2.0.2"]
    session = only_session(parser)
    assert len(servers(session)) == 1
    parser.disks[0].unmount()
    assert [index for index, volume in found.items() if volume.mountpoint] == ["2.0.0", "2.0.1", "2.0.2"]
    assert len(servers(session)) == 1
    parser.disks[1].unmount()
    assert left_of([session]) == []


def test_a_disk_that_is_added_later_is_unmounted_by_its_name(
    parsers: Make, tree_e01: Path, three_e01: Path
) -> None:
    parser = parsers(tree_e01, force_disk_indexes=True)
    assert list(mounted(parser)) == ["1.1", "1.2", "1.3"]
    parser.add_disk(three_e01)
    mounted(parser)
    named = {image for each in ledgers.sessions() if each.id in parser.case.sessions for image in each.images}
    assert named == {str(tree_e01), str(three_e01)}


def test_what_was_locked_when_the_server_began(parsers: Make, tmp_path: Path, one_ext4: Path) -> None:
    parser = parsers(luks(tmp_path, one_ext4.read_bytes()))
    (volume,) = parser.init()
    assert volume.exception is not None
    volume.key = "p:open sesame"
    (inner,) = volume.init()
    assert inner.mountpoint is not None
    assert (Path(inner.mountpoint) / "readme.txt").exists()
    only_session(parser)


def test_what_is_written_goes_through_the_one_server(parsers: Make, tree_e01: Path) -> None:
    parser = parsers(tree_e01, read_write=True)
    found = mounted(parser)
    assert list(found) == ["1", "2", "3"]
    assert len(servers(only_session(parser))) == 1
    Path(found["2"].mountpoint or "", "new").write_bytes(b"written")
    found["2"].unmount()
    assert found["2"].init_volume()
    assert Path(found["2"].mountpoint or "", "new").read_bytes() == b"written"
    # What is shown of the disk has it, too; the image has not.
    shown = Path(parser.disks[0].get_raw_path() or "").read_bytes()
    assert b"written" in shown
    assert parser.rw_active()
    parser.clean(remove_rw=True)
    assert parser.case.sessions == ()


def test_mounts_of_a_copy_in_another_process_stay(parsers: Make, three_e01: Path) -> None:
    """As with a parser that a service stores before it is done with it."""
    parser = parsers(three_e01)
    volumes = parser.init()
    first = next(volumes)
    copy: ImageParser = pickle.loads(pickle.dumps(parser))  # noqa: S301
    later = next(volumes)
    assert copy.get_by_index("0.1").mountpoint is None
    copy.clean()
    assert not os.path.ismount(first.mountpoint or "")
    assert os.path.ismount(later.mountpoint or "")
    parser.clean()


def test_objects_without_a_parser(three_e01: Path) -> None:
    disk = Disk(None, three_e01)
    try:
        assert [volume.index for volume in disk.init() if volume.mountpoint] == ["0.0", "0.1", "0.2"]
        assert len(servers(disk.case.sessions[0])) == 1
    finally:
        names = disk.case.sessions
        disk.unmount()
    assert left_of(list(names)) == []


def test_a_volume_by_hand_without_a_parser(one_ext4: Path) -> None:
    disk = Disk(None, one_ext4)
    volume = Volume(disk)
    disk.mount()
    try:
        assert volume.mount() is True
        assert content_is_there(volume)
    finally:
        volume.unmount()
        disk.unmount()
    assert disk.case.sessions == ()
    with pytest.raises(MountError):
        Volume(Disk(None, one_ext4.with_name("absent.img"))).determine_fs_type()


def content_is_there(volume: Volume) -> bool:
    return (Path(volume.mountpoint or "") / "readme.txt").exists()


@pytest.mark.parametrize("way", ["mount", "raw", "bind", "further"])
def test_what_is_interrupted_while_it_is_mounted_goes_with_the_rest(
    way: str, parsers: Make, three_e01: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by ^C, or by a signal at imount's prompt: the steps are done, and nobody was told of them."""
    parser = parsers(three_e01)
    volume = next(iter(mounted(parser).values()))
    if way != "further":
        volume.unmount()
    session = only_session(parser)
    run = Executor.run

    def interrupted(*arguments: Any, **named: Any) -> Outcome:
        run(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Executor, "run", interrupted)
    acts: dict[str, Callable[[], object]] = {
        "mount": volume.mount,
        "raw": volume.get_raw_path,
        "bind": lambda: parser.case.any_session().bind(str(tmp_path), str(tmp_path), "shown"),
        "further": lambda: volume.bindmount(str(tmp_path / "shown")),
    }
    (tmp_path / "shown").mkdir()
    with pytest.raises(KeyboardInterrupt):
        acts[way]()
    monkeypatch.undo()
    parser.clean()
    assert not left_of([session])
    assert not os.path.ismount(tmp_path / "shown")
