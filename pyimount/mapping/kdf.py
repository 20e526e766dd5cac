"""Keys from passphrases, and what deriving them would cost, which is known before it is attempted.

The cost is counted in work, so that it is the same on every machine: the unit is one iteration of PBKDF2 with
HMAC-SHA-256 for a key that one hash makes. What else is worth how many of these was measured (OpenSSL 3.0 on
x86-64 with SHA extensions), and is set down below.
"""

import hashlib
from typing import ClassVar

from pyimount.keys import Key
from pyimount.mapping.errors import DamagedHeader, KdfTooCostly, OutOfMemory, Unsupported
from pyimount.records import Record
from pyimount.sources.budget import Meter

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
_WORTH = {
    "ripemd160": 2,
    "sha384": 3,
    "sha512": 3,
    "blake2b": 3,
    "blake2s": 3,
    "sm3": 3,
    "sha3_224": 4,
    "sha3_256": 4,
    "sha3_384": 4,
    "sha3_512": 4,
}
"""How many units an iteration with these hashes is worth; one, with the others."""
_ARGON2_WORTH = 3
"""How many units a KiB of Argon2 in one pass is worth."""
STRETCH_WORTH = 2
"""How many units a round of BitLocker's stretching is worth."""
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


class Pbkdf2(Record, kw_only=True):
    """PBKDF2 with HMAC, RFC 8018. ``hash``: hashlib's name of it."""

    hash: str
    iterations: int
    salt: bytes
    memory: ClassVar[int] = 0

    def work(self, length: int) -> int:
        """What a key of ``length`` bytes costs."""
        blocks = -(-length // hashlib.new(self.hash, usedforsecurity=False).digest_size)
        return self.iterations * blocks * _WORTH.get(self.hash, 1)

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

    def work(self, length: int) -> int:  # noqa: ARG002  (as of every function)
        """What a key costs."""
        return self.passes * self.kib * _ARGON2_WORTH

    def derive(self, secret: bytes, length: int) -> bytes:
        """The key of ``length`` bytes. Raises DamagedHeader, Unsupported, OutOfMemory."""
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
            raise OutOfMemory(
                f"{self.variant} takes {self.memory} bytes of memory; there are fewer on this machine"
            ) from error


Kdf = Pbkdf2 | Argon2


def derive_once(key: Key, kdf: Kdf, secret: bytes, length: int) -> bytes:
    """What ``kdf`` derives from ``secret``, which is ``key``'s or comes of it; raises as ``derive`` does.

    To scan a volume and then to read it takes the same key twice: it is derived once.
    """
    return key.derived((kdf, secret, length), lambda: kdf.derive(secret, length))


def allow(meter: Meter, *work: tuple[Kdf, int]) -> None:
    """Charge an image with functions that are about to derive keys of these lengths.

    Raises, instead: KdfTooCostly where that passes what the budget has left, or one of them its limit of
    memory; OutOfMemory where the machine has less than that; BudgetError when the image's time is up.
    """
    charge(meter, sum(kdf.work(length) for kdf, length in work), max(kdf.memory for kdf, _ in work))


def charge(meter: Meter, work: int, memory: int = 0) -> None:
    """The same for so much work and so many bytes of memory."""
    budget = meter.budget
    if memory > budget.derivation_memory:
        raise KdfTooCostly(
            f"deriving the key takes {memory} bytes of memory; {budget.derivation_memory} are allowed "
            "(--max-derivation-memory)"
        )
    if work > meter.derivation_left:
        raise KdfTooCostly(
            f"deriving the key costs as much as {work} iterations of PBKDF2; "
            f"{meter.derivation_left} are left of {budget.derivation} allowed for one image "
            "(--max-derivation)"
        )
    if memory > _LITTLE:
        there = available_memory()
        if there is not None and memory > there:
            raise OutOfMemory(
                f"deriving the key takes {memory} bytes of memory, more than this machine has free now"
            )
    meter.check_time()
    meter.count_derived(work)


_LITTLE = 64 << 20
"""So much memory is not asked for beforehand."""


def available_memory() -> int | None:
    """The bytes of memory that the system says can be had without swapping; None where it says nothing."""
    try:
        with open("/proc/meminfo", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                words = value.split()
                if name == "MemAvailable" and words and words[0].isascii() and words[0].isdecimal():
                    return int(words[0][:15]) << 10
    except OSError:
        return None
    return None
