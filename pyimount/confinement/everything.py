"""Every module that reading an image may need, loaded at once: for where none can be loaded later."""

import codecs
import ctypes
import encodings
import pkgutil
from contextlib import suppress
from importlib import import_module

_ROOMS = (
    "formats", "parsers", "recognition", "layers", "keys", "mapping", "scanning", "sources",
)  # fmt: skip
_OTHERS = (
    "base64", "binascii", "bz2", "calendar", "construct", "datetime", "hashlib", "hmac", "json", "lzma",
    "queue", "struct", "threading", "uuid", "xml.etree.ElementTree", "xml.parsers.expat", "zipfile", "zlib",
    "cryptography.hazmat.primitives.ciphers.aead", "cryptography.hazmat.primitives.ciphers.algorithms",
    "cryptography.hazmat.primitives.ciphers.modes", "cryptography.hazmat.primitives.kdf.pbkdf2",
    "cryptography.hazmat.primitives.keywrap", "google_crc32c", "backports.zstd", "compression.zstd",
    "cramjam", "liblzfse", "lz4.block", "xxhash", "zlib_ng.zlib_ng",
)  # fmt: skip


_CODECS = (
    "ascii", "cp037", "cp437", "cp874", "cp932", "cp936", "cp949", "cp950",
    *(f"cp{page}" for page in range(1250, 1259)), "euc_jp", "gb18030",
    *(f"iso8859_{part}" for part in (*range(1, 12), *range(13, 17))), "koi8_r", "latin_1", "mac_roman",
    "unicode_escape", "utf_8", "utf_8_sig", "utf_16", "utf_16_be", "utf_16_le",
)  # fmt: skip
"""The encodings of which images have names and texts, as far as our own code reads them."""
_FASTER = ("numpy",)
# What takes longer to load than it saves, unless much is read: without it the same is reckoned more slowly.


def load_everything(*, much: bool = False, foreign: bool = False) -> None:
    """Load all that there is of it; what is not installed is not missed.

    ``much``: that much will be read. ``foreign``: that other people's code will read it, in any encoding.
    """
    with suppress(OSError):  # the C library looks for it when a thread ends
        ctypes.CDLL("libgcc_s.so.1")
    for room in _ROOMS:
        _load_all(f"pyimount.{room}")
    # What is found by looking into a folder is looked for once, and kept.
    registry = import_module("pyimount.recognition.registry")
    for each in (registry.container_signatures, registry.table_signatures, registry.volume_signatures):
        each()
    registry.plain_signatures()
    for name in (*_OTHERS, *(_FASTER if much else ())):
        with suppress(ImportError):
            import_module(name)
    for name in _CODECS:
        codecs.lookup(name)
    for each in pkgutil.iter_modules(encodings.__path__) if foreign else ():
        if each.name not in ("mbcs", "oem", "cp65001"):  # Windows has these
            import_module(f"encodings.{each.name}")


def _load_all(name: str) -> None:
    module = import_module(name)
    for each in pkgutil.iter_modules(getattr(module, "__path__", ())):
        _load_all(f"{name}.{each.name}")
