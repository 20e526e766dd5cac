"""``python -m pyimount.confinement.child``: a scan in a process without privileges, which opens no file.

Root starts this for its scans. The images come as open files through the socket that is its standard
input; what a header names besides them is asked for there, and the other side decides by the policy of
``sources.broker``. The answer is the report as JSON.
"""

import gc
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from pyimount.confinement.everything import load_everything
from pyimount.confinement.messages import MessageError, receive, send
from pyimount.confinement.namespaces import PROCESSES, go_on_in_a_child, leave_namespaces
from pyimount.confinement.prison import shut_in
from pyimount.keys import Keyring
from pyimount.scanning import hints_of, scan
from pyimount.scanning.unlocking import Unlocking
from pyimount.sources.broker import LISTING_CAP, Broker
from pyimount.sources.budget import Budget, Meter
from pyimount.sources.errors import NoFilesLeft, OpenError
from pyimount.sources.file import FileSource
from pyimount.sources.segments import Segments
from pyimount.sources.source import Source


class AskingBroker(Broker):
    """A broker that has every file opened by the process at the other end of a socket."""

    def __init__(self, other: socket.socket, allow: tuple[str, ...]) -> None:
        super().__init__()
        self.allow = allow
        self._other = other

    def open(self, path: str, meter: Meter) -> Source:
        """As Broker's."""
        return self._file({"open": path}, meter)

    def open_named(self, name: str, image: str, meter: Meter, folder: str = "") -> FileSource:
        """As Broker's."""
        return self._file({"named": name, "image": image, "folder": folder}, meter)

    def names_in(self, image: str, folder: str = "", cap: int = LISTING_CAP) -> list[str]:
        """As Broker's."""
        send(self._other, {"names": image, "folder": folder, "cap": cap})
        answer, _ = receive(self._other)
        _raise_why(answer)
        return [str(name) for name in answer["names"]]

    def _file(self, question: dict[str, str], meter: Meter) -> FileSource:
        path, descriptor = self._ask(question)
        # It may be closed in between, while others are read.
        return FileSource(path, meter, opener=lambda: self._ask(question)[1], descriptor=descriptor)

    def _ask(self, question: dict[str, str]) -> tuple[str, int]:
        """The path of a file, and its descriptor; raises OpenError."""
        send(self._other, question)
        answer, files = receive(self._other)
        _raise_why(answer)
        return str(answer["path"]), files[0]


def _raise_why(answer: Mapping[str, Any]) -> None:
    """Raise OpenError or NoFilesLeft where the other side did not do what it was asked for."""
    if "error" in answer:
        raise (NoFilesLeft if answer.get("no_files_left") else OpenError)(str(answer["error"]))


def main() -> int:
    """Take one request, answer it, end."""
    # Looking through every object for garbage takes longer than most scans.
    gc.set_threshold(100_000)
    other = socket.socket(fileno=0)
    user = int(sys.argv[1])
    left = leave_namespaces() if os.geteuid() == 0 else ()
    if PROCESSES in left:
        go_on_in_a_child()
    try:
        shut_in(user, namespaces=left, with_parent=True, load_first=load_everything)
    except OSError as error:
        # The last line of what this says is what a user reads.
        print(f"it cannot be shut in: {error.strerror}", file=sys.stderr)
        return 1
    try:
        request, files = receive(other)
        keyring = Keyring.revealed(request["keys"])
        header = FileSource(request["header"], descriptor=files[0]) if files else None
        images = [
            Segments(
                tuple(each["paths"]),
                tuple(each["missing"]),
                split=each["split"],
                holes=tuple(each["holes"]),
            )
            for each in request["images"]
        ]
        found = scan(
            images,
            AskingBroker(other, tuple(request["allow"])),
            Unlocking(keyring if len(keyring) else None, header, try_veracrypt=request["try_veracrypt"]),
            hints_of(**request["hints"]),
            Budget(**request["budget"]),
        )
        send(other, {"report": found.to_dict()})
    except MessageError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
