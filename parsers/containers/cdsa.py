"""What Apple's encrypted disk images say of their encryption: DMG, sparse images and sparse bundles.

Layout: no publication of Apple's; R.-P. Weinmann, J. Appelbaum, "Unlocking FileVault" (23C3, 2006);
https://github.com/nlitsme/encrypteddmg
"""

from construct import Bytes, Int32ub, Int64ub, Struct

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import uuid_text
from pyimount.sources.view import ShortRead, View

HEADER_V2 = layout(
    lambda: Struct(
        "signature" / Bytes(8),
        "version" / Int32ub,
        "iv_size" / Int32ub,
        "encryption_mode" / Int32ub,
        "encryption_algorithm" / Int32ub,
        "key_bits" / Int32ub,
        "prng_algorithm" / Int32ub,
        "prng_key_bits" / Int32ub,
        "uuid" / Bytes(16),
        "block_size" / Int32ub,
        "data_size" / Int64ub,
        "data_offset" / Int64ub,
        "key_count" / Int32ub,
    )
)
KEY_POINTER = layout(lambda: Struct("key_type" / Int32ub, "key_offset" / Int64ub, "key_size" / Int64ub))
PASSPHRASE_KEY = layout(
    lambda: Struct(
        "kdf_algorithm" / Int32ub,
        "kdf_prng_algorithm" / Int32ub,
        "kdf_iterations" / Int32ub,
        "kdf_salt_size" / Int32ub,
        "kdf_salt" / Bytes(32),
        "blob_iv_size" / Int32ub,
        "blob_iv" / Bytes(32),
        "blob_key_bits" / Int32ub,
        "blob_algorithm" / Int32ub,
        "blob_padding" / Int32ub,
        "blob_mode" / Int32ub,
        "blob_size" / Int32ub,
    )
)
HEADER_V1 = layout(
    lambda: Struct(
        "unknown" / Bytes(48),
        "kdf_iterations" / Int32ub,
        "kdf_salt_size" / Int32ub,
        "kdf_salt" / Bytes(48),
        "unwrap_iv" / Bytes(32),
        "wrapped_aes_key_size" / Int32ub,
        "wrapped_aes_key" / Bytes(296),
        "wrapped_hmac_key_size" / Int32ub,
        "wrapped_hmac_key" / Bytes(300),
        "wrapped_integrity_key_size" / Int32ub,
        "wrapped_integrity_key" / Bytes(48),
        "rest" / Bytes(476),
        "signature" / Bytes(8),
    )
)
"""At the end of the file."""

MAGIC_V1, MAGIC_V2 = b"cdsaencr", b"encrcdsa"
ALGORITHMS = {0x80000001: "aes", 0x11: "3des"}
MODES = {5: "cbc-iv8", 6: "cbc-pad-iv8"}
KDF_ALGORITHMS = {0x67: "pbkdf2"}
PASSPHRASE = 1
KEY_TYPES = {PASSPHRASE: "passphrase", 2: "certificate", 3: "keybag"}
_KEYS_CAP = 32
_BLOCK_CAP = 1 << 24


def encryption_of(view: View) -> dict[str, Json] | None:
    """What the header says, None where there is none; raises NotThisFormat when it contradicts itself."""
    if view.peek(0, len(MAGIC_V2)) == MAGIC_V2:
        return _version_2(view)
    if view.size >= HEADER_V1.size and view.peek(view.size - len(MAGIC_V1), len(MAGIC_V1)) == MAGIC_V1:
        header = read_struct(view, HEADER_V1, view.size - HEADER_V1.size)
        if header.kdf_salt_size > 48 or header.wrapped_aes_key_size > 296:
            raise NotThisFormat(f"a salt of {header.kdf_salt_size} bytes")
        return {
            "method": "cdsaencr",
            "version": 1,
            "kdf_iterations": header.kdf_iterations,
            "kdf_salt_size": header.kdf_salt_size,
        }
    return None


def _version_2(view: View) -> dict[str, Json]:
    header = read_struct(view, HEADER_V2, 0)
    if header.version != 2 or not 0 < header.block_size <= _BLOCK_CAP:
        raise NotThisFormat(
            f"encrypted image of version {header.version}, blocks of {header.block_size} bytes"
        )
    about: dict[str, Json] = {
        "method": "encrcdsa",
        "version": header.version,
        "uuid": uuid_text(header.uuid),
        "algorithm": ALGORITHMS.get(header.encryption_algorithm, f"{header.encryption_algorithm:#x}"),
        "mode": MODES.get(header.encryption_mode, str(header.encryption_mode)),
        "key_bits": header.key_bits,
        "block_size": header.block_size,
        "data_size": header.data_size,
        "data_offset": header.data_offset,
        "key_count": header.key_count,
        "kdf": None,
        "kdf_iterations": None,
    }
    keys: list[Json] = []
    try:
        for number in range(min(header.key_count, _KEYS_CAP)):
            pointer = read_struct(view, KEY_POINTER, HEADER_V2.size + number * KEY_POINTER.size)
            keys.append(KEY_TYPES.get(pointer.key_type, str(pointer.key_type)))
            if pointer.key_type == PASSPHRASE and about["kdf"] is None:
                key = read_struct(view, PASSPHRASE_KEY, pointer.key_offset)
                about["kdf"] = KDF_ALGORITHMS.get(key.kdf_algorithm, str(key.kdf_algorithm))
                about["kdf_iterations"] = key.kdf_iterations
    except ShortRead:
        about["truncated"] = True
    about["keys"] = keys
    return about
