"""The library for Zstandard: the standard library's (Python 3.14), or its backport."""

from importlib import import_module
from typing import Any

MISSING = "what is compressed with zstd cannot be read: pip install 'pyimount[zstd]' does it"


def zstd_library() -> Any:
    """The module, or None where neither is installed."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
