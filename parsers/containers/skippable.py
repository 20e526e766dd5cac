"""Frames to skip, which LZ4 and Zstandard have in common: what programs keep beside the compressed data.

https://www.rfc-editor.org/rfc/rfc8878, 3.1.2; https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
They may stand before all else: pzstd writes one before every frame.
"""

from pyimount.formats import NotThisFormat, Signature
from pyimount.sources.view import View

SKIPPABLE = 0x184D2A5
"""The magic of frames to skip, without its last digit, which is any."""
SIGNATURE = Signature(b"\x2a\x4d\x18", 1)
"""Of a file that begins with one; what follows it tells which format's it is."""

_WORD = 4
_CAP = 16


def first_frame(view: View) -> int:
    """Where the first frame stands that is not to be skipped. Raises NotThisFormat, and as View does."""
    at = 0
    for _ in range(_CAP):
        if view.glance(at, _WORD)[1:] != SIGNATURE.magic:
            return at
        word = view.read(at, 2 * _WORD)
        if int.from_bytes(word[:_WORD], "little") >> 4 != SKIPPABLE:
            return at
        at += 2 * _WORD + int.from_bytes(word[_WORD:], "little")
    raise NotThisFormat(f"nothing but frames to skip up to byte {at}")
