"""libblkid in this process, through ctypes: what ``detect()`` is held against."""

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ALL_SUPERBLOCK_VALUES = 0x07FF  # every BLKID_SUBLKS_* flag up to BADCSUM; labels, UUIDs, types, versions
_PARTITION_DETAILS = 1 << 2
_AMBIVALENT = -2


class Libblkid:
    """The parts of libblkid that a probe needs. Raises OSError where the library is not there."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("blkid")
        if name is None:
            raise OSError("libblkid is not installed")
        self._lib = ctypes.CDLL(name)
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        for function, result, arguments in (
            ("blkid_new_probe", pointer, []),
            ("blkid_free_probe", None, [pointer]),
            ("blkid_probe_set_device", integer, [pointer, integer, ctypes.c_int64, ctypes.c_int64]),
            ("blkid_probe_enable_superblocks", integer, [pointer, integer]),
            ("blkid_probe_set_superblocks_flags", integer, [pointer, integer]),
            ("blkid_probe_enable_partitions", integer, [pointer, integer]),
            ("blkid_probe_set_partitions_flags", integer, [pointer, integer]),
            ("blkid_do_safeprobe", integer, [pointer]),
            ("blkid_probe_get_partitions", pointer, [pointer]),
            ("blkid_partlist_numof_partitions", integer, [pointer]),
            ("blkid_partlist_get_partition", pointer, [pointer, integer]),
            ("blkid_partition_get_start", ctypes.c_int64, [pointer]),
            ("blkid_partition_get_size", ctypes.c_int64, [pointer]),
            ("blkid_probe_lookup_value", integer,
             [pointer, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_size_t)]),
        ):  # fmt: skip
            entry = getattr(self._lib, function)
            entry.restype, entry.argtypes = result, arguments

    def types(self, image: Path) -> list[str | None]:
        """The TYPE of the whole image, or of each partition where it has a table."""
        lib = self._lib
        with self._probe(image, 0, 0) as (probe, fd):
            table = lib.blkid_probe_get_partitions(probe)
            extents = []
            for number in range(lib.blkid_partlist_numof_partitions(table) if table else 0):
                partition = lib.blkid_partlist_get_partition(table, number)
                start = lib.blkid_partition_get_start(partition)
                extents.append((start * 512, lib.blkid_partition_get_size(partition) * 512))
            found = []
            for offset, size in extents or [(0, 0)]:
                lib.blkid_probe_set_device(probe, fd, offset, size)
                lib.blkid_do_safeprobe(probe)
                found.append(self._value(probe, b"TYPE"))
            return found

    def values(self, image: Path, names: tuple[str, ...], offset: int = 0, size: int = 0) -> dict[str, str]:
        """What libblkid says of a run of bytes (``size`` 0: to the end), as ``blkid -p`` does, unescaped."""
        with self._probe(image, offset, size) as (probe, _):
            self._lib.blkid_do_safeprobe(probe)
            found = {name: self._value(probe, name.encode()) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def is_ambivalent(self, image: Path) -> bool:
        """Whether libblkid finds several things that exclude each other, and so names none."""
        with self._probe(image, 0, 0) as (probe, _):
            return bool(self._lib.blkid_do_safeprobe(probe) == _AMBIVALENT)

    @contextmanager
    def _probe(self, image: Path, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """A probe of a run of bytes, for all values of superblocks and tables, and the file's descriptor."""
        lib = self._lib
        fd = os.open(image, os.O_RDONLY)
        probe = lib.blkid_new_probe()
        try:
            lib.blkid_probe_enable_superblocks(probe, 1)
            lib.blkid_probe_set_superblocks_flags(probe, _ALL_SUPERBLOCK_VALUES)
            lib.blkid_probe_enable_partitions(probe, 1)
            lib.blkid_probe_set_partitions_flags(probe, _PARTITION_DETAILS)
            lib.blkid_probe_set_device(probe, fd, offset, size)
            yield probe, fd
        finally:
            lib.blkid_free_probe(probe)
            os.close(fd)

    def _value(self, probe: int, name: bytes) -> str | None:
        data = ctypes.c_char_p()
        if (
            self._lib.blkid_probe_lookup_value(probe, name, ctypes.byref(data), None) != 0
            or data.value is None
        ):
            return None
        return data.value.decode("utf-8", "backslashreplace")
