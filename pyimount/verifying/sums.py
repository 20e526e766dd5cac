"""Hashes and checksums on their way through bytes; those of a run that is interrupted can be kept."""

import hashlib
import zlib
from collections.abc import Callable
from typing import Protocol

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
"""What can be asked for."""


class Sum(Protocol):
    """A hash or checksum on its way."""

    def update(self, data: bytes, /) -> None:
        """Take in the bytes that follow."""

    def hexdigest(self) -> str:
        """The value for what was taken in so far."""


class KeptSum(Sum, Protocol):
    """One that can be put aside."""

    def state(self) -> str | None:
        """All that is needed to go on later; None at a place where it cannot be put aside."""


class Crc32:
    """CRC-32, of which its value is all there is to keep."""

    def __init__(self, state: str = "00000000") -> None:
        self._register = int(state, 16)

    def update(self, data: bytes, /) -> None:
        """As Sum's."""
        self._register = zlib.crc32(data, self._register)

    def hexdigest(self) -> str:
        """As Sum's."""
        return f"{self._register:08x}"

    def state(self) -> str:
        """As KeptSum's."""
        return self.hexdigest()


def known(algorithm: str) -> bool:
    """Whether this can be computed here."""
    return algorithm == "crc32" or algorithm in hashlib.algorithms_available


def begin(algorithm: str) -> Sum:
    """A new sum; of what ``known`` says."""
    if algorithm == "crc32":
        return Crc32()
    return hashlib.new(algorithm, usedforsecurity=False)


def keeper(algorithm: str) -> Callable[[str | None], KeptSum] | None:
    """What makes sums that can be put aside, from a state or anew; None where this machine has no such."""
    if algorithm == "crc32":
        return lambda state: Crc32(state or "00000000")
    from pyimount.verifying.libcrypto import maker

    return maker(algorithm)
