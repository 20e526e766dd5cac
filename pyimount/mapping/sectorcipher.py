"""Sectors encrypted each by itself, as dm-crypt does it: cipher, mode and initialisation vector.

Specification: "dm-crypt", kernel.org, admin-guide/device-mapper; XTS is IEEE 1619. ``cryptography``
has one call a sector, which for small sectors costs ten times what their decryption does. So a large read is
decrypted whole: one ECB call for all initialisation vectors, one for all blocks, and what the mode mixes
in besides (XTS's tweaks, CBC's preceding blocks) as one mask over all sectors, made by numpy, or without it
as one whole number, which is slower. A few sectors of AES in XTS, and all without numpy, are read one by one.
"""

import re
import sys
import threading
from array import array
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Literal, NoReturn, TypeAlias

from pyimount.mapping.errors import Unsupported
from pyimount.mapping.kdf import hash_name
from pyimount.mapping.optional_numpy import numpy
from pyimount.records import Record
from pyimount.sources.source import Source

BLOCK = 16
SECTOR = 512
"""The unit of sector numbers, whatever the size of a sector."""
SECTOR_SIZES = (512, 1024, 2048, 4096)
_PIECE = 256 << 10
"""Worked on at once, in bytes: it stays in the processor's cache."""
_NUMBERED = 32 << 10
"""The same without numpy; at least the largest sector."""
_AT_ONCE = 1 << 20
"""Read and decrypted at once, in bytes, whatever is asked for."""
_FEW = 16
"""So many sectors of XTS cost less one by one than numpy's arrays do, whatever is in them: measured."""
_LANE = (1 << 128) - 1

NULL_CIPHERS = ("null", "cipher_null")
_CAPI = re.compile(r"capi:(\w+)\((\w+)\)-(.+)")


_Words: TypeAlias = tuple[Any, Any]
"""Arrays of the low and of the high words of tweaks."""


class Encryption(Record):
    """A specification such as ``aes-xts-plain64``, taken apart. ``iv`` has a hash for ``essiv`` only."""

    text: str
    cipher: str
    mode: str
    iv: str
    iv_hash: str | None = None


def parse_encryption(text: str) -> Encryption:
    """Take a dm-crypt cipher specification apart; raises Unsupported for what is none that can be read."""
    capi = _CAPI.fullmatch(text)
    cipher, mode, iv = capi.group(2, 1, 3) if capi else (*text.split("-", 2), "", "")[:3]
    iv, _, iv_hash = iv.partition(":")
    found = Encryption(text, cipher, mode, iv, iv_hash or None)
    if cipher in NULL_CIPHERS:
        return found
    if cipher not in _key_sizes():
        raise Unsupported(f"the cipher {text}: only {', '.join(_key_sizes())} can be decrypted")
    if mode == "ecb":
        return found
    if mode not in ("xts", "cbc"):
        raise Unsupported(f"the cipher {text}: the mode {mode or 'of a key for each sector'} cannot be read")
    if iv not in ("plain", "plain64", "plain64be", "null", "essiv") or (iv == "essiv") is not bool(iv_hash):
        raise Unsupported(f"the cipher {text}: initialisation vectors of this kind cannot be made")
    if iv_hash:
        hash_name(iv_hash)
    return found


def _key_sizes() -> dict[str, tuple[int, ...]]:
    return {"aes": (16, 24, 32), "camellia": (16, 24, 32), "sm4": (16,)}


def _ecb(cipher: str, key: bytes) -> Any:
    """``cryptography``'s cipher object; raises Unsupported where it or its OpenSSL lacks the cipher."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    if len(key) not in _key_sizes()[cipher]:
        raise Unsupported(f"the cipher {cipher} takes no key of {len(key)} bytes")
    made = Cipher(_algorithm(cipher)(key), ECB())  # noqa: S305  (the building block of the modes here)
    try:
        made.decryptor()
    except UnsupportedAlgorithm as error:
        raise Unsupported(f"the cipher {cipher}: this OpenSSL lacks it") from error
    return made


def _algorithm(cipher: str) -> Any:
    from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

    if cipher != "camellia":
        return AES if cipher == "aes" else SM4
    try:
        # Where this stands has changed between versions; only who needs it depends on that.
        from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia
    except ImportError as error:
        raise Unsupported("the cipher camellia: this version of cryptography lacks it") from error
    return Camellia


def _xts(key: bytes) -> Callable[[bytes], Any] | None:
    """Makes ``cryptography``'s decryptor of a sector from its number; None for keys that its XTS refuses."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import XTS

    try:
        algorithm = AES(key)
        Cipher(algorithm, XTS(bytes(BLOCK))).decryptor()
    except (UnsupportedAlgorithm, ValueError):  # of 2 x 24 bytes, or of two equal halves
        return None
    return lambda number: Cipher(algorithm, XTS(number)).decryptor()


