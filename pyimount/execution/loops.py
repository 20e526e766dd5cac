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

from pyimount.execution import nodes
from pyimount.execution.errors import Held, StepFailed
from pyimount.execution.mounts import holders
from pyimount.records import Record

_LOOP_SET_FD = 0x4C00
_LOOP_CLR_FD = 0x4C01
_LOOP_SET_STATUS64 = 0x4C04
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_SET_BLOCK_SIZE = 0x4C09
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82

_READ_ONLY = 1
_AUTOCLEAR = 4
_NAME_SIZE = 64

_TRIES = 64
_PAUSE = 0.02
_GONE_WITHIN = 3.0
"""Seconds that udev and the like get to close a device that is being detached."""


class _Info(ctypes.Structure):
    """``struct loop_info64`` of linux/loop.h."""

    _fields_ = (
        ("lo_device", ctypes.c_uint64),
        ("lo_inode", ctypes.c_uint64),
        ("lo_rdevice", ctypes.c_uint64),
        ("lo_offset", ctypes.c_uint64),
        ("lo_sizelimit", ctypes.c_uint64),
        ("lo_number", ctypes.c_uint32),
        ("lo_encrypt_type", ctypes.c_uint32),
        ("lo_encrypt_key_size", ctypes.c_uint32),
        ("lo_flags", ctypes.c_uint32),
        ("lo_file_name", ctypes.c_char * _NAME_SIZE),
        ("lo_crypt_name", ctypes.c_char * _NAME_SIZE),
        ("lo_encrypt_key", ctypes.c_uint8 * 32),
        ("lo_init", ctypes.c_uint64 * 2),
    )


class _Config(ctypes.Structure):
    """``struct loop_config`` of linux/loop.h."""

    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("info", _Info),
        ("reserved", ctypes.c_uint64 * 8),
    )


class Loop(Record, kw_only=True):
    """An attached loop device: its mark, and the device and inode of the file beneath it."""

    device: str
    mark: str
    backing: tuple[int, int]
    detaching: bool = False
    """It goes as soon as nobody has it open."""


def backing_of(descriptor: int) -> tuple[int, int]:
    """The device and inode by which a loop device over this file knows it."""
    is_ = os.fstat(descriptor)
    return is_.st_dev, is_.st_ino


def attach(descriptor: int, mark: str, *, offset: int, size: int, sector_size: int, read_only: bool) -> Loop:
    """Attach a free loop device to an open file. Raises StepFailed."""
    info = _Info(
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


def _configure(device: str, descriptor: int, info: _Info, sector_size: int, *, read_only: bool) -> None:
    node = _open(device, os.O_RDONLY if read_only else os.O_RDWR)
    try:
        config = _Config(fd=descriptor, block_size=sector_size, info=info)
        try:
            fcntl.ioctl(node, _LOOP_CONFIGURE, config)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY) or _info(node) is not None:
                raise
            set_up_in_steps(node, descriptor, info, sector_size)
    finally:
        os.close(node)


def _open(device: str, flags: int) -> int:
    if not os.path.exists(device):
        time.sleep(_PAUSE)  # Where the kernel or udev makes it, it is there by then.
    return nodes.open_node(device, flags)


def set_up_in_steps(node: int, descriptor: int, info: _Info, sector_size: int) -> None:
    """What LOOP_CONFIGURE does, for kernels before 5.8."""
    fcntl.ioctl(node, _LOOP_SET_FD, descriptor)
    try:
        fcntl.ioctl(node, _LOOP_SET_STATUS64, info)
        if sector_size != 512:
            fcntl.ioctl(node, _LOOP_SET_BLOCK_SIZE, sector_size)
    except OSError:
        fcntl.ioctl(node, _LOOP_CLR_FD)
        raise


def _info(node: int) -> _Info | None:
    info = _Info()
    try:
        fcntl.ioctl(node, _LOOP_GET_STATUS64, info)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            return None
        raise
    return info


def _loop(device: str, info: _Info) -> Loop:
    return Loop(
        device=device,
        mark=info.lo_file_name.decode("ascii", "replace"),
        backing=(info.lo_device, info.lo_inode),
        detaching=bool(info.lo_flags & _AUTOCLEAR),
    )


def read(device: str) -> Loop | None:
    """What a loop device is attached to; None when to nothing, or this process may not know.

    Raises OSError where that cannot be told: what is ours may still stand then.
    """
    try:
        node = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM):
            return None
        raise
    try:
        info = _info(node)
        return None if info is None else _loop(device, info)
    finally:
        os.close(node)


def find(mark: str) -> Loop | None:
    """The loop device that bears this mark."""
    for name in os.listdir("/sys/block"):
        if name.startswith("loop") and os.path.isdir(f"/sys/block/{name}/loop"):
            loop = read(f"/dev/{name}")
            if loop is not None and loop.mark == mark:
                return loop
    return None


def detach(loop: Loop) -> None:
    """Detach a device if it is still this one; returns when it is gone. Raises Held with who has it open."""
    with contextlib.suppress(OSError):
        node = os.open(loop.device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            info = _info(node)
            if info is not None and _is(_loop(loop.device, info), loop):
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
    who = ", ".join(f"{name} ({number})" for number, name in holders(loop.device))
    raise Held(f"{loop.device} is in use{f' by {who}' if who else ''}; it goes when it is closed")


def _is(one: Loop, other: Loop) -> bool:
    return one.mark == other.mark and one.backing == other.backing
