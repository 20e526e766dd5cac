"""Our mounts and servers in tests: what stands, and its end."""

import os
from collections.abc import Iterator
from pathlib import Path

from pyimount.execution import fuse_mounts, servers, syscalls


def mounts(mark: str) -> list[str]:
    """Where something of this mark is mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if f" - {fuse_mounts.FUSE_TYPE} {mark} " in line]


def take_down(mark: str) -> None:
    """Unmount and end all of this mark; fails where something is left."""
    for at in mounts(mark):
        syscalls.umount(at, syscalls.UMOUNT_NOFOLLOW)
    # One that is just starting becomes another process, once; undoing looks again, too.
    for _ in range(3):
        for server in servers.find(mark):
            assert servers.stop(server)
    assert mounts(mark) == []
    assert servers.find(mark) == []


def marks() -> Iterator[str]:
    """Marks that nothing else has."""
    session = os.urandom(4).hex()
    return (f"pyimount-{session}-{step}" for step in range(1000))
