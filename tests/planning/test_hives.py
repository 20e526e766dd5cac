"""The registry of a Windows: its hives as their specification has them, and hostile ones."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyimount.execution.mounted_trees import observe
from pyimount.planning.facts import Facts
from pyimount.planning.hives import BASE, REG_BINARY, REG_DWORD, REG_SZ, machine_of, name_of, version_of
from tests.strategies import edited, edits

Tree = dict[str, "Tree | str | int | bytes"]


class Builder:
    """Writes a hive's cells one after the other."""

    def __init__(self, kind: bytes) -> None:
        self._cells = bytearray(32)
        self._kind = kind

    def cell(self, data: bytes) -> int:
        at = len(self._cells)
        size = (len(data) + 4 + 7) // 8 * 8
        self._cells += struct.pack("<i", -size) + data.ljust(size - 4, b"\0")
        return at

    def key(self, name: str, tree: Tree) -> int:
        keys = [self.key(each, below) for each, below in tree.items() if isinstance(below, dict)]
        values = [self.value(each, value) for each, value in tree.items() if not isinstance(value, dict)]
        listed = 0xFFFFFFFF
        if keys:
            width = b"\0\0\0\0" if self._kind in (b"lf", b"lh") else b""
            inner = b"li" if self._kind == b"ri" else self._kind
            entries = b"".join(struct.pack("<I", each) + width for each in keys)
            listed = self.cell(inner + struct.pack("<H", len(keys)) + entries)
            if self._kind == b"ri":
                listed = self.cell(b"ri" + struct.pack("<HI", 1, listed))
        valued = self.cell(b"".join(struct.pack("<I", each) for each in values)) if values else 0xFFFFFFFF
        wide = not name.isascii()
        written = name.encode("utf-16-le" if wide else "latin-1")
        return self.cell(
            struct.pack("<2sHQIIIII", b"nk", 0 if wide else 0x20, 0, 0, 0, len(keys), 0, listed)
            + struct.pack("<IIII", 0xFFFFFFFF, len(values), valued, 0)
            + bytes(24) + struct.pack("<HH", len(written), 0) + written
        )  # fmt: skip

    def value(self, name: str, value: str | int | bytes) -> int:
        if isinstance(value, int):
            size, where, kind = 4 | 0x80000000, value, REG_DWORD
        else:
            raw = value if isinstance(value, bytes) else f"{value}\0".encode("utf-16-le")
            size, where, kind = len(raw), self.cell(raw), REG_BINARY if raw is value else REG_SZ
        return self.cell(b"vk" + struct.pack("<HIIIHH", len(name), size, where, kind, 1, 0) + name.encode())

    def hive(self, tree: Tree) -> bytes:
        root = self.key("ROOT", tree)
        return b"regf".ljust(36, b"\0") + struct.pack("<I", root) + bytes(BASE - 40) + bytes(self._cells)


VERSION: Tree = {
    "ProductName": "Windows 10 Pro",
    "DisplayVersion": "22H2",
    "CurrentVersion": "6.3",
    "CurrentBuildNumber": "19045",
    "CurrentMajorVersionNumber": 10,
    "CurrentMinorVersionNumber": 0,
    "RegisteredOwner": "ann",
}
SOFTWARE: Tree = {"Classes": {}, "Microsoft": {"Ünï": {}, "Windows NT": {"CurrentVersion": VERSION}}}
SYSTEM: Tree = {
    "ControlSet001": {"Control": {"ComputerName": {"ComputerName": {"ComputerName": "OLD"}}}},
    "ControlSet002": {"Control": {"ComputerName": {"ComputerName": {"ComputerName": "BOX"}}}},
    "Select": {"Current": 2},
}


def asked(data: bytes) -> tuple[dict[str, str], dict[str, str]]:
    def read(offset: int, size: int) -> bytes:
        assert 0 <= size <= 1 << 16
        return data[offset : offset + size]

    return version_of(read), name_of(read)


@pytest.mark.parametrize("kind", [b"lf", b"lh", b"li", b"ri"])
def test_version_and_name(kind: bytes) -> None:
    version, _ = asked(Builder(kind).hive(SOFTWARE))
    assert version == {name: str(value) for name, value in VERSION.items() if name != "RegisteredOwner"}
    assert asked(Builder(kind).hive(SYSTEM))[1] == {"ComputerName": "BOX"}


def test_what_is_said_of_a_windows(tmp_path: Path) -> None:
    config = tmp_path / "WINDOWS/system32/config"
    config.mkdir(parents=True)
    (config / "software").write_bytes(Builder(b"lh").hive(SOFTWARE))
    (config / "SYSTEM").write_bytes(Builder(b"lh").hive(SYSTEM))
    found = observe(str(tmp_path), 0).system()
    assert found == {"name": "Windows 10 Pro 22H2", "version": "10.0.19045", "hostname": "BOX"}
    old = Facts(layer=0, windows={"ProductName": "Windows XP", "CurrentVersion": "5.1", "CSDVersion": "SP 3"})
    assert old.system() == {"name": "Windows XP SP 3", "version": "5.1"}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_bytes_are_survived(data: st.DataObject) -> None:
    for whole in (Builder(b"ri").hive(SOFTWARE), Builder(b"lh").hive(SYSTEM)):
        hive = edited(whole, data.draw(edits(len(whole))))
        asked(hive)
        asked(hive[: data.draw(st.integers(0, len(hive)))])


@pytest.mark.parametrize(
    "current", ["", "two", "-2", "+2", "2_0", "0x2", "\u0663", "9" * 5000, b"\x02\0\0\0", b""], ids=repr
)
def test_a_set_of_settings_that_has_no_number(current: str | bytes) -> None:
    hive = Builder(b"lh").hive({**SYSTEM, "Select": {"Current": current}})

    def read(offset: int, size: int) -> bytes:
        return hive[offset : offset + size]

    assert asked(hive)[1] in ({}, {"ComputerName": "OLD"})  # what is not said at all is the first
    assert machine_of(read) == {}


def test_a_list_that_leads_to_itself_ends() -> None:
    hive = bytearray(Builder(b"ri").hive(SOFTWARE))
    for at in range(BASE, len(hive) - 8, 4):
        if hive[at : at + 2] == b"ri":
            struct.pack_into("<I", hive, at + 4, at - 4 - BASE)
    assert asked(bytes(hive)) == ({}, {})
