"""Root's helper: what it does for a user, and what it does not do whatever the user sends."""

import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyimount
from pyimount.confinement.messages import receive, send
from pyimount.execution.asking import AskingExecutor, Helper
from pyimount.execution.errors import LedgerError, StepFailed
from pyimount.execution.helper import Service
from pyimount.execution.ledger import Ledger
from pyimount.keys import Keyring
from pyimount.mounting import mounting
from pyimount.planning.steps import AttachLoop, ExposeRaw, MakeDirectory, Mount, Result, Step
from tests.mounting.hostile_fuse import LOOKUP, HostileFuse
from tests.mounting.images import attached, check, content, digest, make, traces
from tests.needing import needs, needs_root

USER = 1234
AS_SUDO = ("/usr/bin/env", f"SUDO_UID={os.getuid()}")
"""Root works for root here: what sudo would have set, without sudo."""


@pytest.fixture(autouse=True)
def able() -> None:
    needs_root()
    needs("mkfs.ext4", "mksquashfs")


class Talk:
    """One user's end of a helper."""

    def __init__(self, base: Path) -> None:
        ours, theirs = socket.socketpair()
        self.socket = ours
        ours.settimeout(60)

        def serve() -> None:
            with theirs:
                Service(theirs, USER, str(base)).serve()

        self.service = threading.Thread(target=serve)
        self.service.start()

    def __call__(self, message: Any, *files: int) -> dict[str, Any]:
        send(self.socket, message, files)
        answer, _ = receive(self.socket)
        return dict(answer)

    def close(self) -> None:
        self.socket.close()
        self.service.join(60)
        assert not self.service.is_alive()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    made = tmp_path / "ledgers"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def talk(base: Path) -> Iterator[Talk]:
    talk = Talk(base)
    yield talk
    talk.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make("squashfs", tmp_path / "disk.img", content(tmp_path))


BEGIN = {"begin": {"session": "0badcafe", "images": [], "scan": {}}}


def test_a_mount_through_it_and_back(tmp_path: Path) -> None:
    image = make("ext4", tmp_path / "disk.img", content(tmp_path))
    before = digest(image)
    scan = mounting.look(image)
    with AskingExecutor(way=AS_SUDO) as executor:
        mounted = mounting.mount(scan, executor)
        (volume,) = mounted.volumes
        assert volume.refusal is None
        assert volume.mountpoint is not None
        check(Path(volume.mountpoint))
        above = Path(volume.mountpoint).parent
        assert (above.stat().st_uid, above.stat().st_mode & 0o777) == (os.getuid(), 0o500)
    with Helper(AS_SUDO) as helper:
        (session,) = [
            each for each in helper.ask("list", None)["sessions"] if each["session"] == mounted.session
        ]
        assert session["owner"] == os.getuid()
        undone = helper.ask("undo", {"session": mounted.session, "only": None, "lazy": False})
        assert (undone["ended"], undone["left"]) == (True, [])
    assert traces(mounted.session) == []
    assert attached(image) == []
    assert digest(image) == before


def test_a_container_and_a_key_through_it(tmp_path: Path) -> None:
    needs("qemu-img", "cryptsetup")
    from fixtures.workshop import Workshop

    work = Workshop(tmp_path)
    make("squashfs", tmp_path / "disk.img", content(tmp_path))
    work.run("qemu-img", "convert", "-O", "qcow2", "disk.img", "disk.qcow2")
    locked = work.blank(17 << 20, "locked.img")
    cheap = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    work.run("cryptsetup", "luksFormat", "-q", *cheap, locked, "-", stdin=b"key")
    keys = Keyring({"*": "p:key"})
    scan = mounting.look([tmp_path / "disk.qcow2", locked], keys=keys)
    policy = mounting.FORENSIC.replaced(backend="user", unknown=True)
    with AskingExecutor(way=AS_SUDO) as executor:
        mounted = mounting.mount(scan, executor, policy=policy, keys=keys)
        standing = {each.index: each.mountpoint for each in mounted.standing}
        assert standing.keys() == {"1.0"}
        check(Path(standing["1.0"] or ""))
        refused = {each.index: each.refusal for each in mounted.failed}
        # It was opened by its key; what is in it is nothing that root mounts for a user.
        assert refused["2.0.0"] is not None
        assert "mounts no None" in refused["2.0.0"].reason
    with Helper(AS_SUDO) as helper:
        helper.ask("undo", {"session": mounted.session, "only": None, "lazy": False})
    assert traces(mounted.session) == []


