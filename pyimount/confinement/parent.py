"""Root's way to scan: in a process without privileges, for which this one opens the files."""

import errno
import os
import socket
import stat
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from pyimount.confinement.crossing import question_of, report_of
from pyimount.confinement.messages import MessageError, receive, send
from pyimount.confinement.own_modules import command
from pyimount.confinement.users import borrowed_user
from pyimount.confinement.watching import Watch
from pyimount.exceptions import StepFailed
from pyimount.records import Record
from pyimount.sources.broker import Broker
from pyimount.sources.denied import reason
from pyimount.sources.errors import NoFilesLeft, OpenError
from pyimount.sources.identity import FileIdentity
from pyimount.sources.segments import Segments

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LAST = 200
"""So many bytes of what the child says at the end, where it ends before its time, are told."""


class Confined(Record):
    """What a confined scan gave: its ``report``, as JSON values, and the ``files`` that it read, by path."""

    report: dict[str, Any]
    files: Mapping[str, FileIdentity]


def scan_confined(
    images: Sequence[Segments],
    *,
    allow: Sequence[str] = (),
    header: str | None = None,
    request: Mapping[str, Any],
    timeout: float | None,
) -> Confined:
    """A scan by a process without privileges; its report is JSON values that nobody has checked.

    ``request``: its ``hints``, ``keys``, ``budget``, ``try_veracrypt``. ``timeout``: seconds for all of it,
    whatever it says meanwhile; None: it may take any time as long as it does something, for what it reads
    from may be slow. Its processor time is bounded (``confinement.limits``).
    Raises StepFailed when it says nothing, or speaks of files that it was not given; OpenError when the
    ``header`` cannot be opened.
    """
    with ExitStack() as stack:
        try:
            ours, child, said = _start(stack)
        except OSError as error:
            raise StepFailed(f"no scan can be started: {error.strerror}") from error
        with child, Watch(child.pid, ours, timeout).kept() as watch:
            try:
                return _serve(ours, images, Broker(allow), header, request, watch=watch)
            except MessageError as error:
                if watch.why is not None:
                    raise StepFailed(watch.why) from error
                child.kill()
                child.wait()
                raise StepFailed(f"the scan ended before its time: {_last_line(said) or error}") from error
            except NoFilesLeft as error:
                raise StepFailed(str(error)) from error
            finally:
                ours.close()
                child.kill()


def _start(stack: ExitStack) -> "tuple[socket.socket, subprocess.Popen[bytes], IO[bytes]]":
    """The child, our end of its socket, and what it says to standard error, which no terminal is to obey."""
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    with theirs:
        user = stack.enter_context(borrowed_user())
        said = stack.enter_context(os.fdopen(os.memfd_create("said", os.MFD_CLOEXEC), "rb"))
        # ^C is for us, who end it.
        child = subprocess.Popen(  # noqa: S603
            command("pyimount.confinement.child", str(user)),
            stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=said,
            env={"LC_ALL": "C.UTF-8"}, cwd="/", start_new_session=True,
        )  # fmt: skip
    return ours, child, said


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _LAST))
    lines = said.read(_LAST).decode("utf-8", "backslashreplace").strip().splitlines()
    return "".join(one if one.isprintable() else " " for one in lines[-1]) if lines else ""


def _serve(
    child: socket.socket,
    images: Sequence[Segments],
    broker: Broker,
    header: str | None,
    request: Mapping[str, Any],
    *,
    watch: Watch,
) -> Confined:
    read: dict[str, FileIdentity] = {}
    known = {path for segments in images for path in segments.paths}
    told = [
        {
            "paths": list(each.paths),
            "missing": list(each.missing),
            "split": each.split,
            "holes": list(each.holes),
        }
        for each in images
    ]
    files = [] if header is None else [_open(header)]
    if header is not None:
        read[os.path.abspath(header)] = FileIdentity.of(files[0])
    try:
        send(child, {**request, "images": told, "allow": list(broker.allow), "header": header}, files)
    finally:
        for file in files:
            os.close(file)
    while True:
        watch.listening = True
        message, given = receive(child)
        watch.listening = False
        for file in given:
            os.close(file)
        if isinstance(message, dict) and message.keys() == {"report"}:
            absolute = None if header is None else os.path.abspath(header)
            return Confined(report_of(message["report"], known, header=absolute, allow=broker.allow), read)
        _answer(child, broker, message, known, read)


def _answer(
    child: socket.socket, broker: Broker, message: object, known: set[str], read: dict[str, FileIdentity]
) -> None:
    """Give the child the file or the names that it asks for, if the table and the policy have them."""
    try:
        question = question_of(message, known)
        if question.names is not None:
            send(child, {"names": broker.names_in(question.image, question.folder, question.names)})
            return
        if question.named is None:
            path = question.image
            file = _open(path)
        else:
            path = broker.resolve(question.named, question.image, question.folder)
            file = _open_found(path)
    except OpenError as error:
        send(child, {"error": str(error)})
        return
    except NoFilesLeft as error:
        # Not that the file is none, or is not there: nothing is known of it.
        send(child, {"error": str(error), "no_files_left": True})
        return
    try:
        known.add(path)
        # The first that was read under this path: another one is not what was scanned.
        read.setdefault(os.path.abspath(path), FileIdentity.of(file))
        send(child, {"path": path}, [file])
    finally:
        os.close(file)


def _open(path: str) -> int:
    """Open what the user named. Raises OpenError, NoFilesLeft."""
    try:
        return os.open(path, _READ)
    except (OSError, ValueError) as error:
        raise _why(path, error) from error


def _open_found(path: str) -> int:
    """Open what an image named, at a path in which every link has been followed: none may stand there now.

    A file or a block device alone is opened: to open anything else may do something. Raises OpenError,
    NoFilesLeft.
    """
    folder, name = os.path.split(path)
    try:
        at = os.open("/", _FOLDER)
        try:
            for part in folder.split("/")[1:] if folder != "/" else ():
                inner = os.open(part, _FOLDER, dir_fd=at)
                os.close(at)
                at = inner
            is_ = os.stat(name, dir_fd=at, follow_symlinks=False)
            if not stat.S_ISREG(is_.st_mode) and not stat.S_ISBLK(is_.st_mode):
                raise OpenError(f"{path}: is neither a file nor a disk")
            file = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=at)
            if not os.path.samestat(os.fstat(file), is_):
                os.close(file)
                raise OpenError(f"{path}: changed while it was opened")
            return file
        finally:
            os.close(at)
    except (OSError, ValueError) as error:
        raise _why(path, error) from error


def _why(path: str, error: OSError | ValueError) -> OpenError | NoFilesLeft:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return NoFilesLeft(f"{path}: this process may open no more files")
    return OpenError(f"{path}: {reason(path, error)}")
