"""Mounting by descriptors, Linux's newer mount API: a mount has its options before it has a place.

A file system is opened by its driver's name (``fsopen``), told its options one at a time (``fsconfig``),
made, and becomes a mount (``fsmount``) that stands nowhere until it is put at the folder of a descriptor
(``move_mount``). What went wrong is told by errno and by the driver's own messages, which are read from the
same descriptor; so no text of the kernel's log has to be guessed at.

See fsopen(2), fsconfig(2), fsmount(2), move_mount(2), open_tree(2), mount_setattr(2):
https://github.com/brauner/man-pages-md and the kernel's include/uapi/linux/mount.h.
"""

import contextlib
import ctypes
import errno
import os
import select
import signal
import sys
from collections.abc import Iterable, Sequence

from pyimount.execution import syscalls
from pyimount.records import Record

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
"""The same numbers on every architecture."""

_OPEN_TREE_CLONE = 1
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
"""Attributes of a mount (MOUNT_ATTR_…)."""
IDMAP = 0x00100000
"""That its owners are shown as a user namespace maps them."""
RESTRICTED = RDONLY | NOSUID | NODEV | NOEXEC
"""What every mount of evidence has."""

_PRIVATE = syscalls.MS_PRIVATE
_MESSAGES_CAP = 32
_LONGEST_MESSAGE = 4096
_DIES_WITHIN = 2.0

if sys.platform == "linux":  # elsewhere this module can be loaded, no more
    _libc = ctypes.CDLL(None, use_errno=True)


class Message(Record):
    """A line of a driver. ``level``: ``e`` an error, ``w`` a warning, ``i`` information."""

    level: str
    text: str


class DriverError(OSError):
    """A file system was not made; ``errno`` says why, ``messages`` what its driver said besides."""

    def __init__(self, number: int, messages: Sequence[Message] = ()) -> None:
        super().__init__(number, os.strerror(number))
        self.messages = tuple(messages)


class DriverTimeoutError(OSError):
    """A driver did not answer in time; what it was asked in goes on in the kernel, and holds the device."""


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def _call(number: int, *arguments: object) -> int:
    """A system call; raises OSError."""
    made: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if made < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return made


def is_there() -> bool:
    """Whether this kernel has the API (Linux 5.2), and no sandbox keeps this process from it."""
    try:
        _call(_FSOPEN, None, ctypes.c_uint(_FSOPEN_CLOEXEC))
    except OSError as error:
        # It reads the name before anything else but the right to mount.
        return error.errno == errno.EFAULT
    return False


def fsopen(driver: str) -> int:
    """``fsopen(2)``: a descriptor to set up a file system of this driver by.

    Raises OSError: ENODEV when the kernel has no such driver, EPERM without the right to mount, ENOSYS before
    Linux 5.2.
    """
    return _call(_FSOPEN, os.fsencode(driver), ctypes.c_uint(_FSOPEN_CLOEXEC))


def fsconfig(context: int, key: str, value: str | None = None) -> None:
    """``fsconfig(2)``: give an option, as ``mount -o key`` or ``key=value`` does; ``source`` is the device.

    Raises OSError: EINVAL for what the driver does not know.
    """
    if value is None:
        _call(_FSCONFIG, context, ctypes.c_uint(_SET_FLAG), os.fsencode(key), None, 0)
    else:
        _call(_FSCONFIG, context, ctypes.c_uint(_SET_STRING), os.fsencode(key), os.fsencode(value), 0)


def create(context: int) -> None:
    """``fsconfig(2)``: have the driver read the device. Raises OSError."""
    _call(_FSCONFIG, context, ctypes.c_uint(_CMD_CREATE), None, None, 0)