def test_it_is_no_way_around_sudo(tmp_path: Path) -> None:
    helper = (sys.executable, "-m", "pyimount.execution.helper")
    plain = {key: value for key, value in os.environ.items() if key not in ("SUDO_UID", "PKEXEC_UID")}
    for arguments, environment, why in (
        ((), plain, "started by pyimount itself"),
        (("/nowhere",), plain, "for whom"),
        (("/nowhere",), plain | {"SUDO_UID": "1000"}, "No such file"),
    ):
        done = subprocess.run(
            [*helper, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode != 0
        assert why in done.stderr
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        done = subprocess.run(
            [*helper, str(path)],
            capture_output=True, text=True, check=False, env=plain | {"SUDO_UID": "1000"},
        )  # fmt: skip
    assert "another user's" in done.stderr


def test_a_forged_ledger_undoes_nothing(base: Path, talk: Talk, tmp_path: Path) -> None:
    """A ledger of another user's session, and one that the user names a path for."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    with Ledger.create(str(base), "11112222", []) as ledger:
        ledger.intended(MakeDirectory(id=0, path=str(victim)), {"missing": [str(victim)]})
    for session in ("11112222", "../11112222", f"{tmp_path}/forged", "", None, ["11112222"]):
        answer = talk({"undo": {"session": session, "only": None, "lazy": False}})
        assert "no such session of yours" in answer["refused"]
        assert "refused" in talk({"preview": {"session": session, "only": None}})
    assert talk({"list": None})["sessions"] == []
    assert victim.is_dir()


def test_a_folder_that_users_can_write_to_drives_nothing(tmp_path: Path) -> None:
    base = tmp_path / "open"
    base.mkdir()
    base.chmod(0o777)
    talk = Talk(base)
    try:
        assert "others may write there" in talk(BEGIN)["failed"]
        answer = talk({"step": MakeDirectory(id=0, path=f"{base}/0badcafe").to_dict()})
        assert "before the beginning" in answer["refused"]
    finally:
        talk.close()
    assert list(base.iterdir()) == []


def folder(talk: Talk, number: int, path: str, inside: int | None = None) -> dict[str, Any]:
    within = None if inside is None else Result(inside)
    return talk({"step": MakeDirectory(id=number, inside=within, path=path).to_dict()})


def test_a_session_is_one_helpers_alone(talk: Talk, base: Path) -> None:
    assert talk(BEGIN) == {"done": True}
    other = Talk(base)
    try:
        assert "File exists" in other(BEGIN)["failed"]
        assert "before the beginning" in folder(other, 0, f"{base}/0badcafe")["refused"]
        with pytest.raises(LedgerError, match="another process works on session"):
            Ledger.open(str(base), "0badcafe", wait=0)
    finally:
        other.close()
    assert folder(talk, 0, f"{base}/0badcafe")["done"]


def test_of_helpers_that_begin_one_session_at_once_one_has_it(base: Path) -> None:
    for number in range(10):
        session = f"{number:08x}"
        talks = [Talk(base) for _ in range(4)]
        for each in talks:  # all are asked before any answer is read
            send(each.socket, {"begin": {"session": session, "images": []}})
        answers = [receive(each.socket)[0] for each in talks]
        had = [each for each, answer in zip(talks, answers, strict=True) if "done" in answer]
        assert len(had) == 1
        assert folder(had[0], 0, f"{base}/{session}")["done"]
        others = [each for each in talks if each is not had[0]]
        assert all("refused" in folder(each, 0, f"{base}/{session}") for each in others)
        # Nor does another take down what this one works on.
        undo = {"undo": {"session": session, "only": None, "lazy": False}}
        if not number:  # it waits for a while
            assert "another process works on" in others[0](undo)["failed"]
        assert had[0](undo)["ended"]
        for each in talks:
            each.close()
    assert not base.exists() or list(base.iterdir()) == []


def test_what_was_taken_down_gets_no_further_step(talk: Talk, base: Path) -> None:
    talk(BEGIN)
    assert folder(talk, 0, f"{base}/0badcafe")["done"]
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["ended"]
    assert "before the beginning" in folder(talk, 1, "mnt", 0)["refused"]
    assert list(base.parent.glob("ledgers/*")) == []


def test_the_way_to_mount_points_is_the_users_alone(talk: Talk, base: Path) -> None:
    talk(BEGIN)
    assert folder(talk, 0, f"{base}/0badcafe")["done"]
    assert folder(talk, 1, "mnt", 0)["done"]
    assert folder(talk, 2, "raw", 0)["done"]
    for name, owner, mode in (("", 0, 0o711), ("mnt", USER, 0o500), ("raw", 0, 0o700)):
        is_ = (base / "0badcafe" / name).stat()
        assert (is_.st_uid, is_.st_gid, is_.st_mode & 0o7777) == (owner, 0, mode)
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["ended"]


@pytest.mark.parametrize("there", ["folder", "link", "file"])
def test_a_folder_that_is_there_already_is_not_taken(
    there: str, talk: Talk, base: Path, tmp_path: Path
) -> None:
    talk(BEGIN)
    assert folder(talk, 0, f"{base}/0badcafe")["done"]
    victim, place = tmp_path / "victim", base / "0badcafe" / "mnt"
    victim.mkdir(mode=0o755)
    if there == "folder":
        place.mkdir(mode=0o755)
    elif there == "link":
        place.symlink_to(victim)
    else:
        place.touch(mode=0o644)
    before = place.lstat()
    answer = folder(talk, 1, "mnt", 0)
    assert "done" not in answer
    after = place.lstat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert (victim.stat().st_uid, victim.stat().st_mode & 0o777) == (0, 0o755)


@pytest.mark.parametrize("at", [0, 1])
def test_nothing_is_mounted_at_a_sessions_own_folder(at: int, talk: Talk, base: Path, image: Path) -> None:
    talk(BEGIN)
    file = os.open(image, os.O_RDONLY)
    talk({"files": [str(image)]}, file)
    os.close(file)
    assert folder(talk, 0, f"{base}/0badcafe")["done"]
    assert folder(talk, 1, "mnt", 0)["done"]
    attach = AttachLoop(id=2, backing=str(image), offset=0, size=0)
    assert talk({"step": attach.to_dict()})["done"]
    mount = Mount(id=3, device=Result(2), at=Result(at), type="squashfs", options=())
    assert "own folder" in talk({"step": mount.to_dict()})["refused"]
    assert "before the beginning" in folder(talk, 4, "x", 1)["refused"], "who asks for this gets nothing more"
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["ended"]
    assert attached(image) == []


def test_what_a_user_has_written_down_is_bounded(talk: Talk, base: Path) -> None:
    for images in (["x" * 5000], ["x"] * 5000, "images", [5], {}):
        begin = {"session": "0badcafe", "images": images, "scan": {}}
        assert "refused" in talk({"begin": begin})
    assert list(base.iterdir()) == []
    talk(BEGIN)
    assert folder(talk, 0, f"{base}/0badcafe")["done"]
    name = "n" * 255
    answers = [folder(talk, number, f"{number}{name}"[:255], 0) for number in range(1, 4200)]
    assert "refused" in answers[-1]
    assert (base / "0badcafe.jsonl").stat().st_size < 9 << 20


def test_a_ledger_of_a_user_does_not_grow_without_bounds(base: Path) -> None:
    with Ledger.create(str(base), "11112222", [], user=USER) as ledger:
        with pytest.raises(LedgerError, match="more than"):
            ledger.intended(MakeDirectory(id=0, path="/" + "x" * (9 << 20)), {})
        ledger.intended(MakeDirectory(id=1, path="/x"), {})
        ledger.remove()


def test_a_user_has_so_many_sessions_and_no_more(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyimount.execution.helper.SESSIONS_CAP", 2)
    for number in range(3):
        talk = Talk(base)
        answer = talk({"begin": {"session": f"0000000{number}", "images": [], "scan": {}}})
        assert ("done" in answer) == (number < 2)
        if number < 2:
            folder(talk, 0, f"{base}/0000000{number}")
        talk.close()


def test_no_message_ends_it(talk: Talk, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Any = 0
    for _ in range(900):
        deep = [deep]
    talk(BEGIN)
    for step in ({"step": "MakeDirectory", "id": deep, "path": "/x"}, {"step": deep}, deep, 5, None):
        assert talk({"step": step}).keys() & {"refused", "failed"}
    assert "refused" in talk({"begin": deep})
    assert talk({"undo": deep}).keys() & {"refused", "failed"}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyimount.execution.step_executor.perform", full)
    assert folder(talk, 7, f"{base}/0badcafe") == {"failed": "No space left on device", "remedy": None}
    assert talk({"list": None})["sessions"]


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGINT])
def test_the_terminal_does_not_stop_it(number: signal.Signals) -> None:
    with Helper(AS_SUDO) as helper:
        assert helper._process is not None
        helper._process.send_signal(number)
        assert "sessions" in helper.ask("list", None)


MESSAGES: list[tuple[Any, str]] = [
    ({"exec": "id"}, "no such message"),
    ({}, "message that is none"),
    ([], "message that is none"),
    (None, "message that is none"),
    ({"step": {}, "keys": {}}, "message that is none"),
    ({"step": MakeDirectory(id=0, path="/etc").to_dict()}, "before the beginning"),
    ({"begin": {"session": "../../etc", "images": [], "scan": {}}}, "hexadecimal"),
    ({"begin": {"session": "0badcafe", "images": [5], "scan": {}}}, "none"),
    ({"begin": {"session": "0badcafe"}}, "no such message"),
    ({"keys": {"step": "x", "keys": []}}, "keys that are none"),
    ({"keys": {"step": 1, "keys": [0] * 2000}}, "keys that are none"),
    ({"keys": {"step": 1, "keys": {}}}, "keys that are none"),
    ({"begin": {**BEGIN["begin"], "images": ["/x"], "lying": [[1, 2, 10**4000]]}}, "image that is none"),
    ({"begin": {**BEGIN["begin"], "images": ["/x"], "lying": [[1, 2, -1]]}}, "image that is none"),
    ({"begin": {**BEGIN["begin"], "images": ["/x"], "lying": [[True, 2, 3]]}}, "image that is none"),
]


@pytest.mark.parametrize(("message", "why"), MESSAGES, ids=lambda value: str(value)[:30])
def test_messages_that_are_none(talk: Talk, message: Any, why: str) -> None:
    assert why in talk(message)["refused"]
    assert talk(BEGIN) == {"done": True}, "it goes on"


def test_keys_do_not_heap_up(base: Path) -> None:
    """Root keeps those for one step: as many as a user sends else take his memory, and then the machine's."""
    one, other = socket.socketpair()
    with one, other:
        service = Service(one, USER, str(base))
        for number in range(100):
            service._take_keys({"step": number, "keys": [["p", "00"]]}, [])
        assert service._keys == {99: [["p", "00"]]}


JUNK: tuple[Any, ...] = (
    None, True, 0, 1, -1, 1 << 31, 1 << 63, 1 << 70, 10**4000, 1.5, "", "a", "\0", "\ud800", "..",
    "/etc/passwd", "a" * 5000, "\u0663", [], [[]], [None], [1, 2, 3], {}, {"": 1}, {"result": 1},
    {"result": 1 << 70}, [["a", "b"]],
)  # fmt: skip


def test_any_message_has_an_answer(talk: Talk) -> None:
    dice = random.Random(12)  # noqa: S311
    steps = {each.__name__: each for each in every_step(Step)}
    asked = ("greeting", "begin", "files", "keys", "undo", "preview", "list", "whose")
    names = ("session", "images", "lying", "step", "keys", "only", "lazy", "word", "path", "spelt")
    talk(BEGIN)
    for _ in range(400):
        if dice.random() < 0.5:
            kind = dice.choice(sorted(steps))
            fields = {name: dice.choice(JUNK) for name in steps[kind].fields if dice.random() < 0.9}
            message: Any = {"step": {"step": kind, **fields, "id": dice.choice((1, 2, *JUNK))}}
        else:
            said = {name: dice.choice(JUNK) for name in names if dice.random() < 0.9}
            message = {dice.choice(asked): dice.choice((said, dice.choice(JUNK)))}
        assert talk(message).keys() & {"done", "refused", "failed"}


def every_step(kind: type[Step]) -> Iterator[type[Step]]:
    for each in kind.__subclasses__():
        yield each
        yield from every_step(each)


def begin(talk: Talk, image: Path) -> None:
    assert talk(BEGIN) == {"done": True}
    with image.open("rb") as file:
        assert talk({"files": [str(image)]}, file.fileno()) == {"done": True}


def test_only_what_was_handed_over_is_looped(talk: Talk, image: Path, base: Path, tmp_path: Path) -> None:
    begin(talk, image)
    other = tmp_path / "other.img"
    other.write_bytes(bytes(1 << 20))
    answer = talk({"step": AttachLoop(id=0, backing=str(other)).to_dict()})
    assert "not handed over" in answer["refused"]
    with other.open("rb") as file:
        assert "before the first step" in talk({"files": [str(other)]}, file.fileno())["refused"]
    # The file that was opened counts, whatever has its name by now.
    image.rename(tmp_path / "moved.img")
    image.symlink_to("/dev/null")
    answer = talk({"step": AttachLoop(id=1, backing=str(image)).to_dict()})
    assert answer["done"]
    assert attached(tmp_path / "moved.img")
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["left"] == []
    assert attached(tmp_path / "moved.img") == []


def test_a_mount_point_through_a_link_is_refused(talk: Talk, image: Path, base: Path) -> None:
    begin(talk, image)
    root = base / "0badcafe"
    for step in (
        AttachLoop(id=0, backing=str(image)),
        MakeDirectory(id=1, path=str(root)),
        MakeDirectory(id=2, inside=Result(1), path="mnt"),
        MakeDirectory(id=3, inside=Result(2), path="here"),
    ):
        assert talk({"step": step.to_dict()})["done"], step
    # Only root could do this; it must not matter.
    (root / "mnt" / "here").rmdir()
    (root / "mnt" / "here").symlink_to("/etc")
    answer = talk({"step": Mount(id=4, device=Result(0), at=Result(3), type="squashfs").to_dict()})
    assert "link" in answer["failed"]
    assert not os.path.ismount("/etc")
    (root / "mnt" / "here").unlink()
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["left"] == []


def test_keys_go_to_steps_that_take_them_and_nowhere_else(talk: Talk, image: Path, base: Path) -> None:
    begin(talk, image)
    said = AttachLoop(id=0, backing=str(image)).to_dict() | {"secret": "open sesame"}
    assert "secret" in talk({"step": said})["refused"]
    assert talk({"keys": {"step": 0, "keys": [["p", b"open sesame".hex()]]}}) == {"done": True}
    assert "takes none" in talk({"step": AttachLoop(id=0, backing=str(image)).to_dict()})["refused"]
    for path in base.iterdir():
        if path.is_file():
            assert b"open sesame" not in path.read_bytes()
            assert b"open sesame".hex().encode() not in path.read_bytes()
    talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})


