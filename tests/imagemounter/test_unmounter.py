"""Left-overs made by hand, of pyimount and of imagemounter, and what Unmounter takes of them: no more."""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyimount import ImageParser, Unmounter
from pyimount.exceptions import CleanupError
from pyimount.execution import leftovers, mounts
from pyimount.planning.steps import AttachLoop, BindMount, MakeDirectory, Mount, Result
from tests.imagemounter.disks import left_of, sessions
from tests.mounting.ground import EXT4, MIB, Ground
from tests.needing import needs, needs_root

Make = Callable[..., ImageParser]

BASE_NAME = "image_mounter_q3ud8a_"
CASE_NAME = "image_mounter_k2xx91_case7"


class Leftovers:
    """A temporary folder like the machine's, and in it what a killed imagemounter leaves."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.folder = ground.folder
        self.temporary = ground.folder / "tmp"
        self.temporary.mkdir()
        self.base = str(ground.base)

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(
            list(map(str, command)), check=True, capture_output=True, text=True, timeout=300
        )
        return done.stdout.strip()

    def mount(self, image: str | Path, at: Path, *options: str) -> Path:
        at.mkdir(parents=True, exist_ok=True)
        self.run("mount", *options, image, at)
        return at

    def raw(self, name: str = BASE_NAME, content: Path | None = None) -> Path:
        """A disk image as a file in an image_mounter_ folder, which is a mount as ewfmount's is."""
        tree = self.folder / f"of-{name}"
        tree.mkdir()
        os.link(content or self.ground.ext4(f"{name}.img"), tree / "disk.raw")
        shown = self.folder / f"{name}.squashfs"
        self.run("mksquashfs", tree, shown, "-quiet", "-no-progress", "-noappend")
        return self.mount(shown, self.temporary / name, "-o", "loop,ro", "-t", "squashfs") / "disk.raw"

    def loop(self, file: Path) -> str:
        return self.run("losetup", "--read-only", "--find", "--show", file)

    def volume(self, name: str, source: str | Path, folder: Path | None = None) -> Path:
        at = (folder or self.temporary) / name
        options = "ro,noload" if str(source).startswith("/dev/") else "loop,ro,noload"
        return self.mount(source, at, "-o", options, "-t", "ext4")

    def session(self, folder: str | None = None, name: str = "0-root") -> str:
        """A session of pyimount with one file system; its name."""
        image = self.ground.ext4(f"{name}-{len(self.ground.sessions)}.img")
        session = self.ground.session()
        at = f"{folder or f'{self.base}/{session}/mnt'}/{name}"
        self.ground.run(
            self.ground.plan(
                MakeDirectory(id=1, path=at),
                AttachLoop(id=2, backing=str(image)),
                Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
                images=(image,),
                session=session,
            )
        )
        return session

    def lose_ledger(self, session: str) -> None:
        (self.ground.base / f"{session}.jsonl").unlink()

    def unmounter(self, **arguments: object) -> Unmounter:
        return Unmounter(base=self.base, **arguments)  # type: ignore[arg-type]

    def greedy(self, monkeypatch: pytest.MonkeyPatch) -> Unmounter:
        """A greedy one, to which the machine is no larger than this folder."""
        here = f"{self.folder}/"
        mine = {each.device for each in leftovers.attached() if each.device in self.ground.loops()}
        all_mounts, all_loops = mounts.mounts, leftovers.attached
        monkeypatch.setattr(mounts, "mounts", lambda: [m for m in all_mounts() if m.path.startswith(here)])
        monkeypatch.setattr(
            leftovers,
            "attached",
            lambda: [each for each in all_loops() if each.device in mine or each.file.startswith(here)],
        )
        found = self.unmounter()
        assert found.be_greedy
        return found

    def clear(self) -> None:
        """Take down by hand what is still there: twice, as what is below goes after what is above."""
        for _ in range(2):
            for path in reversed(self.ground.mounts()):
                if not path.startswith(f"{self.base}/"):
                    subprocess.run(["umount", path], check=False, capture_output=True)
            for device in self.ground.loops():
                subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)
            self.ground.clear()
        for path in reversed(self.ground.mounts()):
            subprocess.run(["umount", path], check=False, capture_output=True)
        for device in self.ground.loops():
            subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)
        assert self.ground.mounts() == []
        assert self.ground.loops() == []


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Leftovers]:
    needs_root()
    needs("mksquashfs", "mkfs.ext4", "losetup")
    made = Leftovers(Ground(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(made.temporary))
    yield made
    monkeypatch.undo()
    made.clear()


def test_the_patterns_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/temp")
    plain = Unmounter(base="/nowhere")
    assert plain.be_greedy
    assert not Unmounter(base="/nowhere", allow_greedy=False).be_greedy
    for asked in ({"casename": "c"}, {"pretty": True}, {"mountdir": "/mnt"}):
        assert not Unmounter(base="/nowhere", **asked).be_greedy  # type: ignore[arg-type]
    cases: list[tuple[dict[str, object], list[str], list[str]]] = [
        (
            {},
            ["/temp/im_0.1_ab3d_root", "/nowhere/0123abcd/mnt/1-root", "/nowhere/0123abcd/mnt/case/1-root"],
            [
                "/temp/im_0.1_ab3d_root/home",
                "/temp/im_",
                "/temp/other",
                "/nowhere/x/mnt/1",
                "/x/temp/im_1_a_b",
            ],
        ),
        ({"casename": "c+7"}, ["/temp/c+7/im_1_ab_", "/nowhere/0123abcd/mnt/c+7/1"], ["/temp/im_1_ab_"]),
        ({"mountdir": "/mnt"}, ["/mnt/im_1_ab_", "/mnt/1-root", "/mnt/0.2"], ["/temp/im_1_ab_", "/mnt/a"]),
        (
            {"mountdir": "/mnt", "pretty": True},
            ["/mnt/disk-1-root", "/mnt/my-disk-0.1-ext", "/mnt/1-root"],
            ["/mnt/disk", "/mnt/disk-root", "/mnt/1", "/mnt/x/disk-1-root"],
        ),
        (
            {"mountdir": "/mnt", "pretty": True, "casename": "c"},
            ["/mnt/c/1-root", "/mnt/c/disk-1-root"],
            ["/mnt/1-root", "/mnt/d/1-root"],
        ),
    ]
    for arguments, yes, no in cases:
        pattern = Unmounter(base="/nowhere", **arguments).re_pattern  # type: ignore[arg-type]
        assert [path for path in yes if not re.match(pattern, path)] == []
        assert [path for path in no if re.match(pattern, path)] == []
    case = Unmounter(base="/nowhere", casename="case7")
    assert re.match(case.orig_re_pattern, f"/temp/{CASE_NAME}/disk.raw")
    assert not re.match(case.orig_re_pattern, f"/temp/{BASE_NAME}/disk.raw")
    assert not re.match(case.orig_re_pattern, f"/temp/{CASE_NAME}b/disk.raw")
    assert (plain.glob_pattern, plain.orig_glob_pattern) == ("/temp/im_*", "/temp/image_mounter_*")


def test_what_imagemounter_left_goes_in_the_right_order(left: Leftovers) -> None:
    raw = left.raw()
    device = left.loop(raw)
    root = left.volume("im_0.1_x8s7d6_root", device)
    home = left.volume("im_0.2_a8s7d6_home", left.ground.ext4("home.img"))
    bound = left.mount(home, root / "deep", "--bind")
    carved = left.temporary / "im_0.3_k8s7d6__carve"
    carved.mkdir()
    (left.temporary / "im_0.4_s8s7d6_").mkdir()
    (carved / "found.jpg").write_bytes(b"x")
    found = left.unmounter(allow_greedy=False)
    assert set(found.mountpoints) >= {str(root), str(home), str(bound), str(raw.parent)}
    assert found.loopbacks[device] == str(raw)
    assert list(found.find_bindmounts()) == [str(bound)]
    assert list(found.find_mounts()) == [str(home), str(root)]
    assert list(found.find_loopbacks()) == [device]
    assert list(found.find_base_images()) == [str(raw.parent)]
    assert set(found.find_clean_dirs()) == {
        *map(str, (root, home, carved, raw.parent)),
        str(left.temporary / "im_0.4_s8s7d6_"),
    }
    told = found.preview_unmount()
    assert told[:5] == [
        f"umount {bound}",
        f"umount {home}",
        f"umount {root}",
        f"losetup --detach {device}",
        f"umount {raw.parent}",
    ]
    assert {each.split()[0] for each in told[5:]} == {"rmdir"}
    found.unmount()
    assert left.ground.mounts() == []
    assert left.ground.loops() == []
    # What was carved is no empty folder: it stays.
    assert sorted(path.name for path in left.temporary.iterdir()) == [carved.name]
    assert (carved / "found.jpg").read_bytes() == b"x"
    assert found.preview_unmount() == [f"rmdir {carved}"]
    found.unmount()


def test_each_method_does_its_own_part(left: Leftovers) -> None:
    raw = left.raw()
    device = left.loop(raw)
    root = left.volume("im_1_x8s7d6_", device)
    bound = left.mount(root, root / "deep", "--bind")
    found = left.unmounter(allow_greedy=False)

    found.unmount_bindmounts()
    assert left.ground.mounts() == [str(raw.parent), str(root)]
    assert list(found.find_bindmounts()) == []
    assert not bound.is_mount()
    found.unmount_mounts()
    assert left.ground.mounts() == [str(raw.parent)]
    assert not root.exists()
    assert device in left.ground.loops()
    found.unmount_loopbacks()
    assert device not in left.ground.loops()
    assert list(found.find_loopbacks()) == []
    found.unmount_base_images()
    assert left.ground.mounts() == []
    assert not raw.parent.exists()
    (left.temporary / "im_2_k_").mkdir()
    found.clean_dirs()
    assert list(left.temporary.iterdir()) == []
    for act in ("bindmounts", "mounts", "volume_groups", "loopbacks", "base_images"):
        getattr(found, f"unmount_{act}")()


def test_what_does_not_match_is_not_touched(left: Leftovers) -> None:
    raw = left.raw()
    device = left.loop(raw)
    elsewhere = left.volume("mine", device, left.folder)
    other = left.volume("other", left.ground.ext4("other.img"))
    case = left.raw(CASE_NAME)
    session = left.session()
    tmpfs = left.mount("none", left.temporary / "im_3_x8s7d6_", "-t", "tmpfs")
    numbered = left.volume("1-root", left.ground.ext4("numbered.img"), left.folder / "mnt")
    for name in ("im_", "im_x_y", "1-home", "image_mounter"):
        (left.temporary / name).mkdir()
    (left.temporary / "im_7_link_").symlink_to(other)
    before = left.ground.mounts(), left.ground.loops(), sorted(left.temporary.iterdir())

    none = left.unmounter(mountdir=left.folder / "mnt", casename="no-such-case")
    assert none.preview_unmount() == []
    none.unmount()
    assert (left.ground.mounts(), left.ground.loops(), sorted(left.temporary.iterdir())) == before

    of_case = left.unmounter(casename="case7")
    assert list(of_case.find_base_images()) == [str(case.parent)]
    assert list(of_case.find_mounts()) == []
    of_case.unmount()
    assert not case.parent.exists()

    # A name like pyimount's own means nothing without its mark.
    by_folder = left.unmounter(mountdir=left.folder / "mnt")
    assert list(by_folder.find_mounts()) == [str(elsewhere)]
    by_folder.unmount()
    # That was mounted from imagemounter's folder; its own folder has another name, and stays.
    assert elsewhere.is_dir()
    assert not elsewhere.is_mount()
    assert sorted(left.ground.mounts()) == sorted(
        map(str, (other, tmpfs, numbered, f"{left.base}/{session}/mnt/0-root"))
    )
    assert {path.name for path in left.temporary.iterdir()} >= {"im_", "im_x_y", "1-home", "image_mounter"}
    assert (left.temporary / "im_7_link_").is_symlink()


def test_a_mount_in_use_is_told_of_and_all_else_goes(left: Leftovers) -> None:
    raw = left.raw()
    device = left.loop(raw)
    root = left.volume("im_0_x8s7d6_", device)
    home = left.volume("im_1_x8s7d6_", left.ground.ext4("home.img"))
    found = left.unmounter(allow_greedy=False)
    with (root / "readme.txt").open("rb"):
        with pytest.raises(CleanupError) as raised:
            found.unmount()
        message = str(raised.value)
        assert str(root) in message
        assert str(os.getpid()) in message
        assert f"{device} is mounted at {root}" in message
        assert not home.exists()
        assert left.ground.mounts() == [str(raw.parent), str(root)]
        with pytest.raises(CleanupError, match="is mounted at"):
            found.unmount_loopbacks()
    found.unmount()
    assert left.ground.mounts() == []
    assert left.ground.loops() == []


def test_patterns_that_a_caller_sets_are_obeyed(left: Leftovers) -> None:
    first = left.volume("im_1_x8s7d6_", left.ground.ext4("1.img"))
    second = left.volume("im_2_x8s7d6_", left.ground.ext4("2.img"))
    named = left.volume("evidence", left.ground.ext4("3.img"))
    found = left.unmounter(allow_greedy=False)
    found.re_pattern = re.escape(str(second))
    assert list(found.find_mounts()) == [str(second)]
    found.re_pattern = re.escape(str(left.temporary)) + "/evi.*"
    found.unmount()
    assert left.ground.mounts() == [str(first), str(second)]
    assert not named.exists()


def test_sessions_of_pyimount_go_by_their_ledgers(left: Leftovers) -> None:
    folder = left.folder / "mnt"
    one, other = left.session(str(folder)), left.session()
    found = left.unmounter(mountdir=folder)
    assert list(found.find_mounts()) == [f"{folder}/0-root"]
    (device,) = found.find_loopbacks()
    assert found.preview_unmount() == [
        f"umount {folder}/0-root",
        f"losetup --detach {device}",
        f"rmdir {folder}/0-root",
    ]
    found.unmount()
    assert list(found.find_mounts()) == []
    assert not (left.ground.base / f"{one}.jsonl").exists()
    assert left.ground.mounts() == [f"{left.base}/{other}/mnt/0-root"]
    rest = left.unmounter(allow_greedy=False)
    assert list(rest.find_mounts()) == left.ground.mounts()
    rest.unmount_mounts()
    assert left.ground.left() == []


def test_of_a_session_only_what_matches_goes(left: Leftovers) -> None:
    first, second = left.ground.ext4("a.img"), left.ground.squashfs("b.img")
    session = left.ground.session()
    mnt = f"{left.base}/{session}/mnt"
    left.ground.run(
        left.ground.plan(
            MakeDirectory(id=8, path=mnt),
            MakeDirectory(id=1, path="1", inside=Result(8)),
            AttachLoop(id=2, backing=str(first)),
            Mount(id=3, device=Result(2), at=Result(1), type="ext4", options=EXT4),
            MakeDirectory(id=4, path="2", inside=Result(8)),
            AttachLoop(id=5, backing=str(second)),
            Mount(id=6, device=Result(5), at=Result(4), type="squashfs"),
            BindMount(id=7, source=Result(6), root=Result(3), target="/deep"),
            images=(first, second),
            session=session,
        )
    )
    found = left.unmounter(allow_greedy=False)
    assert list(found.find_bindmounts()) == [f"{mnt}/1/deep"]
    assert list(found.find_mounts()) == [f"{mnt}/2", f"{mnt}/1"]
    found.unmount_bindmounts()
    assert left.ground.mounts() == [f"{mnt}/1", f"{mnt}/2"]
    found.re_pattern = re.escape(f"{mnt}/1")
    found.unmount()
    assert left.ground.mounts() == [f"{mnt}/2"]
    left.unmounter(allow_greedy=False).unmount_loopbacks()
    assert left.ground.left() == []


def test_a_session_whose_ledger_is_lost_is_known_by_its_mark(
    left: Leftovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, kept = left.session(), left.session(str(left.folder / "mnt"))
    left.lose_ledger(lost)
    path = f"{left.base}/{lost}/mnt/0-root"
    found = left.unmounter(allow_greedy=False)
    assert list(found.find_mounts()) == [path]
    (device,) = found.find_loopbacks()
    assert found.preview_unmount() == [f"umount {path}", f"losetup --detach {device}", f"rmdir {path}"]
    found.unmount()
    assert left.ground.mounts() == [f"{left.folder}/mnt/0-root"]
    assert len(left.ground.loops()) == 1
    # Its empty folders are for one that is greedy, which takes the other session too.
    assert (left.ground.base / lost / "mnt").is_dir()
    greedy = left.greedy(monkeypatch)
    assert list(greedy.find_mounts()) == [f"{left.folder}/mnt/0-root"]
    assert set(greedy.find_clean_dirs()) == {f"{left.base}/{lost}/mnt", f"{left.base}/{lost}"}
    greedy.unmount()
    assert not (left.ground.base / f"{kept}.jsonl").exists()
    assert [path for path in left.ground.left() if path != left.base] == []


def test_a_greedy_one_finds_a_marked_loop_device_that_nothing_is_mounted_on(
    left: Leftovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = left.session()
    left.run("umount", f"{left.base}/{session}/mnt/0-root")
    left.lose_ledger(session)
    assert list(left.unmounter(allow_greedy=False).find_loopbacks()) == []
    greedy = left.greedy(monkeypatch)
    assert list(greedy.find_loopbacks()) == left.ground.loops()
    greedy.unmount()
    assert left.ground.loops() == []


def test_what_a_session_is_just_making_is_left_to_its_ledger(
    left: Leftovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = left.session()
    ledger = left.ground.base / f"{session}.jsonl"
    # As if it had not come to write what became of the mount.
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert b'"done"' in lines[-1]
    ledger.write_bytes(b"".join(lines[:-1]))
    greedy = left.greedy(monkeypatch)
    assert list(greedy.find_mounts()) == []
    assert list(greedy.find_loopbacks()) == left.ground.loops()
    for act in ("bindmounts", "mounts", "volume_groups", "base_images"):
        getattr(greedy, f"unmount_{act}")()
    assert left.ground.mounts() == [f"{left.base}/{session}/mnt/0-root"]
    greedy.unmount()
    assert left.ground.left() == []


def test_a_damaged_ledger_is_an_error_and_no_reason_to_guess(
    left: Leftovers, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = left.session()
    ledger = left.ground.base / f"{session}.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(b"{}\n" + whole)
    with pytest.raises(CleanupError, match="damaged"):
        left.greedy(monkeypatch).unmount()
    monkeypatch.undo()
    assert left.ground.mounts() == [f"{left.base}/{session}/mnt/0-root"]
    ledger.write_bytes(whole)


def test_a_folder_in_use_by_another_mount_is_told_of(left: Leftovers) -> None:
    root = left.volume("im_1_x8s7d6_", left.ground.ext4("1.img"))
    over = left.mount("none", root / "deep", "-t", "tmpfs")
    found = left.unmounter(allow_greedy=False)
    assert list(found.find_bindmounts()) == []
    with pytest.raises(CleanupError, match=f"the mount {over}"):
        found.unmount()
    assert left.ground.mounts() == [str(root), str(over)]


def test_volume_groups_are_found_on_loop_devices_that_match(left: Leftovers) -> None:
    needs("lvm")
    image = left.folder / "group.img"
    with image.open("wb") as file:
        file.truncate(8 * MIB)
    device = left.run("losetup", "--find", "--show", image)
    left.run("lvm", "vgcreate", "--devices", device, "-qq", "-s", "64k", "GROUP", device)
    left.run("losetup", "--detach", device)
    loop = left.loop(left.raw(content=image))
    foreign = left.loop(image)
    found = left.unmounter(allow_greedy=False)
    assert list(found.find_volume_groups()) == [("GROUP", loop)]
    assert f"lvm vgchange --devices {loop} --activate n -- GROUP" in found.preview_unmount()
    found.unmount_volume_groups()
    assert list(found.find_volume_groups()) == []
    assert loop not in left.ground.loops()
    assert foreign in left.ground.loops()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for mountpoints, and a temporary folder of its own, in which nothing of imagemounter is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "mnt"


@pytest.mark.parametrize(
    "arguments", [{}, {"casename": "Case 7"}, {"casename": "Case 7", "pretty": True}, {"pretty": True}]
)
def test_what_a_parser_mounted_goes_with_all_beneath(
    parsers: Make, tree_e01: Path, elsewhere: Path, arguments: dict[str, Any]
) -> None:
    parser = parsers([tree_e01], mountdir=elsewhere, **arguments)
    mounted = [volume.mountpoint for volume in parser.init() if volume.mountpoint]
    assert len(mounted) == 3
    parser.reconstruct()
    root = mounted[0]
    names = sessions(parser)
    assert list(Unmounter(mountdir=elsewhere, **{**arguments, "casename": "Case"}).find_mounts()) == []
    found = Unmounter(mountdir=elsewhere, **arguments)
    assert sorted(found.find_mounts()) == sorted(mounted)
    assert sorted(found.find_bindmounts()) == [f"{root}/home", f"{root}/var"]
    assert [path.split("/")[3] in names for path in found.find_base_images()] == [True]
    assert len(list(found.find_loopbacks())) == 3
    told = found.preview_unmount()
    assert sorted(told[:2]) == [f"umount {root}/home", f"umount {root}/var"]
    found.unmount()
    assert left_of(names) == []
    assert found.preview_unmount() == []


def test_what_a_parser_mounted_goes_part_by_part(parsers: Make, tree_e01: Path, elsewhere: Path) -> None:
    parser = parsers([tree_e01], mountdir=elsewhere)
    assert len([volume for volume in parser.init() if volume.mountpoint]) == 3
    parser.reconstruct()
    names = sessions(parser)
    found = Unmounter(mountdir=elsewhere)
    found.unmount_bindmounts()
    assert list(found.find_bindmounts()) == []
    assert len(list(found.find_mounts())) == 3
    # The disk is beneath all the others, which go with it.
    found.unmount_base_images()
    assert left_of(names) == []
    assert list(found.find_mounts()) == []
