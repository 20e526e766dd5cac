"""Sectors as BitLocker encrypts them: by AES in XTS or CBC, with the Elephant diffuser on top or without.

What is written where: libyal, libbde, "BitLocker Drive Encryption (BDE) format", as
`pyimount.parsers.encryption.bitlocker` names it.
"""

from pyimount.mapping.elephant import undiffuse
from pyimount.mapping.errors import DamagedHeader, Unsupported, WrongKey
from pyimount.mapping.sectorcipher import BLOCK, SECTOR, Encryption, SectorCipher
from pyimount.parsers.encryption.bitlocker import METHODS

AES_128_DIFFUSER, AES_256_DIFFUSER, AES_128, AES_256, XTS_128, XTS_256 = range(0x8000, 0x8006)
# With the diffuser half of each 32 bytes is not used by AES 128.
KEY_SIZES = {
    AES_128_DIFFUSER: 64,
    AES_256_DIFFUSER: 64,
    AES_128: 16,
    AES_256: 32,
    XTS_128: 32,
    XTS_256: 64,
}
EBOIV = Encryption("aes-cbc-eboiv", "aes", "cbc", "eboiv")


def sector_cipher(method: int, key: bytes, sector_size: int, *, given: bool) -> SectorCipher:
    """What decrypts the sectors of a volume; ``given``: it is the caller who says that this is the key.

    Raises Unsupported for a method, and DamagedHeader or WrongKey for a key, that cannot be.
    """
    if method not in KEY_SIZES:
        raise Unsupported(f"the encryption method {method:#06x}")
    if len(key) != KEY_SIZES[method]:
        message = f"{METHODS[method]} takes a key of {KEY_SIZES[method]} bytes, this one has {len(key)}"
        raise WrongKey(0, message) if given else DamagedHeader(message)
    if method in (XTS_128, XTS_256):
        return Sectors(Encryption("aes-xts-plain64", "aes", "xts", "plain64"), key, sector_size)
    if method in (AES_128, AES_256):
        return Sectors(EBOIV, key, sector_size)
    used = 16 if method == AES_128_DIFFUSER else 32
    return DiffusedSectors(key[:used], key[32 : 32 + used], sector_size)


class Sectors(SectorCipher):
    """Whole sectors by XTS, or by CBC. XTS counts them in their own size, CBC starts from their offset."""

    __slots__ = ()

    def _vectors(self, number: int, count: int) -> bytes:
        size = self.sector_size
        if self._tweak is not None:
            number = number * SECTOR // size
            return _as_blocks(range(number, number + count))
        made: bytes = self._blocks.encryptor().update(_as_blocks(_offsets(number, count, size)))
        return made


def _as_blocks(numbers: range) -> bytes:
    return b"".join([one.to_bytes(BLOCK, "little") for one in numbers])


def _offsets(number: int, count: int, size: int) -> range:
    return range(number * SECTOR, number * SECTOR + count * size, size)


class DiffusedSectors(Sectors):
    """Sectors by CBC, with the Elephant diffuser and a key for each sector on top."""

    __slots__ = ("_sector_keys",)

    def __init__(self, key: bytes, tweak_key: bytes, sector_size: int) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import ECB

        super().__init__(EBOIV, key, sector_size)
        self._sector_keys = Cipher(AES(tweak_key), ECB())  # noqa: S305  (each block is another offset)

    def decrypt(self, data: bytes, number: int) -> bytes:
        """Decrypt whole sectors; ``number`` is that of the first, in units of 512 bytes."""
        halves = [
            half
            for offset in _offsets(number, len(data) // self.sector_size, self.sector_size)
            for half in (offset.to_bytes(BLOCK, "little"), offset.to_bytes(BLOCK - 1, "little") + b"\x80")
        ]
        keys = self._sector_keys.encryptor().update(b"".join(halves))
        return undiffuse(super().decrypt(data, number), keys, self.sector_size)
