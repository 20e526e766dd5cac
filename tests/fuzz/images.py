"""Disk images for fuzzing: big, and nearly all zeros, so only the runs that are not are kept.

They have two spellings. Packed, for fuzzers: the size, then for each run its offset, its length and its
bytes; whatever is cut off or left over still is an image. Written, for people: see ``tests.fuzz.inputs``.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pyimount.sources.source import Source

SIZE_CAP = 1 << 40
"""Bytes; no image of a fuzzer's is larger, so that a file system can hold it, sparse."""

_SIZE = struct.Struct("<Q")
_RUN = struct.Struct("<QH")
_LONGEST = 0xFFFF
_PAGE = 512


class Sparse(Source):
    """Zeros but for some runs, ``{offset: bytes}``, which do not overlap."""

    __slots__ = ("_ends", "_starts", "runs")

    def __init__(self, size: int, runs: Mapping[int, bytes]) -> None:
        self.size = size
        self.runs = dict(sorted(runs.items()))
        self._starts = list(self.runs)

    def _read(self, offset: int, length: int) -> bytes:
        found = bytearray(length)
        for start in self._starts[max(0, bisect_right(self._starts, offset) - 1) :]:
            if start >= offset + length:
                break
            run = self.runs[start]
            skipped = max(0, offset - start)
            piece = run[skipped : offset + length - start]
            at = start + skipped - offset
            found[at : at + len(piece)] = piece
        return bytes(found)


def pack(image: Sparse) -> bytes:
    """The image as a fuzzer has it."""
    parts = [_SIZE.pack(image.size)]
    for start, run in image.runs.items():
        for at in range(0, len(run), _LONGEST):
            piece = run[at : at + _LONGEST]
            parts += (_RUN.pack(start + at, len(piece)), piece)
    return b"".join(parts)


def unpack(data: bytes) -> Sparse:
    """The image that any bytes are; of runs that overlap, the later ones stand."""
    size = _SIZE.unpack(data[: _SIZE.size].ljust(_SIZE.size, b"\0"))[0] % SIZE_CAP
    at = _SIZE.size
    edits = []
    while at + _RUN.size <= len(data):
        offset, length = _RUN.unpack_from(data, at)
        at += _RUN.size
        edits.append((offset, data[at : at + length]))
        at += length
    return changed(Sparse(size, {}), edits)


def changed(image: Sparse, edits: Iterable[tuple[int, bytes]], size: int | None = None) -> Sparse:
    """The image with other bytes at some offsets, and cut or lengthened to ``size``."""
    size = image.size if size is None else size
    pages: dict[int, bytearray] = {}
    for offset, piece in (*image.runs.items(), *edits):
        at = 0
        kept = piece[: max(0, size - offset)]
        while at < len(kept):
            page, within = divmod(offset + at, _PAGE)
            part = kept[at : at + _PAGE - within]
            pages.setdefault(page, bytearray(_PAGE))[within : within + len(part)] = part
            at += len(part)
    return Sparse(size, dict(_runs(pages, size)))


def _runs(pages: Mapping[int, bytearray], size: int) -> Iterator[tuple[int, bytes]]:
    """Pages as runs, those of zeros left out."""
    start, run = 0, bytearray()
    for page in sorted(number for number, held in pages.items() if any(held)):
        if run and start + len(run) != page * _PAGE:
            yield start, bytes(run)
            run = bytearray()
        if not run:
            start = page * _PAGE
        run += pages[page]
    if run:
        yield start, bytes(run[: size - start])


def load(path: Path, parts: Iterable[tuple[int, int]] | None = None) -> Sparse:
    """A file as an image, or these parts of it, ``(offset, length)``, and zeros for the rest."""
    size = path.stat().st_size
    with path.open("rb") as file:

        def pieces() -> Iterator[tuple[int, bytes]]:
            for offset, length in ((0, size),) if parts is None else parts:
                file.seek(offset)
                left = length
                while left and (piece := file.read(min(left, 1 << 20))):
                    if piece.count(0) != len(piece):
                        yield file.tell() - len(piece), piece
                    left -= len(piece)

        return changed(Sparse(size, {}), pieces())


def store(image: Sparse, path: Path) -> None:
    """Write the image as a sparse file."""
    with path.open("wb") as file:
        file.truncate(image.size)
        for offset, run in image.runs.items():
            file.seek(offset)
            file.write(run)
