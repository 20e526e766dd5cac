"""Mounts of our own FUSE server, before anything serves them: /dev/fuse, opened, and a place in the tree.

Who serves them gets the descriptor, and nothing else of what made the mount.
"""

import contextlib
import errno
import os
import socket
import stat
import subprocess
from contextlib import ExitStack

from pyimount.execution import folders, mounts, nodes, syscalls
from pyimount.execution.errors import Refused, StepFailed
from pyimount.execution.tools import SEARCH_PATH, printable

FUSE_TYPE = "fuse.pyimount"
"""The type of our mounts in /proc/self/mountinfo; their source is the mark of their step."""

# The largest request that Linux makes of a FUSE server.
_MAX_READ = 1 << 20
# As much is read ahead: compressed images are slow to read in smaller pieces, and no faster in larger.
_READ_AHEAD_KB = 1024

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_NOATIME = 1, 2, 4, 8, 1024
# Without the latter, the former lets every user read.
_OPTIONS = "allow_other,default_permissions"


def mount_fuse(at: str, mark: str, *, read_only: bool = True) -> int:
    """Mount /dev/fuse at ``at``, an empty folder of ours; the descriptor that serves it. Needs root.

    Nothing at that place answers before somebody serves. Raises StepFailed, OSError.
    """
    with ExitStack() as stack:
        folder = own_folder(at, stack)
        device = nodes.open_node(nodes.FUSE, os.O_RDWR)
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_NOATIME | (_MS_RDONLY if read_only else 0)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,{_OPTIONS},max_read={_MAX_READ}"
        try:
            syscalls.mount(mark, folders.through(folder), flags, FUSE_TYPE, options)
        except OSError as error:
            os.close(device)
            remedy = "modprobe fuse" if error.errno == errno.ENODEV else None
            raise StepFailed(f"{at}: FUSE cannot be mounted: {error.strerror}", remedy) from error
    return device


def unmount_fuse(at: str) -> None:
    """Unmount what ``mount_fuse`` has just mounted, whoever uses it."""
    with contextlib.suppress(OSError):
        syscalls.umount(at, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)


def fusermount(tool: str, at: str, mark: str, *, read_only: bool, timeout: float) -> int:
    """Have /dev/fuse opened and mounted by fusermount3, which answers with the descriptor."""
    options = ("ro" if read_only else "rw", "nosuid", "nodev", "noexec", "noatime", "default_permissions")
    more = (f"fsname={mark}", "subtype=pyimount", f"max_read={_MAX_READ}")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            done = subprocess.run(  # noqa: S603
                (tool, "-o", ",".join((*options, *more)), "--", at),
                env={"_FUSE_COMMFD": str(theirs.fileno()), "PATH": ":".join(SEARCH_PATH), "LC_ALL": "C"},
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise StepFailed(f"fusermount3 did not end within {timeout:g} s") from error
        if done.returncode:
            said = printable(done.stderr.decode("utf-8", "backslashreplace").strip())
            raise StepFailed(said or f"fusermount3 ended with {done.returncode}")
        ours.settimeout(timeout)
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if not descriptors:
        raise StepFailed("fusermount3 gave no descriptor")
    return descriptors[0]


def fuser_unmount(tool: str, at: str, timeout: float) -> None:
    """Have fusermount3 unmount what it has just mounted, whoever uses it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run((tool, "-u", "-z", "--", at), check=False, capture_output=True, timeout=timeout)  # noqa: S603


def own_folder(at: str, stack: ExitStack) -> int:
    """A descriptor of a folder that is ours alone, empty, and nothing is mounted on."""
    folder = folders.open_folder(at)
    stack.callback(os.close, folder)
    found = os.fstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Refused(f"{at}: is not a folder of this user alone")
    if os.stat("..", dir_fd=folder).st_dev != found.st_dev or not folders.is_empty(folder):
        raise Refused(f"{at}: something is there or mounted already")
    return folder


def open_shown(at: str, name: str, *, read_only: bool) -> int:
    """A descriptor of the file ``name`` that a program shows at ``at`` through FUSE.

    What serves reads hostile bytes, so what it shows may be anything: only a file is opened that lies in its
    own mount, and no link of it is followed. Raises StepFailed, OSError.
    """
    folder = folders.open_folder(at)
    try:
        shown = mounts.mount_of(folder)
        if shown is None or not shown.type.startswith("fuse") or shown.path != at:
            raise StepFailed(f"{at}: nothing is shown there")
        for part in os.path.dirname(name).split("/") if "/" in name else ():
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        is_ = os.stat(os.path.basename(name), dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(is_.st_mode) or mounts.device_of(is_.st_dev) != shown.device:
            raise Refused(f"{at}/{printable(name)} is no file of what is shown there")
        file = os.open(os.path.basename(name), flags, dir_fd=folder)
        is_ = os.fstat(file)
        if not stat.S_ISREG(is_.st_mode) or mounts.device_of(is_.st_dev) != shown.device:
            os.close(file)
            raise Refused(f"{at}/{printable(name)} changed while it was opened")
    finally:
        os.close(folder)
    if shown.type == FUSE_TYPE:
        _read_further_ahead(shown.device)
    return file


def _read_further_ahead(device: str) -> None:
    """Have the kernel ask for more at a time than its 128 KiB. Where that cannot be said, it is slower."""
    with contextlib.suppress(OSError), open(f"/sys/class/bdi/{device}/read_ahead_kb", "w") as file:
        file.write(str(_READ_AHEAD_KB))


def read_further_ahead(mark: str) -> None:
    """Have the kernel read further ahead in the mount of this mark, once it is served."""
    for mount in mounts.mounts():
        if mount.type == FUSE_TYPE and mount.source == mark:
            _read_further_ahead(mount.device)
