"""The files of a cache of what is written: locked by the server that writes them, read when it has ended.

Beside the blocks (``.data``) a map of them (``.map``): a header, in which a write that failed is noted too,
and from 4096 on a bit for each block.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import IO

from pyimount.records import Record

DATA, MAP = ".data", ".map"
BITS_AT = 4096
"""Where the bits begin in the map."""

LOST_AT = 1024
LOST = struct.Struct("<QQ")
"""How many writes failed, and the kernel's number for why the first did."""

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class CacheFiles(Record):
    """The open files of one layer's cache, as descriptors."""

    data: int
    map: int


class Written(Record):
    """What is in a cache.

    ``any``: something was written. ``lost``: so many writes failed, ``why`` the first of them did.
    """

    any: bool
    lost: int
    why: str | None


def open_locked(folder: int, name: str) -> CacheFiles:
    """The files of one layer's cache in a folder that is open, made where they are missing, and locked.

    The lock lasts as long as the descriptor of the map is open in some process. Raises OSError,
    BlockingIOError when another has them locked.
    """
    with ExitStack() as failing:
        bits = os.open(name + MAP, _FLAGS | os.O_CREAT, 0o600, dir_fd=folder)
        failing.callback(os.close, bits)
        fcntl.flock(bits, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = os.open(name + DATA, _FLAGS | os.O_CREAT, 0o600, dir_fd=folder)
        failing.pop_all()
    return CacheFiles(data, bits)


def note_lost(bits: int, error: OSError) -> None:
    """Note in an open map that a write failed. Its place is on the disk already: this needs no room."""
    with suppress(OSError):
        count, why = LOST.unpack(os.pread(bits, LOST.size, LOST_AT).ljust(LOST.size, b"\0"))
        os.pwrite(bits, LOST.pack(count + 1, why or error.errno or errno.EIO), LOST_AT)


def written(folder: int, names: Iterable[str]) -> Written:
    """What is in the caches of these names; raises OSError when one cannot be read."""
    found, lost, why = False, 0, 0
    for name in names:
        with suppress(FileNotFoundError):
            bits = os.open(name + MAP, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            with open(bits, "rb") as file:
                count, first = LOST.unpack(os.pread(bits, LOST.size, LOST_AT).ljust(LOST.size, b"\0"))
                lost, why = lost + count, why or first
                found = found or _any_bit(file)
    return Written(found, lost, os.strerror(why) if why else None)


def _any_bit(file: IO[bytes]) -> bool:
    file.seek(BITS_AT)
    return any(piece.strip(b"\0") for piece in iter(lambda: file.read(1 << 20), b""))


def remove(folder: int, names: Sequence[str]) -> None:
    """Remove the caches of these names. Raises OSError, BlockingIOError when one is written to."""
    with ExitStack() as stack:
        there = []
        for name in names:
            with suppress(FileNotFoundError):
                bits = os.open(name + MAP, _FLAGS, dir_fd=folder)
                stack.callback(os.close, bits)
                fcntl.flock(bits, fcntl.LOCK_EX | fcntl.LOCK_NB)
                there.append(name)
        for name in there:
            for end in (DATA, MAP):
                with suppress(FileNotFoundError):
                    os.unlink(name + end, dir_fd=folder)


def names_in(folder: int) -> list[str]:
    """The names of the caches in a folder."""
    return sorted(name.removesuffix(MAP) for name in os.listdir(folder) if name.endswith(MAP))
