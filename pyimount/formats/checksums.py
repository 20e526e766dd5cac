"""Checksums that several formats share and zlib does not have."""

import re
from functools import cache
from struct import iter_unpack


def crc32c(data: bytes, seed: int = 0xFFFFFFFF) -> int:
    """CRC-32C (Castagnoli, reflected) of ``data`` without the final inversion.

    ``seed`` is the register to start from; file systems chain checksums by passing the last
    result. The everyday CRC-32C of RFC 3720 is ``crc32c(data) ^ 0xFFFFFFFF``.
    """
    from google_crc32c import extend

    return int(extend(seed ^ 0xFFFFFFFF, data)) ^ 0xFFFFFFFF


def rotated_sum(data: bytes, bits: int) -> int:
    """Microsoft's boot-sector checksum: each byte is added to the sum so far, rotated right by one bit.

    ``bits``: width of the sum. A run of zeros, most of a boot sector, costs a single rotation.
    """
    mask, high = (1 << bits) - 1, bits - 1
    total = end = 0
    for run in re.finditer(rb"[^\0]+", data):
        total = _rotated(total, run.start() - end, bits)
        for byte in run.group():
            total = ((total >> 1 | (total & 1) << high) + byte) & mask
        end = run.end()
    return _rotated(total, len(data) - end, bits)


def _rotated(value: int, turns: int, bits: int) -> int:
    turns %= bits
    return (value >> turns | value << (bits - turns)) & ((1 << bits) - 1)


def crc64(data: bytes, seed: int = (1 << 64) - 1) -> int:
    """CRC-64 of ECMA-182 (not reflected) of ``data`` without the final inversion; ``seed``: the register."""
    table, register, mask = _crc64_table(), seed, (1 << 64) - 1
    for byte in data:
        register = table[register >> 56 ^ byte] ^ register << 8 & mask
    return register


@cache
def _crc64_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        register = byte << 56
        for _ in range(8):
            register = register << 1 ^ (_CRC64 if register >> 63 else 0)
        table.append(register & (1 << 64) - 1)
    return tuple(table)


_CRC64 = 1 << 64 | 0x42F0E1EBA9EA3693

_PRIMES = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_64 = (1 << 64) - 1


def xxh64(data: bytes) -> int:
    """XXH64 of ``data`` with the seed 0, after its specification, "XXH64 Algorithm Description"."""
    one, two, three, four, five = _PRIMES
    whole = len(data) // 32 * 32
    total = five
    if whole:
        lanes = [one + two & _64, two, 0, -one & _64]
        for words in iter_unpack("<4Q", data[:whole]):
            lanes = [_xxh_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
        total = sum(_left(lane, turns) for lane, turns in zip(lanes, (1, 7, 12, 18), strict=True)) & _64
        for lane in lanes:
            total = ((total ^ _xxh_round(0, lane)) * one + four) & _64
    total = total + len(data) & _64
    rest = data[whole:]
    longs = len(rest) // 8 * 8
    for (word,) in iter_unpack("<Q", rest[:longs]):
        total = (_left(total ^ _xxh_round(0, word), 27) * one + four) & _64
    if len(rest) - longs >= 4:
        total = (
            _left(total ^ int.from_bytes(rest[longs : longs + 4], "little") * one & _64, 23) * two + three
        ) & _64
        longs += 4
    for byte in rest[longs:]:
        total = _left(total ^ byte * five & _64, 11) * one & _64
    total = (total ^ total >> 33) * two & _64
    total = (total ^ total >> 29) * three & _64
    return total ^ total >> 32


def _xxh_round(lane: int, word: int) -> int:
    return _left(lane + word * _PRIMES[1] & _64, 31) * _PRIMES[0] & _64


def _left(value: int, turns: int) -> int:
    return (value << turns | value >> 64 - turns) & _64
