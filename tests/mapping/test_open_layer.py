"""A recipe gives back the bytes that were scanned, from a stored scan too."""

import json
import pickle
from pathlib import Path

import pytest

import pyimount
from fixtures.workshop import Workshop
from pyimount.layers import Scan
from pyimount.mapping import open_layer
from pyimount.sources.errors import OpenError

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with two partitions, each full of its own letter."""
    path = Workshop(tmp_path).blank(4 * MIB)
    table = bytearray(512)
    for slot, start in enumerate((2048, 4096)):
        entry = (
            bytes((0, 0, 0, 0, 0x83, 0, 0, 0)) + start.to_bytes(4, "little") + (2048).to_bytes(4, "little")
        )
        table[446 + 16 * slot : 462 + 16 * slot] = entry
    table[440:444] = b"\1\2\3\4"
    table[510:] = b"\x55\xaa"
    with path.open("r+b") as file:
        file.write(table)
        file.seek(MIB)
        file.write(b"A" * MIB + b"B" * MIB)
    return path


def test_volumes_and_disk_read_as_they_lie_on_it(disk: Path) -> None:
    scan = pyimount.detect(disk)
    stored = Scan.from_dict(json.loads(json.dumps(scan.to_dict())))
    sent = pickle.loads(pickle.dumps(scan))  # noqa: S301  (our own)
    assert stored == sent == scan
    for known in (scan, stored, sent):
        with open_layer(known, known["1"]) as source:
            assert source.read_at(0, 2 * MIB) == b"A" * MIB
        with open_layer(known, known["2"]) as source:
            assert source.read_at(MIB - 1, 10) == b"B"
        with open_layer(known, known.disks[0]) as source:
            assert source.size == 4 * MIB


def test_a_disk_that_is_gone_says_so(disk: Path) -> None:
    scan = pyimount.detect(disk)
    disk.unlink()
    with pytest.raises(OpenError, match="no such file"), open_layer(scan, scan["1"]):
        pytest.fail("opened")


def test_a_disk_that_was_not_read_has_no_bytes(tmp_path: Path) -> None:
    scan = pyimount.detect(tmp_path / "missing")
    with pytest.raises(OpenError, match="was not read"), open_layer(scan, scan.disks[0]):
        pytest.fail("opened")
