"""What loop devices are attached to, and the marks that they bear."""

import ctypes
import errno
import fcntl
import os

from pyimount.records import Record

_LOOP_GET_STATUS64 = 0x4C05
_AUTOCLEAR = 4
_NAME_SIZE = 64


class LoopInfo(ctypes.Structure):
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


def status(node: int) -> LoopInfo | None:
    """What the kernel says of an open loop device; None when it is attached to nothing."""
    info = LoopInfo()
    try:
        fcntl.ioctl(node, _LOOP_GET_STATUS64, info)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            return None
        raise
    return info


def loop_of(device: str, info: LoopInfo) -> Loop:
    """The device as we know it."""
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
        info = status(node)
        return None if info is None else loop_of(device, info)
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
