"""A user for one process alone, as systemd's DynamicUser has: drawn from a range that belongs to nobody.

systemd, "Users, Groups, UIDs and GIDs on systemd Systems": 61184 to 65519 are for dynamic users.
https://systemd.io/UIDS-GIDS/
"""

import fcntl
import os
import pwd
import secrets
import struct
from contextlib import suppress

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
    """A user that is not in use, locked. None where the range is not mapped, or /run cannot be written."""
    if not is_mapped():
        return None
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(LOCKS, flags, 0o600)
    except OSError:
        return None
    running = _running()
    for _ in range(_TRIES):
        number = FIRST + secrets.randbelow(LAST - FIRST + 1)
        if number not in running and not _is_known(number) and _locked(lock, number):
            return OwnUser(number, lock)
    os.close(lock)
    return None


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


def _locked(file: int, number: int) -> bool:
    """Lock one byte, for the open file and so for every process that has it."""
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
    except (BlockingIOError, PermissionError):
        return False
    return True
