"""Messages between two processes of ours: JSON with open files, over a Unix socket.

Each message is its length, four bytes, and JSON; the descriptors travel with the length. What comes in is
only ever data: lengths are bounded, nothing is unpickled.
"""

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

CAP = 64 << 20
"""No message is longer, in bytes."""

FILES_CAP = 250
"""No message carries more open files: Linux takes 253."""

_LENGTH = struct.Struct("<I")


class MessageError(Exception):
    """The other side has ended, or sent what is no message."""


def send(to: socket.socket, value: Any, files: Sequence[int] = ()) -> None:
    """Send JSON values, and open files with them. Raises MessageError."""
    data = json.dumps(value).encode()
    if len(data) > CAP or len(files) > FILES_CAP:
        raise MessageError(f"a message of {len(data)} bytes and {len(files)} open files")
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    try:
        to.sendmsg([_LENGTH.pack(len(data))], passed)
        to.sendall(data)
    except OSError as error:
        raise MessageError(f"the other process has ended: {error.strerror}") from error


def receive(on: socket.socket) -> tuple[Any, list[int]]:
    """The next message: its value, and the files that came with it, which the caller closes.

    Raises MessageError.
    """
    files: list[int] = []
    try:
        head, passed, flags, _ = on.recvmsg(
            _LENGTH.size, socket.CMSG_SPACE(4 * FILES_CAP), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in passed:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(data) // 4 * 4
                files.extend(array.array("i", data[:whole]))
        if flags & socket.MSG_CTRUNC:
            raise MessageError("more open files than a message carries")
        head += _exactly(on, _LENGTH.size - len(head))
        (length,) = _LENGTH.unpack(head)
        if length > CAP:
            raise MessageError(f"a message of {length} bytes")
        return json.loads(_exactly(on, length)), files
    except (OSError, ValueError, RecursionError) as error:
        _close(files)
        raise MessageError(f"no message: {error}") from error
    except MessageError:
        _close(files)
        raise


def _exactly(on: socket.socket, length: int) -> bytes:
    pieces = []
    while length:
        piece = on.recv(min(length, 1 << 20))
        if not piece:
            raise MessageError("the other process has ended")
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
