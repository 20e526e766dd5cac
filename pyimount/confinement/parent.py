"""Root's way to scan: in a process without privileges, for which this one opens the files."""

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from pyimount.confinement.messages import MessageError, receive, send
from pyimount.confinement.own_modules import command
from pyimount.exceptions import StepFailed
from pyimount.sources.broker import Broker
from pyimount.sources.errors import OpenError
from pyimount.sources.segments import Segments


def scan_confined(
    images: Sequence[Segments],
    *,
    allow: Sequence[str] = (),
    header: str | None = None,
    request: Mapping[str, Any],
    timeout: float | None,
) -> dict[str, Any]:
    """The report of a scan that a process without privileges makes, as JSON values that nobody has checked.

    ``request``: its ``hints``, ``keys``, ``budget``, ``try_veracrypt``. ``timeout``: seconds without a word
    from it, None where a scan may take any time. Raises StepFailed when it says nothing, or speaks of files
    that it was not given; OpenError when the ``header`` cannot be opened.
    """
    ours, theirs = socket.socketpair()
    ours.settimeout(timeout)
    with theirs:
        line = command("pyimount.confinement.child")
        # ^C is for us, who end it.
        child = subprocess.Popen(  # noqa: S603
            line, stdin=theirs.fileno(), env={"LC_ALL": "C.UTF-8"}, cwd="/", start_new_session=True
        )
    with ours, child:
        try:
            return _serve(ours, images, Broker(allow), header, request)
        except MessageError as error:
            raise StepFailed(f"the scan ended before its time: {error}") from error
        finally:
            ours.close()
            child.kill()


def _serve(
    child: socket.socket,
    images: Sequence[Segments],
    broker: Broker,
    header: str | None,
    request: Mapping[str, Any],
) -> dict[str, Any]:
    known = {path for segments in images for path in segments.paths}
    told = [
        {"paths": list(each.paths), "missing": list(each.missing), "split": each.split} for each in images
    ]
    files = [] if header is None else [_open(header)]
    try:
        send(child, {**request, "images": told, "allow": list(broker.allow), "header": header}, files)
    finally:
        for file in files:
            os.close(file)
    while True:
        question, given = receive(child)
        for file in given:
            os.close(file)
        if "report" in question:
            return _of_known_files(question["report"], known)
        if "names" in question:
            image, folder = _image(question["names"], known), str(question["folder"])
            send(child, {"names": broker.names_in(image, folder, int(question["cap"]))})
        else:
            _answer(child, broker, question, known)


def _answer(child: socket.socket, broker: Broker, question: Mapping[str, Any], known: set[str]) -> None:
    """Open one file for the scan, if policy has it."""
    try:
        if "open" in question:
            path = _image(question["open"], known)
        else:
            image = _image(question["image"], known)
            path = broker.resolve(str(question["named"]), image, str(question["folder"]))
        file = _open(path)
    except OpenError as error:
        send(child, {"error": str(error)})
        return
    try:
        known.add(path)
        send(child, {"path": path}, [file])
    finally:
        os.close(file)


def _image(path: object, known: set[str]) -> str:
    if not isinstance(path, str) or path not in known:
        raise OpenError("the scan asked for a file that is none of this image's")
    return path


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise OpenError(f"{path}: {reason[:1].lower()}{reason[1:]}") from error


def _of_known_files(report: Any, known: set[str]) -> dict[str, Any]:
    """The report, if every file that it says to open later is one that was opened for it."""
    try:
        for disk in report["disks"]:
            paths = {*disk["paths"], *disk["recipe"]["parameters"].get("paths", ())}
            if not paths <= known:
                raise StepFailed("the scan speaks of files that it was not given")
    except (KeyError, TypeError, AttributeError) as error:
        raise StepFailed(f"the scan gave no report: {error}") from error
    return dict(report)
