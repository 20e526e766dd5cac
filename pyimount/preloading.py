"""Loading all code that reading an image may need, before a process loses the right to open files.

A virtual environment in a home directory cannot be read by the user that a confined process becomes.
"""

import encodings
from contextlib import suppress
from importlib import import_module
from pkgutil import iter_modules, walk_packages

LIBRARIES = (
    "bz2",
    "cryptography.exceptions",
    "cryptography.hazmat.decrepit.ciphers.algorithms",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.ciphers.algorithms",
    "cryptography.hazmat.primitives.ciphers.modes",
    "cryptography.hazmat.primitives.kdf.argon2",
    "cryptography.hazmat.primitives.keywrap",
    "google_crc32c",
    "hashlib",
    "json",
    "liblzfse",
    "lzma",
    "numpy",
    "xml.parsers.expat",
)
"""What functions import when they need it."""

_PACKAGES = ("pyimount.sources", "pyimount.parsers", "pyimount.mapping")
_MODULES = ("pyimount.scanning", "pyimount.keys")
_WINDOWS_ONLY = frozenset(("mbcs", "oem"))


def load_everything() -> None:
    """Import every parser, every mapping, the libraries that they use, and all text encodings."""
    for name in _PACKAGES:
        package = import_module(name)
        for module in walk_packages(package.__path__, f"{name}."):
            import_module(module.name)
    for name in _MODULES:
        import_module(name)
    for name in LIBRARIES:
        with suppress(ImportError):  # those that are optional
            import_module(name)
    for encoding in iter_modules(encodings.__path__):
        if encoding.name not in _WINDOWS_ONLY:
            import_module(f"encodings.{encoding.name}")
