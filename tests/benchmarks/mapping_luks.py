"""LUKS read in sequence, 1 MiB a read, beside a loop that makes one ``cryptography`` decryptor a sector."""

import os
import random
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, XTS

from pyimount.mapping.bitlocker_sectors import DiffusedSectors
from pyimount.mapping.elephant import in_windows
from pyimount.mapping.sectorcipher import SectorCipher, SectorSource, parse_encryption
from pyimount.sources.source import BytesSource, Source
from tests.benchmarks.measure import in_turn

MIB = 1 << 20
SIZE = 16 * MIB
ROUNDS = 9
KEY = bytes(range(64))
CASES = (
    ("aes-xts-plain64", 64, 512, 4.0),
    ("aes-xts-plain64", 64, 4096, 1.0),
    ("aes-cbc-essiv:sha256", 32, 512, None),
    ("aes-cbc-plain64", 32, 4096, None),
)
"""Specification, bytes of key, bytes of a sector, and how many times as fast it has to be."""


def plain_loop(source: Source, specification: str, key: bytes, size: int) -> Callable[[], object]:
    """A read of all in pieces of 1 MiB, each sector with a decryptor of its own."""
    from hashlib import sha256

    salted = Cipher(AES(sha256(key).digest()), ECB())  # noqa: S305
    xts, essiv = "xts" in specification, "essiv" in specification
    algorithm = AES(key)

    def read() -> None:
        for at in range(0, SIZE, MIB):
            sealed = source.read_at(at, MIB)
            plain = []
            for place in range(0, MIB, size):
                vector = ((at + place) // 512).to_bytes(16, "little")
                if essiv:
                    vector = salted.encryptor().update(vector)
                decryptor = Cipher(algorithm, XTS(vector) if xts else CBC(vector)).decryptor()
                plain.append(decryptor.update(sealed[place : place + size]) + decryptor.finalize())
            b"".join(plain)

    return read


def in_sequence(source: Source) -> Callable[[], object]:
    """A read of all in pieces of 1 MiB."""

    def read() -> None:
        for at in range(0, SIZE, MIB):
            source.read_at(at, MIB)

    return read


def ciphers() -> Iterator[tuple[str, float, tuple[str, float], str]]:
    """MiB a second of each cipher, ours and a loop's that makes a decryptor for every sector."""
    sealed = BytesSource(os.urandom(SIZE))
    for specification, length, size, wanted in CASES:
        key = KEY[:length]
        ours = SectorSource(sealed, 0, SIZE, SectorCipher(parse_encryption(specification), key, size))
        spent = in_turn((in_sequence(ours), plain_loop(sealed, specification, key, size)), ROUNDS)
        speeds = [SIZE / MIB / seconds for seconds in spent]
        least = "" if wanted is None else f", x{wanted:g} wanted"
        yield (
            f"{specification}, {size} a sector",
            speeds[0],
            (f"a decryptor a sector{least}", speeds[1]),
            "MiB/s",
        )


def small_reads() -> Iterator[tuple[str, float, tuple[str, float], str]]:
    """MB a second of 4 KiB read here and there, beside those of 1 MiB: what small reads cost more.

    2,000 of them, half of all there is: windows pay for who comes back to a place.
    """
    sealed = BytesSource(os.urandom(SIZE))
    dice = random.Random(7)  # noqa: S311
    places = [dice.randrange(SIZE // 4096) * 4096 for _ in range(2000)]
    kinds = {
        "LUKS, 512 a sector": SectorCipher(parse_encryption("aes-xts-plain64"), KEY[:64]),
        "LUKS, 4096 a sector": SectorCipher(parse_encryption("aes-xts-plain64"), KEY[:64], 4096),
        "BitLocker with Elephant": DiffusedSectors(KEY[:16], KEY[16:32], 512),
    }
    for what, cipher in kinds.items():
        source: Source = SectorSource(sealed, 0, SIZE, cipher)

        def here_and_there(below: Source = source, cipher: SectorCipher = cipher) -> None:
            source = in_windows(below) if isinstance(cipher, DiffusedSectors) else below
            for at in places:
                source.read_at(at, 4096)

        def at_once(cipher: SectorCipher = cipher) -> None:
            cipher.decrypt(sealed.read_at(0, MIB), 0)

        small, large = in_turn((here_and_there, at_once), 5)
        yield (
            f"{what}, 4 KiB here and there",
            len(places) * 4096 / 1e6 / small,
            ("1 MiB", MIB / 1e6 / large),
            "MB/s",
        )
