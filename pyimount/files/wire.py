"""What passes between a reader and who asks it: JSON, and bytes behind it, over a socket.

The reader looks at hostile bytes, so what it says may be anything: lengths are bounded, and what it says is
made into records here, or refused.
"""

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

from pyimount.confinement.messages import MessageError
from pyimount.files.records import Kind, Run, Stat, Stream

PIECE = 4 << 20
"""No answer has more data, in bytes."""
TEXT_CAP = 16 << 20
"""No JSON is longer, in bytes."""
BATCH = 512
"""No answer has more entries of a folder."""

_HEAD = struct.Struct("<II")
_STAT = Stat.fields


def give(to: socket.socket, value: Any, data: bytes = b"") -> None:
    """Send JSON values, and bytes with them. Raises MessageError."""
    text = json.dumps(value, separators=(",", ":")).encode()
    if len(text) > TEXT_CAP or len(data) > PIECE:
        raise MessageError(f"a message of {len(text)} and {len(data)} bytes")
    try:
        if data:
            to.sendall(_HEAD.pack(len(text), len(data)) + text)
            to.sendall(data)
        else:
            to.sendall(_HEAD.pack(len(text), 0) + text)
    except OSError as error:
        raise MessageError(f"the other process has ended: {error.strerror}") from error


def take(on: socket.socket) -> tuple[Any, bytes]:
    """The next message; raises MessageError."""
    try:
        texts, size = _HEAD.unpack(_exactly(on, _HEAD.size))
        if texts > TEXT_CAP or size > PIECE:
            raise MessageError(f"a message of {texts} and {size} bytes")
        value = json.loads(_exactly(on, texts))
        return value, _exactly(on, size)
    except (OSError, ValueError, RecursionError) as error:
        raise MessageError(f"no message: {error}") from error


def _exactly(on: socket.socket, length: int) -> bytes:
    # All at once: what a buffer would be copied from once more, for the whole of a large file.
    data = on.recv(length, socket.MSG_WAITALL) if length else b""
    while len(data) < length:
        more = on.recv(length - len(data), socket.MSG_WAITALL)
        if not more:
            raise MessageError("the other process has ended")
        data += more
    return data


def stat_values(stat: Stat) -> list[Any]:
    """A Stat as JSON values."""
    said = stat.__dict__
    return [said.get(name) for name in _STAT]


def stat_of(values: object) -> Stat:
    """The Stat that these values are; raises MessageError."""
    if not isinstance(values, list) or len(values) != len(_STAT):
        raise MessageError("no figures of a file")
    kind, *numbers, local, device, attributes = values
    try:
        said: dict[str, Any] = {
            name: number
            for name, number in zip(_STAT[1:], numbers, strict=False)
            if _number(number) is not None
        }
        if device is not None:
            said["device"] = int(device[0]), int(device[1])
        if attributes:
            said["attributes"] = tuple(str(word)[:100] for word in attributes)
        return Stat(kind=Kind(kind), local=bool(local), **said)
    except (ValueError, TypeError, IndexError) as error:
        raise MessageError(f"no figures of a file: {error}") from error


def _number(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not -(1 << 127) < value < 1 << 127:
        raise ValueError("no number")
    return value


def streams_of(values: object) -> tuple[Stream, ...]:
    """The streams that these values are; raises MessageError."""
    try:
        return tuple(
            Stream(name=text(name), kind=text(kind), size=_number(size)) for name, kind, size in _list(values)
        )
    except (ValueError, TypeError) as error:
        raise MessageError(f"no streams: {error}") from error


def runs_of(values: object) -> tuple[Run, ...] | None:
    """The runs that these values are; raises MessageError."""
    if values is None:
        return None
    try:
        return tuple(
            Run(_number(at) or 0, _number(size) or 0, _number(place)) for at, size, place in _list(values)
        )
    except (ValueError, TypeError) as error:
        raise MessageError(f"no runs: {error}") from error


def text(value: object) -> str:
    """A text; raises MessageError for what is none."""
    if not isinstance(value, str):
        raise MessageError("no text")
    return value


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value
