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
from pyimount.files.lending import Lender
from pyimount.files.process import Asked, Died, Question
from pyimount.files.reading import Refused
from pyimount.files.sourcing import close_images, image_paths, open_images, request_of
from pyimount.formats import FileReader
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.sources.shelf import Shelf

SILENT = 600.0
"""Seconds without a word after which a reader is given up: its own limits end it long before."""


class Confined(Asked):
    """A reader in a process of its own. Raises Refused where the library does not take the volume."""

    def __init__(
        self, scan: Scan, volume: VolumeLayer, keys: Keyring, reader: FileReader, shelf: Shelf | None = None
    ) -> None:
        self._waiting: deque[Question] = deque()
        with ExitStack() as stack:
            self._start(scan, volume, keys, reader, stack, shelf)
            self._stack = stack.pop_all()

    def _start(  # noqa: PLR0917
        self,
        scan: Scan,
        volume: VolumeLayer,
        keys: Keyring,
        reader: FileReader,
        stack: ExitStack,
        shelf: Shelf | None,
    ) -> None:
        paths = image_paths(scan, volume)
        images = open_images([] if shelf is not None else paths)
        stack.callback(close_images, images)
        self._lender = None if shelf is None else Lender(shelf, paths, stack)
        self._socket, theirs = socket.socketpair()
        stack.callback(self._socket.close)
        user = stack.enter_context(borrowed_user()) if os.geteuid() == 0 else os.getuid()
        with theirs:
            for end in (self._socket, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wire.PIECE)
            # ^C is for us, who end it. It talks over its socket alone, and keeps open no pipe of ours that
            # somebody reads to its end.
            self._process = subprocess.Popen(  # noqa: S603
                command("pyimount.files.child", str(user)), stdin=theirs.fileno(), env={"LC_ALL": "C.UTF-8"},
                cwd="/", start_new_session=True, stdout=subprocess.DEVNULL, stderr=_errors(),
            )  # fmt: skip
        stack.callback(self._end)
        self._socket.settimeout(SILENT)
        try:
            within = self._lender is not None
            request = request_of(scan, volume, keys, reader.adapter, images, within=within)
            if self._lender is None:
                send(self._socket, request)
            else:
                send(self._socket, {**request, "lent": self._lender.offer}, [self._lender.theirs.fileno()])
                self._lender.theirs.close()
            opened = list(images)
            for at in range(0, len(opened), FILES_CAP):
                some = opened[at : at + FILES_CAP]
                send(self._socket, some, [images[path] for path in some])
            said, _ = self._take()
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
            said, data = self._take()
            if not isinstance(said, dict):
                raise MessageError("no answer")
        except MessageError as error:
            raise self._ended() from error
        self._waiting.popleft().answer = said, data

    def _take(self) -> tuple[Any, bytes]:
        """What the reader says next; until then it gets the bytes that it asks for. Raises MessageError."""
        if self._lender is not None:
            self._lender.serve_until(self._socket, SILENT)
        return wire.take(self._socket)

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
