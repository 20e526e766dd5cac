"""Mounting a device by a driver of the kernel; and why it does not, in the kernel's own words.

What the driver answers through the newer mount API comes first, by errno and messages; the kernel's log is
looked at only where it said nothing there. Where the kernel has no such API, mount(8) does it.
"""

import errno
import os
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from pyimount.execution import folders, mount_api, tools
from pyimount.execution.errors import Refused, StepFailed
from pyimount.execution.mount_api import DriverError, DriverTimeoutError
from pyimount.execution.mounts import block_name
from pyimount.execution.said import in_one_line, without_advice
from pyimount.execution.tools import printable
from pyimount.planning.steps import ALWAYS

_MESSAGE_CAP = 16 << 10
_LINES_SHOWN = 3
_WARNING = 4
"""The kernel's levels: this and lower ones tell of something wrong."""

# What mount(8) itself would act upon, instead of the driver.
_NOT_THE_DRIVERS = re.compile(
    r"(?i)x-|loop|helper|uhelper|user|owner|group|bind|rbind|move|remount|suid|dev$|exec|rw$|offset|sizelimit|"
    r"encryption|verity|context|fscontext|defcontext|rootcontext|shared|private|slave|unbindable|_netdev|auto|fail"
)
# The block layer's own lines are no driver's: they say that a device came, or that it could not be read.
_NO_DRIVERS = re.compile(
    r"(?i)(?:loop|dm-|md|nbd)\d+:|buffer i/o error|(?:critical )?\S+ error, dev |blk_|block |"
    r"\S+: attempt to access beyond"
)

_BY_NUMBER: Mapping[int, str] = {
    errno.EINVAL: "the driver finds no file system of its kind there, or none that it can read",
    errno.EUCLEAN: "its structures are damaged",
    errno.EBADMSG: "a checksum in it does not hold",
    errno.EIO: "a part that the driver needs cannot be read",
    errno.ENXIO: "a part that the driver needs lies beyond its end",
    errno.EROFS: "the driver does not mount it without writing to it",
    errno.EACCES: "the driver does not mount it without writing to it",
    errno.EBUSY: "the same file system, or its device, is in use already",
    errno.ENODEV: "this kernel has no such driver",
    errno.ENOTBLK: "this driver reads block devices alone",
    errno.EOVERFLOW: "it is larger than this kernel can mount",
    errno.EFBIG: "it is larger than this kernel can mount",
    errno.ENOMEM: "there is not enough memory",
    errno.EOPNOTSUPP: "it has features that this kernel's driver does not have",
}
_FORBIDDEN = (
    "the kernel does not permit it, although this root may mount: a security module (AppArmor, SELinux) or a "
    "sandbox keeps it from that"
)


def mount_device(
    device: str,
    at: int,
    kind: str | None,
    options: tuple[str, ...],
    *,
    read_only: bool,
    hold: tuple[int, ...] = (),
    timeout: float = 60.0,
) -> None:
    """Mount a device at the folder of a descriptor.

    ``kind`` None: whatever driver of a device takes it. ``hold``: as Given has it. Raises StepFailed with
    what the kernel said.
    """
    for option in options:
        if not option or _NOT_THE_DRIVERS.match(option) or not set(option).isdisjoint(", \t\n\\\"'\0"):
            raise Refused(f"{printable(option)!r} is no option of a file system's driver")
    drivers = [kind] if kind is not None else _drivers()
    by_descriptor = mount_api.is_there()
    failed = StepFailed("this kernel has no driver that mounts a device")
    for driver in drivers:
        heard = _Kernel()
        try:
            if by_descriptor:
                _mount_new(device, at, driver, options, read_only=read_only, hold=hold, timeout=timeout)
            else:
                _mount_old(device, at, driver, options, read_only=read_only, hold=hold, timeout=timeout)
        except OSError as error:
            failed = StepFailed(f"{driver}: {_why(error, device, heard)}")
        except StepFailed as error:
            said = heard.about(device)
            failed = StepFailed(f"{driver}: {in_one_line(said) or printable(str(error))}", error.remedy)
        else:
            return
    raise failed if kind is not None else StepFailed("no driver of this kernel takes it")


def _drivers() -> list[str]:
    with open("/proc/filesystems") as file:
        return [line.strip() for line in file if not line.startswith("nodev")]


def _mount_new(
    device: str, at: int, driver: str, options: tuple[str, ...], *, read_only: bool, hold: tuple[int, ...],
    timeout: float,
) -> None:  # fmt: skip
    attributes = mount_api.RESTRICTED if read_only else mount_api.RESTRICTED & ~mount_api.RDONLY
    made = mount_api.new_mount(driver, device, options, attributes=attributes, seconds=timeout, hold=hold)
    try:
        mount_api.move_mount(made, at)
    finally:
        os.close(made)


def _mount_old(
    device: str, at: int, driver: str, options: tuple[str, ...], *, read_only: bool, hold: tuple[int, ...],
    timeout: float,
) -> None:  # fmt: skip
    every = ",".join(("ro" if read_only else "rw", *ALWAYS, *options))
    # Without its helper programs, its table, its reading of links: what is left is the system call, in a
    # process that can be waited for.
    argv = ("mount", "-c", "-i", "-n", "-t", driver, "-o", every, device, folders.through(at))
    try:
        tools.mount(argv, timeout=timeout, pass_fds=(at, *hold))
    except StepFailed as error:
        raise StepFailed(str(error).replace(folders.through(at), folders.path_of(at))) from error


def _why(error: OSError, device: str, heard: "_Kernel") -> str:
    """Why the driver did not mount: what it said, else what the kernel's log has, and what errno means."""
    if isinstance(error, DriverTimeoutError):
        return str(error.strerror)
    number = error.errno or errno.EIO
    meant = _FORBIDDEN if number == errno.EPERM else _BY_NUMBER.get(number)
    said: list[str] = []
    if isinstance(error, DriverError):
        wrong = [each.text for each in error.messages if each.level != "i"]
        said = [sentence for text in wrong for sentence in without_advice(printable(text))]
    said = said or heard.about(device)
    if not said:
        return f"{meant} ({error.strerror})" if meant else str(error.strerror)
    return f"{in_one_line(said)} ({error.strerror})"


class _Kernel:
    """What the kernel says in its log from now on."""

    def __init__(self) -> None:
        self._since = time.clock_gettime(time.CLOCK_MONOTONIC)

    def about(self, device: str) -> list[str]:
        """What its drivers say is wrong with a device, the last few lines, without advice."""
        found: list[str] = []
        try:
            # In /dev it may have another name.
            name = block_name(os.stat(device).st_rdev)
            log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []
        # It ends where there is no more, what was next has been overwritten, or a line is none of the
        # kernel's: what was found until then counts.
        with ExitStack() as stack, suppress(BlockingIOError, BrokenPipeError, ValueError, IndexError):
            stack.callback(os.close, log)
            for _ in range(_MESSAGE_CAP):
                head, _, message = os.read(log, 8192).decode("utf-8", "replace").partition(";")
                fields = head.split(",")
                # Its clock is not quite this one.
                if int(fields[2]) / 1e6 < self._since - 0.01 or int(fields[0]) > _WARNING:
                    continue
                if re.search(rf"\b{re.escape(name)}\b", message) and not _NO_DRIVERS.match(message):
                    found += without_advice(printable(message.partition("\n")[0]))
        return found[-_LINES_SHOWN:]