def create_within(context: int, seconds: float, hold: Iterable[int] = ()) -> None:
    """``create`` in a process of its own, which may hang, or be killed by a fault of the driver.

    The descriptor stands for the same file system in both. ``hold``: what that process keeps open besides.
    Raises OSError, DriverTimeoutError.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _create_and_exit(context, parent, frozenset((context, *hold)))
    process = os.pidfd_open(child)
    try:
        if not _ends(process, seconds):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            if not _ends(process, _DIES_WITHIN):
                raise DriverTimeoutError(errno.ETIMEDOUT, f"it did not answer within {seconds:g} s")
            os.waitpid(child, 0)
            raise DriverTimeoutError(errno.ETIMEDOUT, f"it took more than {seconds:g} s, and was stopped")
    finally:
        os.close(process)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        raise OSError(errno.EIO, "a fault of the kernel's driver ended the process that asked it")
    if status:
        raise OSError(status, os.strerror(status))


def _create_and_exit(context: int, parent: int, keep: frozenset[int]) -> None:
    """In the new process, which is a copy of this one: the one call, and out."""
    status = errno.ECANCELED
    try:
        syscalls.end_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            # One that hangs keeps nothing else from being closed: a socket, a terminal, an image.
            low = -1
            for each in sorted(keep):
                os.closerange(low + 1, each)
                low = each
            os.closerange(low + 1, os.sysconf("SC_OPEN_MAX"))
            create(context)
            status = 0
    except OSError as error:
        status = error.errno or errno.EIO
    finally:
        os._exit(status)


def _ends(process: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def messages(context: int) -> tuple[Message, ...]:
    """What a driver has said so far through the descriptor of its file system; each is told once."""
    found = []
    with contextlib.suppress(OSError):  # ENODATA: there is no more.
        for _ in range(_MESSAGES_CAP):
            line = os.read(context, _LONGEST_MESSAGE).decode("utf-8", "replace").strip()
            level, _, text = line.partition(" ")
            found.append(Message(level, text) if level in ("e", "w", "i") else Message("i", line))
    return tuple(found)


def fsmount(context: int, attributes: int = RESTRICTED) -> int:
    """``fsmount(2)``: a descriptor of a mount, at no place yet, of what was made. Raises OSError."""
    return _call(_FSMOUNT, context, ctypes.c_uint(_FSMOUNT_CLOEXEC), ctypes.c_uint(attributes))


def new_mount(
    driver: str,
    source: str,
    options: Sequence[str],
    *,
    attributes: int = RESTRICTED,
    seconds: float = 60.0,
    hold: Iterable[int] = (),
) -> int:
    """A mount of a device, at no place yet; closing its descriptor undoes it.

    ``options``: the driver's, each ``key`` or ``key=value``; with RDONLY among ``attributes`` the file
    system is read-only as well as the mount of it. ``seconds``, ``hold``: as in ``create_within``. Raises
    DriverError, DriverTimeoutError; OSError where the API is not to be had (``fsopen``).
    """
    context = fsopen(driver)
    try:
        try:
            fsconfig(context, "source", source)
            fsconfig(context, "ro" if attributes & RDONLY else "rw")
            for option in options:
                key, equals, value = option.partition("=")
                fsconfig(context, key, value if equals else None)
            create_within(context, seconds, hold)
            return fsmount(context, attributes)
        except DriverTimeoutError:
            raise
        except OSError as error:
            raise DriverError(error.errno or errno.EIO, messages(context)) from error
    finally:
        os.close(context)


def open_tree(folder: int, *, recursive: bool = False) -> int:
    """``open_tree(2)``: a descriptor of a mount, at no place yet, of the folder that a descriptor is of.

    ``recursive``: with what is mounted below it. Raises OSError; ENOSYS before Linux 5.2.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    return _call(_OPEN_TREE, folder, b"", ctypes.c_uint(flags))


def mount_setattr(mount: int, attributes: int = RESTRICTED, *, users: int | None = None) -> None:
    """``mount_setattr(2)``: give a mount these attributes, and make it private.

    ``users``: a descriptor of the user namespace that maps its owners, for IDMAP, which is set with it.
    Raises OSError; ENOSYS before Linux 5.12; EINVAL where owners are to be mapped and the file system cannot.
    """
    if users is not None:
        attributes |= IDMAP
    wanted = _MountAttr(attributes, 0, _PRIVATE, users or 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    _call(_MOUNT_SETATTR, mount, b"", ctypes.c_uint(_AT_EMPTY_PATH), ctypes.byref(wanted), size)


def move_mount(mount: int, at: int) -> None:
    """``move_mount(2)``: put a mount at the folder of a descriptor. Raises OSError."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _call(_MOVE_MOUNT, mount, b"", at, b"", ctypes.c_uint(flags))
