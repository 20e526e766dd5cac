"""Checksums that several formats share and zlib does not have."""

import re


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
