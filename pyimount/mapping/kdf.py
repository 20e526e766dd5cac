"""Keys from passphrases, and what deriving them would cost, which is known before it is attempted."""

import hashlib
import os
import time
from functools import cache
from typing import ClassVar

from pyimount.mapping.errors import DamagedHeader, KdfTooCostly, Unsupported
from pyimount.records import Record

# The kernel's and libgcrypt's names for hashes, and hashlib's where those differ.
_HASHES = {
    "md5": "md5",
    "rmd160": "ripemd160",
    "ripemd160": "ripemd160",
    "sha1": "sha1",
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "sha3-224": "sha3_224",
    "sha3-256": "sha3_256",
    "sha3-384": "sha3_384",
    "sha3-512": "sha3_512",
    "blake2b-512": "blake2b",
    "blake2s-256": "blake2s",
    "sm3": "sm3",
}
_SAMPLE = 4000
_SAMPLE_KIB = 16384
MAX_LANES = 64


def hash_name(name: str) -> str:
    """Translate a hash that a header names to hashlib's name; raises Unsupported where there is none."""
    known = _HASHES.get(name.lower())
    if known is None:
        raise Unsupported(f"the hash {name} cannot be computed")
    try:
        hashlib.new(known, usedforsecurity=False)
    except ValueError as error:
        raise Unsupported(f"the hash {name}: this OpenSSL lacks it") from error
    return known


class KdfLimits(Record, kw_only=True):
    """What opening one volume with one key may cost: ``memory`` in bytes, ``seconds`` as estimated."""

    memory: int = 4 << 30
    seconds: float = 60.0


class Pbkdf2(Record, kw_only=True):
    """PBKDF2 with HMAC, RFC 8018. ``hash``: hashlib's name of it."""

    hash: str
    iterations: int
    salt: bytes
    memory: ClassVar[int] = 0

    def seconds(self, length: int) -> float:
        """The time that a key of ``length`` bytes is estimated to take."""
        blocks = -(-length // hashlib.new(self.hash, usedforsecurity=False).digest_size)
        return self.iterations * blocks * _pbkdf2_rate(self.hash)

    def derive(self, secret: bytes, length: int) -> bytes:
        """The key of ``length`` bytes. Raises DamagedHeader for figures that the function does not take."""
        if not 0 < self.iterations < 1 << 31:
            raise DamagedHeader(f"{self.iterations} iterations of PBKDF2")
        return hashlib.pbkdf2_hmac(self.hash, secret, self.salt, self.iterations, length)


class Argon2(Record, kw_only=True):
    """Argon2, RFC 9106. ``variant``: ``argon2i`` or ``argon2id``; ``kib``: memory in KiB."""

    variant: str
    passes: int
    kib: int
    lanes: int
    salt: bytes

    @property
    def memory(self) -> int:
        """The memory that it takes, bytes."""
        return self.kib << 10

    def seconds(self, length: int) -> float:  # noqa: ARG002  (as of every function)
        """The time that it is estimated to take."""
        at_once = max(1, min(self.lanes, os.cpu_count() or 1))
        return self.passes * self.kib * _argon2_rate() / at_once

    def derive(self, secret: bytes, length: int) -> bytes:
        """The key of ``length`` bytes. Raises DamagedHeader, Unsupported, KdfTooCostly (no memory)."""
        if not (0 < self.lanes <= MAX_LANES and self.passes > 0 and 8 * self.lanes <= self.kib < 1 << 32):
            raise DamagedHeader(f"Argon2 with {self.passes} passes, {self.kib} KiB and {self.lanes} lanes")
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.kdf import argon2

        try:
            function = (argon2.Argon2i if self.variant == "argon2i" else argon2.Argon2id)(
                salt=self.salt, length=length, iterations=self.passes, lanes=self.lanes, memory_cost=self.kib
            )
            return function.derive(secret)
        except (AttributeError, UnsupportedAlgorithm) as error:
            raise Unsupported(f"{self.variant}: this version of cryptography lacks it") from error
        except ValueError as error:
            raise DamagedHeader(
                f"{self.variant} does not take what the header asks of it: {error}"
            ) from error
        except MemoryError as error:
            raise KdfTooCostly(
                f"{self.variant} takes {self.memory} bytes of memory: there are fewer"
            ) from error


Kdf = Pbkdf2 | Argon2


@cache
def _pbkdf2_rate(name: str) -> float:
    """Seconds that an iteration takes here: the processor's, else a busy machine made any key too costly."""
    start = time.process_time()
    hashlib.pbkdf2_hmac(name, b"", bytes(32), _SAMPLE)
    return (time.process_time() - start) / _SAMPLE


@cache
def _argon2_rate() -> float:
    """Seconds of the processor that a KiB takes in one pass of one lane here."""
    sample = Argon2(variant="argon2id", passes=1, kib=_SAMPLE_KIB, lanes=1, salt=bytes(16))
    sample.replaced(kib=8).derive(b"", 32)  # loads the library
    start = time.process_time()
    sample.derive(b"", 32)
    return (time.process_time() - start) / _SAMPLE_KIB


class Allowance:
    """What is left of the limits while the keyslots of one volume are tried in turn."""

    def __init__(self, limits: KdfLimits) -> None:
        self._limits = limits
        self._started = time.perf_counter()

    def check(self, *work: tuple[Kdf, int]) -> None:
        """Raise KdfTooCostly where this work, functions and lengths of keys, passes what is left."""
        memory = max(kdf.memory for kdf, _ in work)
        if memory > self._limits.memory:
            raise KdfTooCostly(
                f"deriving the key takes {memory} bytes of memory; {self._limits.memory} are allowed"
            )
        seconds = sum(kdf.seconds(length) for kdf, length in work)
        left = self._limits.seconds - (time.perf_counter() - self._started)
        if seconds > left:
            raise KdfTooCostly(
                f"deriving the key would take about {seconds:.0f} s; {max(0, left):.0f} are left of "
                f"{self._limits.seconds:g} allowed for a volume"
            )
