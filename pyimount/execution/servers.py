"""Our own FUSE server: its mount is made here, it is started and handed what it needs, told apart, ended.

The server opens nothing itself. It gets /dev/fuse, mounted, and the images, opened, through a socket, and the
scan and the keys as messages; it gives up its privileges before it looks at any of that.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from pyimount.confinement.messages import FILES_CAP, MessageError, receive, send
from pyimount.confinement.own_modules import command
from pyimount.confinement.process import NOBODY
from pyimount.confinement.users import own_user
from pyimount.execution.errors import Refused, StepFailed, ToolMissing
from pyimount.execution.fuse_mounts import (
    fuser_unmount,
    fusermount,
    mount_fuse,
    own_folder,
    read_further_ahead,
    unmount_fuse,
)
from pyimount.execution.scanned_files import open_scanned
from pyimount.execution.tools import SEARCH_PATH, printable
from pyimount.records import EMPTY, Record
from pyimount.sources.identity import FileIdentity

_ENDS_WITHIN = 10.0
_ERRORS_CAP = 1 << 16


class Server(Record, kw_only=True):
    """A server process: its pid, when it was started (the kernel's clock ticks since boot), its mark.

    ``failed``: the files that it does not show, each with the reason.
    """

    pid: int
    started: int
    mark: str
    failed: Mapping[str, str] = EMPTY

    def identity(self) -> dict[str, Any]:
        """What the ledger keeps, as JSON values."""
        return {"pid": self.pid, "started": self.started, "mark": self.mark}

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> "Server":
        """The server that ``identity`` told of."""
        return cls(pid=identity["pid"], started=identity["started"], mark=identity["mark"])


def start(
    at: str,
    files: Sequence[tuple[int, str]],
    scan: Mapping[str, Any],
    mark: str,
    *,
    keys: Sequence[Mapping[str, Any]] = (),
    cache: str | None = None,
    scanned: Mapping[str, FileIdentity] = EMPTY,
    hold: Sequence[int] = (),
    timeout: float = 120.0,
) -> Server:
    """Mount layers of a scan as raw files at ``at``, an empty folder of ours; needs root.

    ``files``: the ids of layers and the names of their files. ``scan``: the report, ``keys``: what
    ``Keyring.reveal`` gives. ``cache``: a folder for what is written; None: read-only. The images
    have to be those that were ``scanned``. ``hold``: descriptors that the server has until it can be found
    by its mark: whoever waits for a lock on them sees none that is only just coming.
    Raises StepFailed; nothing is left mounted then.
    """
    names = _names(files)
    with ExitStack() as stack:
        told = _told(scan, files, stack, scanned=scanned)
        held = _cache_folder(cache, stack)
        device = mount_fuse(at, mark, read_only=not held)
        stack.callback(os.close, device)
        undone = stack.enter_context(ExitStack())
        undone.callback(unmount_fuse, at)
        own = own_user()
        if own is not None:
            stack.callback(os.close, own.lock)
        settings = {
            "user": NOBODY if own is None else own.number, "locked": own is not None,
            "owner": 0, "owner_group": 0, "files": names,
        }  # fmt: skip
        handed = [device, *([] if own is None else [own.lock]), *held]
        server = _started(mark, handed, settings, told, keys=keys, hold=hold, timeout=timeout)
        undone.pop_all()
    read_further_ahead(mark)
    return server


def start_as_user(
    at: str,
    files: Sequence[tuple[int, str]],
    scan: Mapping[str, Any],
    mark: str,
    *,
    keys: Sequence[Mapping[str, Any]] = (),
    cache: str | None = None,
    scanned: Mapping[str, FileIdentity] = EMPTY,
    timeout: float = 120.0,
) -> Server:
    """As ``start``, without root: fusermount3 mounts, for this user alone. ``fusermount3 -u`` unmounts it."""
    tool = shutil.which("fusermount3", path=":".join(SEARCH_PATH))
    if tool is None:
        raise ToolMissing("fusermount3 is not installed", "apt install fuse3")
    with ExitStack() as stack:
        own_folder(at, stack)
        device = fusermount(tool, at, mark, read_only=cache is None, timeout=timeout)
        stack.callback(os.close, device)
        undone = stack.enter_context(ExitStack())
        undone.callback(fuser_unmount, tool, at, timeout)
        server = serve_as_user(
            device, files, scan, mark, keys=keys, cache=cache, scanned=scanned, timeout=timeout
        )
        undone.pop_all()
    return server


def serve_as_user(
    device: int,
    files: Sequence[tuple[int, str]],
    scan: Mapping[str, Any],
    mark: str,
    *,
    keys: Sequence[Mapping[str, Any]] = (),
    cache: str | None = None,
    scanned: Mapping[str, FileIdentity] = EMPTY,
    timeout: float = 120.0,
) -> Server:
    """Serve what is mounted already, as this user; the further arguments are those of ``start``.

    ``device``: /dev/fuse, mounted; the caller closes it. What is shown belongs to whoever owns the mount.
    Raises StepFailed.
    """
    names = _names(files)
    with ExitStack() as stack:
        told = _told(scan, files, stack, scanned=scanned)
        held = _cache_folder(cache, stack)
        user, group = os.getuid(), os.getgid()
        settings = {
            "user": NOBODY if user == 0 else user, "locked": False,
            "owner": user, "owner_group": group, "files": names,
        }  # fmt: skip
        return _started(mark, [device, *held], settings, told, keys=keys, timeout=timeout)


def _names(files: Sequence[tuple[int, str]]) -> dict[str, int]:
    names = {name: layer for layer, name in files}
    if len(names) < len(files):
        raise Refused("two files of one name")
    return names


def _cache_folder(cache: str | None, stack: ExitStack) -> list[int]:
    if cache is None:
        return []
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(cache, 0o700)
        folder = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StepFailed(f"{cache}: {error.strerror}") from error
    stack.callback(os.close, folder)
    found = os.fstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise Refused(f"{cache}: others than this user may write there")
    return [folder]


class _Told(Record):
    """What a server is told of the images: the scan, with real paths, and the files by these."""

    scan: Mapping[str, Any]
    images: Mapping[str, int]


def _told(
    scan: Mapping[str, Any],
    files: Sequence[tuple[int, str]],
    stack: ExitStack,
    *,
    scanned: Mapping[str, FileIdentity],
) -> _Told:
    """Open the images that these layers need; the scan gets their real paths, so that none is looked up."""
    try:
        layers = {layer["id"]: layer for layer in _layers(scan["disks"])}
        needed = _needed(layers, [number for number, _ in files])
        real: dict[str, str] = {}
        images: dict[str, int] = {}
        for number in needed:
            for path in _paths(layers[number]):
                real[path] = os.path.realpath(path)
                if real[path] in images:
                    continue
                images[real[path]] = open_scanned(path, scanned)
                stack.callback(os.close, images[real[path]])
        return _Told({**scan, "disks": [_with_paths(disk, real) for disk in scan["disks"]]}, images)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refused(f"this is no scan: {error}") from error


def images_of(scan: Mapping[str, Any], number: int) -> list[str]:
    """The paths of the images that a layer's bytes are of, in the order of the scan."""
    layers = {layer["id"]: layer for layer in _layers(scan["disks"])}
    needed = _needed(layers, [number])
    return [path for disk in scan["disks"] if disk["id"] in needed for path in disk["paths"]]


def _layers(disks: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    pending = list(disks)
    while pending:
        layer = pending.pop()
        yield layer
        pending.extend(layer["volumes"])


def _needed(layers: Mapping[int, Mapping[str, Any]], wanted: Sequence[int]) -> set[int]:
    """The ids of these layers, and of all whose bytes theirs are made of."""
    pending = [number for number in wanted if number in layers]
    found: set[int] = set()
    while pending:
        number = pending.pop()
        if number in found:
            continue
        found.add(number)
        inputs = layers[number]["recipe"]["parameters"].get("inputs")
        more = inputs if isinstance(inputs, list) else []
        pending += [each for each in (*layers[number].get("parents", ()), *more) if each in layers]
    return found


def _paths(layer: Mapping[str, Any]) -> list[str]:
    parameters = layer["recipe"]["parameters"]
    paths = [*layer.get("paths", ()), *_list(parameters.get("paths")), parameters.get("header")]
    return [path for path in paths if isinstance(path, str)]


def _with_paths(layer: Mapping[str, Any], real: Mapping[str, str]) -> dict[str, Any]:
    """A disk with its paths, and the detached headers in it, as they are called with no link in them."""
    pending = [made := dict(layer)]
    while pending:
        each = pending.pop()
        parameters = dict(each["recipe"]["parameters"])
        if isinstance(parameters.get("paths"), list):
            parameters["paths"] = [real.get(path, path) for path in parameters["paths"]]
        if isinstance(parameters.get("header"), str):
            parameters["header"] = real.get(parameters["header"], parameters["header"])
        each["recipe"] = {**each["recipe"], "parameters": parameters}
        if "paths" in each:
            each["paths"] = [real.get(path, path) for path in each["paths"]]
        each["volumes"] = [dict(volume) for volume in each["volumes"]]
        pending.extend(each["volumes"])
    return made


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _started(
    mark: str,
    handed: Sequence[int],
    settings: Mapping[str, Any],
    told: _Told,
    *,
    keys: Sequence[Mapping[str, Any]],
    hold: Sequence[int] = (),
    timeout: float,
) -> Server:
    """Start the server and hand it everything; returns when it answers the kernel."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(timeout)
        with theirs:
            first = subprocess.Popen(  # noqa: S603
                command("pyimount.fuse", f"--mark={mark}", *map(str, hold)), pass_fds=hold,
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env={"LC_ALL": "C.UTF-8", "PATH": ":".join(SEARCH_PATH)}, cwd="/",
                start_new_session=True, umask=0o077,
            )  # fmt: skip
        with first, ExitStack() as undone:
            undone.callback(first.kill)
            try:
                server = _identified(_answer(ours, "pid"), mark)
                undone.callback(stop, server, patience=0)
                send(ours, settings, handed)
                _hand_over(ours, told, keys)
                failed = _answer(ours, "ready")["failed"]
            except MessageError as error:
                said = _last_line(first)
                raise StepFailed(f"the FUSE server {said or f'ended before its time: {error}'}") from error
            undone.pop_all()
    return server.replaced(failed={str(name): printable(str(why)) for name, why in failed.items()})


def _hand_over(to: socket.socket, told: _Told, keys: Sequence[Mapping[str, Any]]) -> None:
    images = list(told.images.items())
    send(to, {"scan": told.scan, "images": len(images)})
    for first in range(0, len(images), FILES_CAP):
        some = images[first : first + FILES_CAP]
        send(to, [path for path, _ in some], [descriptor for _, descriptor in some])
    send(to, list(keys))


def _answer(server: socket.socket, wanted: str) -> dict[str, Any]:
    answer, descriptors = receive(server)
    for descriptor in descriptors:
        os.close(descriptor)
    if not isinstance(answer, dict) or wanted not in answer:
        said = answer.get("error") if isinstance(answer, dict) else None
        raise StepFailed(f"the FUSE server says: {printable(str(said or 'nothing of use'))}")
    return answer


def _identified(answer: Mapping[str, Any], mark: str) -> Server:
    found = _look(answer["pid"], mark)
    if found is None:
        raise StepFailed("the FUSE server ended as soon as it had started")
    return found


def _last_line(process: "subprocess.Popen[bytes]") -> str:
    """What a process that is gone said last of all."""
    assert process.stderr is not None  # noqa: S101  (a pipe was asked for)
    os.set_blocking(process.stderr.fileno(), False)
    said = (process.stderr.read(_ERRORS_CAP) or b"").decode("utf-8", "backslashreplace").strip()
    return printable(f"ended: {said.splitlines()[-1]}") if said else ""


def _look(pid: int, mark: str) -> Server | None:
    """The server of this process id and mark, if it is one that lives."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program comes second, and may have any character.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if f"--mark={mark}".encode() not in arguments or b"pyimount.fuse" not in arguments:
        return None
    return None if fields[0] in (b"Z", b"X") else Server(pid=pid, started=int(fields[19]), mark=mark)


def find(mark: str) -> list[Server]:
    """The servers of this mark, from whatever process they were started."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return [server for pid in pids if (server := _look(pid, mark)) is not None]


def stands(server: Server) -> bool:
    """Whether this very server still runs."""
    found = _look(server.pid, server.mark)
    return found is not None and found.started == server.started


def stop(server: Server, *, patience: float = 5.0) -> bool:
    """Wait for a server's end, which comes with the unmount; after ``patience`` seconds, end it.

    Never touches another process. False when it still runs.
    """
    try:
        process = os.pidfd_open(server.pid)
    except ProcessLookupError:
        return True
    try:
        # Whatever gets this number later, the descriptor is of the process that has it now.
        if not stands(server):
            return True
        if _has_ended(process, patience):
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        return _has_ended(process, _ENDS_WITHIN)
    finally:
        os.close(process)


def _has_ended(process: int, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    deadline = time.monotonic() + seconds
    while True:
        if waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return True
        if time.monotonic() >= deadline:
            return False
