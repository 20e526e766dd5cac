"""A value or two out of a Windows registry hive: enough to tell which Windows it is, and its name.

Layout: "Windows registry file format specification", https://github.com/msuhanov/regf. Every count and offset
is the image's word: reads are small and counted, names and lists bounded.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

Read = Callable[[int, int], bytes]
"""Gives so many bytes from an offset of the hive's file on, fewer at its end."""

BASE = 4096
"""Where the cells begin, which offsets are counted from."""
ABSENT = 0xFFFFFFFF
READS_CAP = 20_000
ENTRIES_CAP = 4096
CELL_CAP = 64 << 10
TEXT_CAP = 1024

NAME_IS_ASCII, VALUE_NAME_IS_ASCII, RESIDENT = 0x20, 0x1, 0x80000000
REG_SZ, REG_EXPAND_SZ, REG_BINARY, REG_DWORD = 1, 2, 3, 4

VERSION_KEY = ("Microsoft", "Windows NT", "CurrentVersion")
VERSION_VALUES = (
    "ProductName", "DisplayVersion", "ReleaseId", "CSDVersion", "CurrentVersion", "CurrentBuildNumber",
    "CurrentMajorVersionNumber", "CurrentMinorVersionNumber",
)  # fmt: skip


class BadHive(ValueError):  # noqa: N818
    """What is no hive, or one that contradicts itself."""


class Hive:
    """A hive's keys and values; raises BadHive where it is none."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._reads = 0
        header = self._bytes(0, 48)
        if header[:4] != b"regf":
            raise BadHive("no hive")
        (self._root,) = struct.unpack_from("<I", header, 36)

    def values(self, path: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
        """Those of the ``wanted`` values of the key at ``path`` that are there, as text."""
        at: int | None = self._root
        for name in path:
            at = None if at is None else self._subkey(at, name)
        if at is None:
            return {}
        found = {}
        names = {name.lower(): name for name in wanted}
        for name, value in self._values(at, names):
            found[names[name.lower()]] = value
        return found

    def _bytes(self, offset: int, size: int) -> bytes:
        self._reads += 1
        if self._reads > READS_CAP:
            raise BadHive("it leads nowhere")
        data = self._read(offset, size)
        if len(data) < size:
            raise BadHive("it ends early")
        return data

    def _cell(self, offset: int) -> bytes:
        if offset == ABSENT or offset % 8:
            raise BadHive("an offset that is none")
        (size,) = struct.unpack("<i", self._bytes(BASE + offset, 4))
        return self._bytes(BASE + offset + 4, min(abs(size), CELL_CAP) - 4) if abs(size) > 4 else b""

    def _key(self, offset: int) -> tuple[str, bytes]:
        cell = self._cell(offset)
        if cell[:2] != b"nk" or len(cell) < 76:
            raise BadHive("no key")
        flags, length = struct.unpack_from("<H", cell, 2)[0], struct.unpack_from("<H", cell, 72)[0]
        encoding = "latin-1" if flags & NAME_IS_ASCII else "utf-16-le"
        return cell[76 : 76 + length].decode(encoding, "replace"), cell

    def _subkey(self, parent: int, name: str) -> int | None:
        _, cell = self._key(parent)
        count, at = struct.unpack_from("<I", cell, 20)[0], struct.unpack_from("<I", cell, 28)[0]
        for offset in self._listed(at) if count else ():
            if self._key(offset)[0].lower() == name.lower():
                return offset
        return None

    def _listed(self, offset: int, depth: int = 0) -> Iterator[int]:
        cell = self._cell(offset)
        kind, count = cell[:2], struct.unpack_from("<H", cell.ljust(4, b"\0"), 2)[0]
        width = 8 if kind in (b"lf", b"lh") else 4
        if kind not in (b"lf", b"lh", b"li", b"ri") or (kind == b"ri" and depth):
            raise BadHive("no list of keys")
        for number in range(min(count, ENTRIES_CAP, (len(cell) - 4) // width)):
            (entry,) = struct.unpack_from("<I", cell, 4 + number * width)
            if kind == b"ri":
                yield from self._listed(entry, 1)
            else:
                yield entry

    def _values(self, key: int, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        _, cell = self._key(key)
        count, at = struct.unpack_from("<II", cell, 36)
        if not count:
            return
        listed = self._cell(at)
        for number in range(min(count, ENTRIES_CAP, len(listed) // 4)):
            value = self._cell(struct.unpack_from("<I", listed, 4 * number)[0])
            if value[:2] != b"vk" or len(value) < 20:
                continue
            length, size, where, kind, flags = struct.unpack_from("<HIIIH", value, 2)
            encoding = "latin-1" if flags & VALUE_NAME_IS_ASCII else "utf-16-le"
            name = value[20 : 20 + length].decode(encoding, "replace")
            if name.lower() in names:
                raw = struct.pack("<I", where)[: size & 7] if size & RESIDENT else self._cell(where)[:size]
                text = _text(kind, raw)
                if text is not None:
                    yield name, text


def _text(kind: int, raw: bytes) -> str | None:
    if kind == REG_DWORD and len(raw) == 4:
        return str(int.from_bytes(raw, "little"))
    if kind == REG_BINARY:
        return raw[:TEXT_CAP].hex()
    if kind in (REG_SZ, REG_EXPAND_SZ):
        said = raw[:TEXT_CAP].decode("utf-16-le", "replace").partition("\0")[0].strip()
        return said if said and said.isprintable() else None
    return None


def version_of(read: Read) -> dict[str, str]:
    """What the hive SOFTWARE says of the version of Windows; empty for what is none."""
    try:
        return Hive(read).values(VERSION_KEY, VERSION_VALUES)
    except BadHive:
        return {}


def name_of(read: Read) -> dict[str, str]:
    """What the hive SYSTEM says is the machine's name, as ``ComputerName``; empty for what is none."""
    try:
        hive = Hive(read)
        return hive.values((*_control(hive), "ComputerName", "ComputerName"), ("ComputerName",))
    except BadHive:
        return {}


def _control(hive: Hive) -> tuple[str, str]:
    """The key Control of the set of settings that is in use, which is a number."""
    current = hive.values(("Select",), ("Current",)).get("Current", "1")
    if not re.fullmatch("[0-9]{1,10}", current):
        raise BadHive("the current set of settings has no number")
    return f"ControlSet{int(current):03}", "Control"


def machine_of(read: Read) -> dict[str, str]:
    """What the hive SYSTEM says: ``TimeZoneKeyName``, ``ShutdownTime`` (in hex); empty for what is none."""
    try:
        hive = Hive(read)
        control = _control(hive)
        zone = hive.values((*control, "TimeZoneInformation"), ("TimeZoneKeyName",))
        return zone | hive.values((*control, "Windows"), ("ShutdownTime",))
    except (BadHive, ValueError):
        return {}
