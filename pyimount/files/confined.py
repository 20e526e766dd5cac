"""A reader in a process of its own: started, handed the open images, asked, ended.

Whatever it says is hostile bytes' word; it may also say nothing more: then it is ended, and another started.
"""

import os
import socket
import subprocess
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from pyimount.confinement.messages import FILES_CAP, MessageError, send
from pyimount.confinement.own_modules import command
from pyimount.confinement.users import borrowed_user
from pyimount.files import wire
from pyimount.files.process import Asked, Died, Question
from pyimount.files.reading import Refused
from pyimount.files.sourcing import close_images, image_paths, open_images, request_of
from pyimount.formats import FileReader
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer

SILENT = 600.0
"""Seconds without a word after which a reader is given up: its own limits end it long before."""


class Confined(Asked):
    """A reader in a process of its own. Raises Refused where the library does not take the volume."""

    def __init__(self, scan: Scan, volume: VolumeLayer, keys: Keyring, reader: FileReader) -> None:
        self._waiting: deque[Question] = deque()
        with ExitStack() as stack:
            self._start(scan, volume, keys, reader, stack)
            self._stack = stack.pop_all()

    def _start(
        self, scan: Scan, volume: VolumeLayer, keys: Keyring, reader: FileReader, stack: ExitStack
    ) -> None:
        images = open_images(image_paths(scan, volume))
        stack.callback(close_images, images)
        self._socket, theirs = socket.socketpair()
        stack.callback(self._socket.close)
        user = stack.enter_context(borrowed_user()) if os.geteuid() == 0 else os.getuid()
        with theirs:
            for end in (self._socket, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wire.PIECE)
            # ^C is for us, who end it.
            self._process = subprocess.Popen(  # noqa: S603
                command("pyimount.files.child", str(user)), stdin=theirs.fileno(), env={"LC_ALL": "C.UTF-8"},
                cwd="/", start_new_session=True, stderr=_errors(),
            )  # fmt: skip
        stack.callback(self._end)
        self._socket.settimeout(SILENT)
        try:
            send(self._socket, request_of(scan, volume, keys, reader.adapter, images))
            paths = list(images)
            for at in range(0, len(paths), FILES_CAP):
                some = paths[at : at + FILES_CAP]
                send(self._socket, some, [images[path] for path in some])
            said, _ = wire.take(self._socket)
        except MessageError as error:
            raise Refused(f"the reader ended while it opened the volume{self._how()}") from error
        if not isinstance(said, dict) or "ready" not in said:
            raise Refused(wire.text(said.get("refused", "")) if isinstance(said, dict) else "no answer")
        self.folds = wire.text(said["folds"])

    def ask(self, question: Mapping[str, Any]) -> Question:
        """As Asked's."""
        asked = Question(self, question)
        try:
            wire.give(self._socket, question)
        except MessageError as error:
            raise self._ended() from error
        self._waiting.append(asked)
        return asked

    def go_on(self) -> None:
        """As Asked's."""
        if not self._waiting:
            raise Died("the reader was ended")
        try:
            said, data = wire.take(self._socket)
            if not isinstance(said, dict):
                raise MessageError("no answer")
        except MessageError as error:
            raise self._ended() from error
        self._waiting.popleft().answer = said, data

    def _ended(self) -> Died:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)  # it may be about to end
        how = self._how()
        self._waiting.clear()
        self.close()
        return Died(f"the reader ended{how}")

    def _how(self) -> str:
        status = self._process.poll()
        if status is None:
            return ""
        known = {-24: ": it took more processor time than it may", -9: ": it was killed", -11: ": it crashed"}
        return known.get(status, f", with status {status}")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """As Asked's."""
        self._stack.close()


def _errors() -> int | None:
    """Where a reader may complain: nowhere, but where somebody looks for a fault."""
    return None if os.environ.get("PYIMOUNT_READER_ERRORS") else subprocess.DEVNULL