class SectorCipher:
    """Decrypts whole sectors under one key; usable from any thread.

    Raises Unsupported for a cipher, mode, key size or sector size that cannot be had. A subclass whose
    sectors are numbered otherwise gives its own ``_vectors``.
    """

    __slots__ = ("_blocks", "_ivs", "_kept", "_mode", "_plan", "_tweak", "_xts", "sector_size")

    def __init__(self, encryption: Encryption, key: bytes, sector_size: int = SECTOR) -> None:
        if sector_size not in SECTOR_SIZES:
            raise Unsupported(f"sectors of {sector_size} bytes")
        self.sector_size = sector_size
        self._mode = "null" if encryption.cipher in NULL_CIPHERS else encryption.mode
        self._tweak = None
        if self._mode == "null":
            return
        half = len(key) // 2
        if self._mode == "xts":
            if len(key) % 2:
                raise Unsupported(f"{encryption.text} takes no key of {len(key)} bytes")
            self._tweak = _ecb(encryption.cipher, key[half:])
        self._blocks = _ecb(encryption.cipher, key[:half] if self._mode == "xts" else key)
        self._plan = encryption
        self._ivs = None
        self._kept = threading.local()
        if encryption.iv_hash:
            from hashlib import new

            salt = new(hash_name(encryption.iv_hash), key, usedforsecurity=False).digest()
            self._ivs = _ecb(encryption.cipher, salt)
        self._xts = _xts(key) if (encryption.cipher, self._mode) == ("aes", "xts") else None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not to be stored")

    def decrypt(self, data: bytes, number: int) -> bytes:
        """Decrypt whole sectors; ``number`` is that of the first, in units of 512 bytes."""
        if self._mode == "null":
            return data
        if self._mode == "ecb":
            plain: bytes = self._blocks.decryptor().update(data)
            return plain
        np = numpy()
        if self._xts is not None and (np is None or len(data) <= _FEW * self.sector_size):
            return self._one_by_one(self._xts, data, number)
        if np is None:
            return b"".join(
                self._by_integers(data[at : at + _NUMBERED], number + at // SECTOR)
                for at in range(0, len(data), _NUMBERED)
            )
        if len(data) <= _AT_ONCE:
            return self._by_arrays(np, data, number)
        return b"".join(
            self._by_arrays(np, data[at : at + _AT_ONCE], number + at // SECTOR)
            for at in range(0, len(data), _AT_ONCE)
        )

    def _one_by_one(self, decryptor: Callable[[bytes], Any], data: bytes, number: int) -> bytes:
        size = self.sector_size
        vectors = self._vectors(number, len(data) // size)
        return b"".join(
            [
                decryptor(vectors[place * BLOCK : (place + 1) * BLOCK]).update(data[at : at + size])
                for place, at in enumerate(range(0, len(data), size))
            ]
        )

    def _masked(self, number: int, count: int) -> bytes:
        """The same as what is mixed into the first block: in XTS they are encrypted first."""
        made = self._vectors(number, count)
        return made if self._tweak is None else bytes(self._tweak.encryptor().update(made))

    def _vectors(self, number: int, count: int) -> bytes:
        """The initialisation vectors of ``count`` sectors; in XTS the numbers of the sectors."""
        step, kind = self.sector_size // SECTOR, self._plan.iv
        if kind == "null":
            made = bytes(BLOCK * count)
        else:
            bits = 32 if kind == "plain" else 64
            numbers = range(number, number + step * count, step)
            made = _numbered(numbers, (1 << bits) - 1, "big" if kind == "plain64be" else "little")
        return made if self._ivs is None else bytes(self._ivs.encryptor().update(made))

    def _by_arrays(self, np: ModuleType, data: bytes, number: int) -> bytes:
        size = self.sector_size
        count = len(data) // size
        area: _Area | None = getattr(self._kept, "area", None)
        if area is None or count > area.count:
            area = _Area(np, size, count, tweaks=self._tweak is not None)
            if len(data) >= _PIECE:
                self._kept.area = area
        vectors = np.frombuffer(self._masked(number, count), area.words).reshape(count, 2)
        source = np.frombuffer(data, area.words).reshape(count, size // 8)
        decryptor = self._blocks.decryptor()
        for first in range(0, count, area.at_once):
            rows = slice(first, min(first + area.at_once, count))
            into = area.room[first * size : rows.stop * size + BLOCK].data
            sectors, plain = source[rows], area.plain[rows]
            if area.tweaks:
                masks = area.tweaks.of(vectors[rows])
                blocks = np.bitwise_xor(sectors, masks, out=area.mixed[: len(masks)])
                decryptor.update_into(blocks.reshape(-1).view(np.uint8).data, into)
                plain ^= masks
            else:
                decryptor.update_into(data[first * size : rows.stop * size], into)
                plain[:, 2:] ^= sectors[:, :-2]
                plain[:, :2] ^= vectors[rows]
        made: bytes = area.plain[:count].tobytes()
        return made

    def _by_integers(self, data: bytes, number: int) -> bytes:
        """The same without numpy: the mask is one whole number."""
        size = self.sector_size
        vectors = self._masked(number, len(data) // size)
        if self._tweak:
            mask = _tweaks(vectors, size // BLOCK)
            data = (int.from_bytes(data, "little") ^ mask).to_bytes(len(data), "little")
        else:
            rows = [
                part
                for place, at in enumerate(range(0, len(data), size))
                for part in (vectors[place * BLOCK : (place + 1) * BLOCK], data[at : at + size - BLOCK])
            ]
            mask = int.from_bytes(b"".join(rows), "little")
        plain = int.from_bytes(self._blocks.decryptor().update(data), "little") ^ mask
        return plain.to_bytes(len(data), "little")


def _numbered(numbers: range, mask: int, order: Literal["big", "little"]) -> bytes:
    """Each number as a block, after it is masked."""
    if order == sys.byteorder == "little" and numbers[-1] <= mask:
        blocks = array("Q", bytes(BLOCK * len(numbers)))
        blocks[::2] = array("Q", numbers)
        return blocks.tobytes()
    return b"".join([(one & mask).to_bytes(BLOCK, order) for one in numbers])


def _tweaks(vectors: bytes, blocks: int) -> int:
    """XTS's tweaks of sectors of ``blocks`` blocks, whose first ones are ``vectors``, in one number.

    By doubling, as in ``_Tweaks``: each block of 16 bytes is a lane, and of those that are not known yet
    all bits are 0.
    """
    between = bytes(BLOCK * (blocks - 1))
    firsts = [vectors[at : at + BLOCK] + between for at in range(0, len(vectors), BLOCK)]
    made = fresh = int.from_bytes(b"".join(firsts), "little")
    done = 1
    while done < blocks:
        power = min(done, 64)
        if done <= 64:
            fresh = made  # else those that were made last
        kept, gone = _lanes(_LANE >> power), _lanes((1 << power) - 1)
        out = fresh >> 128 - power & gone
        fresh = (fresh & kept) << power ^ out ^ out << 1 ^ out << 2 ^ out << 7
        fresh <<= 128 * power
        made |= fresh
        done += power
    return made


@cache
def _lanes(lane: int) -> int:
    """``lane`` in every block of what is worked on at once."""
    return int.from_bytes(lane.to_bytes(BLOCK, "little") * (_NUMBERED // BLOCK), "little")


class _Area:
    """Where one thread decrypts ``count`` sectors; kept, for fresh memory costs more than the arithmetic."""

    def __init__(self, np: ModuleType, size: int, count: int, *, tweaks: bool) -> None:
        self.words = np.dtype("<u8")
        self.count = count
        self.at_once = min(count, _PIECE // size)
        # ``update_into`` wants room for a block more than it fills.
        self.room = np.empty(count * size + BLOCK, np.uint8)
        self.plain = self.room[: count * size].view(self.words).reshape(count, size // 8)
        self.tweaks = _Tweaks(np, self.at_once, size // BLOCK) if tweaks else None
        self.mixed: Any = np.empty((self.at_once, size // 8), self.words) if tweaks else None


class _Tweaks:
    """XTS's tweaks of many sectors at once, by doubling: from those of k blocks the next k, times x^k.

    Multiplication by x^k shifts a tweak by k bits and mixes the k bits that leave it in again times the
    polynomial, x^7 + x^2 + x + 1. Low and high words stand apart, block by block, for contiguous loops.
    """

    def __init__(self, np: ModuleType, sectors: int, blocks: int) -> None:
        self._np = np
        self._blocks = blocks
        words = np.dtype("<u8")
        self._low, self._high = (np.empty((blocks, sectors), words) for _ in range(2))
        self._gone, self._spare = (np.empty((min(64, blocks), sectors), words) for _ in range(2))
        self._made = np.empty((sectors, blocks, 2), words)
        self._shifts = [np.uint64(bits) for bits in range(65)]

    def of(self, vectors: Any) -> Any:
        """The tweaks of the sectors whose first ones are ``vectors``, a row each."""
        sectors = len(vectors)
        low, high = self._low[:, :sectors], self._high[:, :sectors]
        low[0], high[0] = vectors[:, 0], vectors[:, 1]
        done = 1
        while done < self._blocks:
            # Beyond 64 blocks by x^64 at a time: a shift by whole words, the cheapest.
            power = min(done, 64)
            known, fresh = slice(done - power, done), slice(done, done + power)
            spare = self._gone[:power, :sectors], self._spare[:power, :sectors]
            times = self._times if power < 64 else self._times_64
            times(power, (low[known], high[known]), (low[fresh], high[fresh]), spare)
            done += power
        made = self._made[:sectors]
        made[..., 0], made[..., 1] = low.T, high.T
        return made.reshape(sectors, -1)

    def _times(self, power: int, known: _Words, fresh: _Words, spare: _Words) -> None:
        """Multiply by x^power, 0 < power < 58."""
        left, right, shift = self._np.left_shift, self._np.right_shift, self._shifts
        (low, high), (to_low, to_high), (gone, moved) = known, fresh, spare
        left(high, shift[power], out=to_high)
        to_high ^= right(low, shift[64 - power], out=moved)
        right(high, shift[64 - power], out=gone)
        left(low, shift[power], out=to_low)
        to_low ^= gone
        for bit in (1, 2, 7):
            to_low ^= left(gone, shift[bit], out=moved)

    def _times_64(self, power: int, known: _Words, fresh: _Words, spare: _Words) -> None:  # noqa: ARG002
        """Multiply by x^64."""
        left, right, shift = self._np.left_shift, self._np.right_shift, self._shifts
        (low, high), (to_low, to_high), (_, moved) = known, fresh, spare
        left(high, shift[1], out=to_low)
        to_low ^= high
        right(high, shift[63], out=to_high)
        to_high ^= low
        for bit in (2, 7):
            to_low ^= left(high, shift[bit], out=moved)
            to_high ^= right(high, shift[64 - bit], out=moved)


class SectorSource(Source):
    """The plain bytes of a run of encrypted sectors.

    ``start``, ``size``: the run in ``parent``, bytes. ``first``: number of its first sector for the
    initialisation vectors, in units of 512 bytes.
    """

    __slots__ = ("_cipher", "_first", "_parent", "_start")

    def __init__(self, parent: Source, start: int, size: int, cipher: SectorCipher, first: int = 0) -> None:
        self._parent = parent
        self._start = start
        self._cipher = cipher
        self._first = first
        available = max(0, min(size, parent.size - start))
        self.size = available - available % cipher.sector_size

    def _read(self, offset: int, length: int) -> bytes:
        unit = self._cipher.sector_size
        begin = offset - offset % unit
        end = -(-(offset + length) // unit) * unit
        found = []
        # In pieces: a read of any length takes memory for its result, and little besides.
        for at in range(begin, end, _AT_ONCE):
            sealed = self._parent.read_at(self._start + at, min(_AT_ONCE, end - at))
            found.append(self._cipher.decrypt(sealed, self._first + at // SECTOR))
        plain = found[0] if len(found) == 1 else b"".join(found)
        skipped = offset - begin
        return plain if skipped == 0 and len(plain) == length else plain[skipped : skipped + length]
