"""Hashes of libcrypto's, which can be put aside: their state is a few words of known layout.

openssl/md5.h and openssl/sha.h, https://github.com/openssl/openssl/tree/openssl-3.0/include/openssl
hashlib gives nothing away before a hash is finished.
"""

import hashlib
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

# By algorithm: the names of libcrypto's functions, words of the state, the letter of a word, bytes of a
# block.
_LAYOUTS = {
    "md5": ("MD5", 4, "I", 64),
    "sha1": ("SHA1", 5, "I", 64),
    "sha256": ("SHA256", 8, "I", 64),
    "sha512": ("SHA512", 8, "Q", 128),
}
_ROOM = 512
"""More bytes than the largest of the contexts takes."""


class LibcryptoSum:
    """A hash of libcrypto's, whose state can be taken out between two blocks.

    A context is the words of the state, the number of bits so far in two words, a block that is not yet full,
    and how much of it there is: between blocks, none, so that the words and the count are all.
    """

    def __init__(self, library: Any, algorithm: str, state: str | None) -> None:
        import ctypes

        name, words, letter, self._block = _LAYOUTS[algorithm]
        self._words = struct.Struct(f"={words}{letter}")
        self._count = struct.Struct(f"=2{letter}")
        self._bits = 8 * struct.calcsize(f"={letter}")
        self._update, self._final = getattr(library, f"{name}_Update"), getattr(library, f"{name}_Final")
        self._context = ctypes.create_string_buffer(_ROOM)
        self._algorithm = algorithm
        self._taken = 0
        getattr(library, f"{name}_Init")(self._context)
        if state is not None:
            words_given, count = state.split(":")
            self._taken = int(count)
            raw = bytes.fromhex(words_given)
            if len(raw) != self._words.size or self._taken % self._block or self._taken < 0:
                raise ValueError(f"no state of {algorithm}: {state}")
            bits = self._taken * 8
            low, high = bits & ((1 << self._bits) - 1), bits >> self._bits
            given = raw + self._count.pack(low, high)
            ctypes.memmove(self._context, given, len(given))

    def update(self, data: bytes, /) -> None:
        """As Sum's."""
        self._update(self._context, data, len(data))
        self._taken += len(data)

    def hexdigest(self) -> str:
        """As Sum's."""
        import ctypes

        context = ctypes.create_string_buffer(bytes(self._context), _ROOM)
        digest = ctypes.create_string_buffer(64)
        self._final(digest, context)
        return digest.raw[: hashlib.new(self._algorithm, usedforsecurity=False).digest_size].hex()

    def state(self) -> str | None:
        """As KeptSum's."""
        if self._taken % self._block:
            return None
        return f"{self._context.raw[: self._words.size].hex()}:{self._taken}"


@cache
def maker(algorithm: str) -> Callable[[str | None], LibcryptoSum] | None:
    """What makes hashes from a state or anew; None where this machine has no such.

    It is tried against hashlib before it is trusted.
    """
    library = _libcrypto() if algorithm in _LAYOUTS else None
    if library is None:
        return None

    def make(state: str | None) -> LibcryptoSum:
        return LibcryptoSum(library, algorithm, state)

    try:
        tried = make(None)
        tried.update(b"a" * 256)
        again = make(tried.state())
        again.update(b"b" * 100)
    except AttributeError:  # a libcrypto without these functions
        return None
    right = hashlib.new(algorithm, b"a" * 256 + b"b" * 100, usedforsecurity=False).hexdigest()
    return make if again.hexdigest() == right else None


@cache
def _libcrypto() -> Any:
    """libcrypto, with the signatures of what is used; None where there is none under a name that is known."""
    import ctypes

    for name in ("libcrypto.so.3", "libcrypto.so.1.1"):
        try:
            library = ctypes.CDLL(name)
            for prefix, *_ in _LAYOUTS.values():
                getattr(library, f"{prefix}_Update").argtypes = (
                    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t,
                )  # fmt: skip
        except (OSError, AttributeError):
            continue
        return library
    return None
