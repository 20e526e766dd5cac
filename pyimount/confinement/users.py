"""A user for one process alone, as systemd's DynamicUser has: drawn from a range that belongs to nobody.

systemd, "Users, Groups, UIDs and GIDs on systemd Systems": 61184 to 65519 are for dynamic users.
https://systemd.io/UIDS-GIDS/
"""

import fcntl
import os
import pwd
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pyimount.confinement.process import NOBODY
from pyimount.records import Record

FIRST, LAST = 61184, 65519
LOCKS = "/run/pyimount-users.lock"
"""A byte of this file is locked for each user in use, by who has it open."""
_TRIES = 64


class OwnUser(Record):
    """A user that no other process has, as long as ``lock``, a descriptor, is open in some process."""

    number: int
    lock: int


def own_user() -> OwnUser | None:
    """A user that is not in use, locked. None where the range is not mapped, or /run cannot be written.

    Close its ``lock``, and ``tidy`` up, when no process has it any more.
    """
    if not is_mapped():
        return None
    running = _running()
    for _ in range(_TRIES):
        number = FIRST + secrets.randbelow(LAST - FIRST + 1)
        if number in running or _is_known(number):
            continue
        try:
            lock = os.open(LOCKS, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        # Whoever tidied up meanwhile has taken the file away: a lock on it would keep nobody out.
        if _locked(lock, number) and _stands(lock):
            return OwnUser(number, lock)
        os.close(lock)
    return None


@contextmanager
def borrowed_user() -> Iterator[int]:
    """A user for a process that ends before the block does; nobody, where there is none of its own."""
    own = own_user()
    try:
        yield NOBODY if own is None else own.number
    finally:
        if own is not None:
            os.close(own.lock)
        tidy()


def tidy() -> None:
    """Remove the file of locks, if nobody has a lock in it."""
    try:
        lock = os.open(LOCKS, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if _locked(lock, 0, 0) and _stands(lock):
            os.unlink(LOCKS)
    finally:
        os.close(lock)


def _stands(lock: int) -> bool:
    """Whether the file of a descriptor is still the one that the path leads to."""
    try:
        return os.path.samestat(os.stat(LOCKS, follow_symlinks=False), os.fstat(lock))
    except FileNotFoundError:
        return False


def is_mapped() -> bool:
    """Whether the whole range is there in this user namespace."""
    with open("/proc/self/uid_map") as users, open("/proc/self/gid_map") as groups:
        return all(any(map(_covers, file)) for file in (users, groups))


def _covers(line: str) -> bool:
    first, _, count = map(int, line.split())
    return first <= FIRST and first + count > LAST


def _running() -> set[int]:
    """The users of all processes."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):  # it has ended
                found.add(os.stat(f"/proc/{entry}").st_uid)
    return found


def _is_known(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _locked(file: int, first: int, count: int = 1) -> bool:
    """Lock bytes, for the open file and so for every process that has it; a ``count`` of 0: to the end."""
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
    except (BlockingIOError, PermissionError):
        return False
    return True
