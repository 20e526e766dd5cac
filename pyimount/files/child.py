"""``python -m pyimount.files.child``: a reader, a process without privileges that reads one volume's files.

The images come as open files through the socket that is its standard input, with what to open in them; those
that are files within another image are read through a second socket, from whoever started this.
Its memory is limited, and its processor time for each answer: what takes more ends it, and whoever asked
starts another.
"""

import math
import os
import resource
import socket
import sys
import time
from contextlib import ExitStack
from functools import partial

from pyimount.confinement.everything import load_everything
from pyimount.confinement.messages import MessageError, receive
from pyimount.confinement.namespaces import PROCESSES, go_on_in_a_child, leave_namespaces
from pyimount.confinement.prison import shut_in
from pyimount.files import wire
from pyimount.files.borrowing import borrowed
from pyimount.files.opening import load, open_volume
from pyimount.files.reading import Unreadable
from pyimount.files.session import Session
from pyimount.files.sourcing import given_from
from pyimount.sources.errors import SourceError

MEMORY = 448 << 20
"""Bytes that a reader may take for itself."""
SECONDS = 10
"""Seconds of processor time for one piece of an answer."""


def _renew() -> None:
    """Give the piece of work that begins its processor time: past it the kernel ends this process."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = math.ceil(time.process_time()) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if most < 0 else min(wanted, most), most))


def main() -> int:
    """Take a request, and answer questions until nobody asks any more."""
    other = socket.socket(fileno=0)
    user = int(sys.argv[1])
    left = leave_namespaces() if os.geteuid() == 0 else ()
    if PROCESSES in left:
        go_on_in_a_child()
    try:
        request, channels = receive(other)
        adapter = str(request["adapter"])
        load(adapter)
        # Shut in, this process makes no socket of anything.
        shelf = borrowed(request["lent"], channels[0]) if "lent" in request else None
        shut_in(
            user, namespaces=left, with_parent=True, lasting=True, memory=MEMORY,
            load_first=partial(load_everything, foreign=True),
        )  # fmt: skip
        descriptors: dict[str, int] = {}
        while len(descriptors) < request["images"]:
            paths, opened = receive(other)
            descriptors.update(zip(paths, opened, strict=True))
        with ExitStack() as stack:
            _renew()
            try:
                volume = open_volume(adapter, given_from(request, descriptors, stack, shelf))
            except (Unreadable, SourceError, ModuleNotFoundError) as error:
                wire.give(other, {"refused": str(error)})
                return 0
            wire.give(other, {"ready": True, "folds": volume.folds})
            session = Session(volume, _renew)
            while True:
                question, _ = wire.take(other)
                wire.give(other, *session.answer(question))
    except MessageError:
        return 0  # nobody asks any more
    return 0


if __name__ == "__main__":
    sys.exit(main())
