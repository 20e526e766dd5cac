"""Checksums that several formats share and zlib does not have."""

import re

import google_crc32c


def crc32c(data: bytes, seed: int = 0xFFFFFFFF) -> int:
    """CRC-32C (Castagnoli, reflected) of ``data`` without the final inversion.

    ``seed`` is the register to start from; file systems chain checksums by passing the last
    result. The everyday CRC-32C of RFC 3720 is ``crc32c(data) ^ 0xFFFFFFFF``.
    """
    return int(google_crc32c.extend(seed ^ 0xFFFFFFFF, data)) ^ 0xFFFFFFFF


_NOT_ZERO = re.compile(rb"[^\0]")


def rotated_sum(data: bytes, bits: int) -> int:
    """Microsoft's boot-sector checksum: each byte is added to the sum so far, rotated right by one bit.

    ``bits``: width of the sum. Only bytes that are not zero cost anything: those between are one rotation.
    """
    mask = (1 << bits) - 1
    total, last = 0, -1
    for found in _NOT_ZERO.finditer(data):
        at = found.start()
        turn = (at - last) % bits
        total = ((total >> turn | total << (bits - turn)) + data[at]) & mask
        last = at
    turn = (len(data) - 1 - last) % bits
    return (total >> turn | total << (bits - turn)) & mask
