"""btrfs: checksums of every kind, copies, members, and superblocks that fuzzers made."""

import hashlib
from typing import Any

import pytest

from pyimount.formats import Identity
from pyimount.formats.checksums import crc32c
from pyimount.parsers.filesystems.btrfs import COPIES, FORMAT, PRIMARY, SIZE, SUPERBLOCK
from pyimount.sources.source import Source
from pyimount.sources.view import View
from tests.kept import ask, codes, kept, put, recognise


def near_start(name: str = "btrfs") -> bytearray:
    """The image as far as the first superblock reaches."""
    return kept(name)[: PRIMARY + SIZE]


def superblock(image: bytearray, **fields: Any) -> bytes:
    """The first superblock with fields set, and its CRC-32C made anew."""
    parsed = SUPERBLOCK.construct.parse(bytes(image[PRIMARY : PRIMARY + SUPERBLOCK.size]))
    for name, value in fields.items():
        inside, _, last = name.rpartition("__")
        (parsed[inside] if inside else parsed)[last] = value
    rest = SUPERBLOCK.construct.build(parsed)[32:] + bytes(image[PRIMARY + SUPERBLOCK.size : PRIMARY + SIZE])
    return (crc32c(rest) ^ 0xFFFFFFFF).to_bytes(4, "little") + bytes(28) + rest


def changed(image: bytearray, **fields: Any) -> bytearray:
    put(image, PRIMARY, superblock(image, **fields))
    return image


class Pieces(Source):
    """A disk of zeros with some pieces on it."""

    def __init__(self, size: int, pieces: dict[int, bytes]) -> None:
        self.size = size
        self._pieces = pieces

    def _read(self, offset: int, length: int) -> bytes:
        out = bytearray(length)
        for at, piece in self._pieces.items():
            for index in range(max(at, offset), min(at + len(piece), offset + length)):
                out[index - offset] = piece[index - at]
        return bytes(out)


def on_disk(pieces: dict[int, bytes], size: int = 1 << 40) -> Identity:
    return FORMAT.parse(View(Pieces(size, pieces)))


@pytest.mark.parametrize(
    ("name", "checked"),
    [("btrfs", True), ("btrfs-sha256", True), ("btrfs-blake2", True), ("btrfs-xxhash64", True)],
)
def test_each_kind_of_checksum(name: str, checked: bool) -> None:
    image = near_start(name)
    assert recognise(FORMAT, image).checked is checked
    image[PRIMARY + SIZE - 1] ^= 1  # a byte that only the checksum knows of
    found = recognise(FORMAT, image)
    assert found.checked is False
    assert codes(found) == (["bad-checksum"] if checked else [])


def test_an_unknown_kind_of_checksum_has_its_number() -> None:
    found = recognise(FORMAT, changed(near_start(), csum_type=77))
    assert found.details["checksum_type"] == "77"
    assert not found.checked


def test_sha256_covers_all_but_its_own_field() -> None:
    image = near_start("btrfs-sha256")
    stored = bytes(image[PRIMARY : PRIMARY + 32])
    assert stored == hashlib.sha256(bytes(image[PRIMARY + 32 : PRIMARY + SIZE])).digest()


@pytest.mark.parametrize("at", COPIES)
def test_a_copy_when_the_first_is_gone(at: int) -> None:
    found = on_disk({at: superblock(near_start(), bytenr=at)})
    assert (found.label, found.offset, found.checked, codes(found)) == ("evidence", at, True, ["backup-used"])


def test_a_whole_copy_goes_before_a_damaged_first() -> None:
    first, copy = (
        superblock(near_start()),
        superblock(near_start(), bytenr=COPIES[0], label=b"copy".ljust(256, b"\0")),
    )
    damaged = first[:-1] + b"\1"
    found = on_disk({PRIMARY: damaged, COPIES[0]: copy})
    assert (found.label, codes(found)) == ("copy", ["backup-used"])
    found = on_disk({PRIMARY: damaged, COPIES[0]: copy[:-1] + b"\1"})
    assert (found.label, codes(found)) == ("evidence", ["bad-checksum"])
    found = on_disk({PRIMARY: first, COPIES[0]: copy})
    assert (found.label, codes(found)) == ("evidence", [])


def test_one_device_is_no_member_and_two_are() -> None:
    assert recognise(FORMAT, near_start()).group is None
    found = recognise(FORMAT, near_start("btrfs-two-devices"))
    assert found.group is not None
    assert (found.group.type, found.group.uuid, found.group.role) == ("btrfs", found.uuid, "2")
    assert found.group.members == 2


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, None),
        ({"log_root": 4096}, "dirty"),
        ({"flags": 5}, "error"),
        ({"flags": 5, "log_root": 1}, "error"),
    ],
)
def test_the_state(fields: dict[str, int], state: str | None) -> None:
    assert recognise(FORMAT, changed(near_start(), **fields)).state == state


@pytest.mark.parametrize(
    "fields",
    [
        {"bytenr": 4096},
        {"nodesize": 0},
        {"nodesize": 4097},
        {"sectorsize": 3},
        {"num_devices": 0},
        {"dev_item__total_bytes": 0},
        {"bytes_used": (1 << 64) - 1},
        {"root_level": 255},
    ],
)
def test_contradictions_under_a_checksum_that_holds_are_damage(fields: dict[str, int]) -> None:
    found = recognise(FORMAT, changed(near_start(), **fields))
    assert "damaged" in codes(found)
    assert found.label == "evidence"


def test_a_magic_among_nonsense_is_rejected() -> None:
    image = near_start()
    put(image, PRIMARY, b"\xff" * SIZE)
    put(image, PRIMARY + 0x40, b"_BHRfS_M")
    assert ask(FORMAT, image) is None


@pytest.mark.parametrize("cut", [PRIMARY + 0x48, PRIMARY + SUPERBLOCK.size, PRIMARY + SIZE - 1])
def test_cut_off_in_the_superblock(cut: int) -> None:
    assert ask(FORMAT, near_start()[:cut]) is None
