"""Loop devices that bear our mark from the moment they exist, and are taken back only by it.

Linux 5.8 brought LOOP_CONFIGURE, which attaches and marks in one. Before it these are two calls, and a
device whose maker was killed between them bears no mark: nobody takes it back but ``losetup -d``.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import time

from pyimount.execution import holding, nodes
from pyimount.execution.errors import Held, StepFailed
from pyimount.execution.loop_state import Loop, LoopInfo, backing_of, find, loop_of, read, status

__all__ = ["Loop", "attach", "backing_of", "detach", "find", "read", "set_up_in_steps"]

_LOOP_SET_FD = 0x4C00
_LOOP_CLR_FD = 0x4C01
_LOOP_SET_STATUS64 = 0x4C04
_LOOP_SET_BLOCK_SIZE = 0x4C09
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82

_READ_ONLY = 1

_TRIES = 64
_PAUSE = 0.02
_GONE_WITHIN = 3.0
"""Seconds that udev and the like get to close a device that is being detached."""


class _Config(ctypes.Structure):
    """``struct loop_config`` of linux/loop.h."""

    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("info", LoopInfo),
        ("reserved", ctypes.c_uint64 * 8),
    )


def attach(descriptor: int, mark: str, *, offset: int, size: int, sector_size: int, read_only: bool) -> Loop:
    """Attach a free loop device to an open file. Raises StepFailed."""
    info = LoopInfo(
        lo_offset=offset, lo_sizelimit=size, lo_flags=_READ_ONLY if read_only else 0,
        lo_file_name=mark.encode("ascii"),
    )  # fmt: skip
    control = nodes.open_node(nodes.LOOP_CONTROL, os.O_RDWR)
    try:
        for _ in range(_TRIES):
            device = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            try:
                _configure(device, descriptor, info, sector_size, read_only=read_only)
            except OSError as error:
                # Another process was faster.
                if error.errno not in (errno.EBUSY, errno.ENXIO):
                    raise StepFailed(f"{device} cannot be attached: {error.strerror}") from error
                time.sleep(_PAUSE)
                continue
            return Loop(device=device, mark=mark, backing=backing_of(descriptor))
    except OSError as error:
        raise StepFailed(f"no loop device is free: {error.strerror}") from error
    finally:
        os.close(control)
    raise StepFailed("no loop device is free")


def _configure(device: str, descriptor: int, info: LoopInfo, sector_size: int, *, read_only: bool) -> None:
    node = _open(device, os.O_RDONLY if read_only else os.O_RDWR)
    try:
        config = _Config(fd=descriptor, block_size=sector_size, info=info)
        try:
            fcntl.ioctl(node, _LOOP_CONFIGURE, config)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY) or status(node) is not None:
                raise
            set_up_in_steps(node, descriptor, info, sector_size)
    finally:
        os.close(node)


def _open(device: str, flags: int) -> int:
    if not os.path.exists(device):
        time.sleep(_PAUSE)  # Where the kernel or udev makes it, it is there by then.
    return nodes.open_node(device, flags)


def set_up_in_steps(node: int, descriptor: int, info: LoopInfo, sector_size: int) -> None:
    """What LOOP_CONFIGURE does, for kernels before 5.8."""
    fcntl.ioctl(node, _LOOP_SET_FD, descriptor)
    try:
        fcntl.ioctl(node, _LOOP_SET_STATUS64, info)
        if sector_size != 512:
            fcntl.ioctl(node, _LOOP_SET_BLOCK_SIZE, sector_size)
    except OSError:
        fcntl.ioctl(node, _LOOP_CLR_FD)
        raise


def detach(loop: Loop) -> None:
    """Detach a device if it is still this one; returns when it is gone. Raises Held with who has it open."""
    with contextlib.suppress(OSError):
        node = os.open(loop.device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            info = status(node)
            if info is not None and _is(loop_of(loop.device, info), loop):
                fcntl.ioctl(node, _LOOP_CLR_FD)
        finally:
            os.close(node)
    # With others that have it open, the kernel has only noted that it is to go.
    until = time.monotonic() + _GONE_WITHIN
    while True:
        now = read(loop.device)
        if now is None or not _is(now, loop):
            return
        if time.monotonic() >= until:
            break
        time.sleep(_PAUSE)
    raise Held(f"{loop.device} is in use{holding.by(loop.device)}; it goes when it is closed")


def _is(one: Loop, other: Loop) -> bool:
    return one.mark == other.mark and one.backing == other.backing