def test_it_loads_nothing_that_reads_an_image() -> None:
    code = (
        "import sys; import pyimount.execution.helper\n"
        "print([name for name in sys.modules if name.startswith(('pyimount.parsers', 'pyimount.mapping', "
        "'pyimount.scanning', 'construct'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_refused_by_sudo_is_said(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="did not give it"), Helper(("/bin/false",)):
        pass


def test_a_scan_is_not_changed_by_its_way_through_the_helper(image: Path) -> None:
    scan = pyimount.detect(image)
    assert pyimount.Scan.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan


def shown(talk: Talk, base: Path) -> int:
    """A FUSE mount of the session, and what serves it."""
    assert talk(BEGIN) == {"done": True}
    assert folder(talk, 0, f"{base}/0badcafe")["done"]
    assert folder(talk, 1, "raw", 0)["done"]
    step = ExposeRaw(id=2, at=Result(1), files=((0, "0.raw"),))
    send(talk.socket, {"step": step.to_dict()})
    answer, files = receive(talk.socket)
    assert answer["done"], answer
    (device,) = files
    return device


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFDIR])
@pytest.mark.parametrize("target", ["secret", "device"])
def test_what_a_server_that_was_taken_over_shows_is_no_other_file(
    kind: int, target: str, talk: Talk, base: Path, tmp_path: Path
) -> None:
    """It may call anything a file that it is to show: a link to root's file, a pipe, a disk."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"root's" * 10_000)
    secret.chmod(0o600)
    device = shown(talk, base)
    server = HostileFuse(device, kind | 0o644, str(secret) if target == "secret" else "/dev/loop0")
    answer = talk({"step": AttachLoop(id=3, backing=Result(2, "0.raw")).to_dict()})
    assert "no file of what is shown" in answer["failed"]
    assert LOOKUP in server.asked
    assert attached(secret) == []
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["left"] == []
    assert not list(base.parent.glob("ledgers/*"))


def test_a_server_that_never_answers_and_then_goes_fails_the_step(talk: Talk, base: Path) -> None:
    HostileFuse(shown(talk, base), stat.S_IFREG | 0o644, answers=False)
    assert "failed" in talk({"step": AttachLoop(id=3, backing=Result(2, "0.raw")).to_dict()})
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["left"] == []


def test_nothing_is_done_within_what_is_mounted(talk: Talk, base: Path, image: Path) -> None:
    begin(talk, image)
    for step in (
        AttachLoop(id=0, backing=str(image)),
        MakeDirectory(id=1, path=str(base / "0badcafe")),
        MakeDirectory(id=2, inside=Result(1), path="here"),
        Mount(id=3, device=Result(0), at=Result(2), type="squashfs"),
    ):
        assert talk({"step": step.to_dict()})["done"], step
    assert "within what is mounted" in folder(talk, 4, "deeper", 2)["refused"]
    again = Mount(id=5, device=Result(0), at=Result(2), type="squashfs")
    assert "mounted there already" in talk({"step": again.to_dict()})["refused"]
    over = ExposeRaw(id=6, at=Result(2), files=((0, "0.raw"),))
    assert "mounted there already" in talk({"step": over.to_dict()})["refused"]
    assert talk({"undo": {"session": "0badcafe", "only": None, "lazy": False}})["left"] == []
