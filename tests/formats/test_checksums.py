"""Checksums against the values that their specifications give."""

import pytest

from pyimount.formats.checksums import crc32c, crc64, xxh64

CHECK = b"123456789"
ALL = (1 << 64) - 1


def test_crc32c_of_rfc_3720() -> None:
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA


def test_crc64_inverted_and_plain() -> None:
    assert crc64(CHECK) ^ ALL == 0x62EC59E3F1A4F00A  # CRC-64/WE of the RevEng catalogue
    assert crc64(CHECK, 0) == 0x6C40DF5F0B497347  # CRC-64/ECMA-182


def test_crc64_goes_on_where_it_stopped() -> None:
    assert crc64(CHECK[4:], crc64(CHECK[:4])) == crc64(CHECK)


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_xxh64_of_its_reference(data: bytes, digest: int) -> None:
    assert xxh64(data) == digest
