"""LZ4 frames: a disk image, or another container, in a compressed file.

Layout: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md, the legacy frame at its end included.
"""

from __future__ import annotations

from array import array

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.stored import Pieces
from pyimount.formats.xxh32 import Sum, xxh32, xxh32_is_fast, xxh32_sum
from pyimount.parsers.containers.checked import CheckedSource, SummedRun
from pyimount.parsers.containers.chunks import OWN_WORTH
from pyimount.parsers.containers.lz4 import WINDOW, lz4_worth, unpack_lz4
from pyimount.parsers.containers.packed import (
    EndsEarlyError,
    HeldBackError,
    PackedSource,
    Stream,
    open_packed,
)
from pyimount.parsers.containers.skippable import SIGNATURE, SKIPPABLE, first_frame
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead, View

MAGIC, LEGACY_MAGIC = b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18"
VERSION = 1
INDEPENDENT, BLOCK_CHECKSUM, CONTENT_SIZE, CONTENT_CHECKSUM, RESERVED, DICTIONARY = 32, 16, 8, 4, 2, 1
BLOCK_SIZES = {4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20}
LEGACY_BLOCK = 8 << 20
AS_IT_IS = 1 << 31
"""The bit of a block's size that says that it is not compressed."""

_WORD = 4
_BLOCKS_CAP = 1 << 18
"""So many blocks are passed over at most to find where each begins: 16 GiB of the disk, in the smallest."""
_SIZE_CAP = 1 << 62


class _Frame(Record):
    """What a frame's header says; ``at``: where it stands; ``data``: where its blocks begin.

    ``size``: what the frame holds, None where it does not tell. ``dictionary``: None where it needs none.
    """

    at: int
    data: int
    block_size: int
    independent: bool = True
    block_checksum: bool = False
    content_checksum: bool = False
    size: int | None = None
    dictionary: int | None = None
    sound: bool = True
    legacy: bool = False

    @property
    def block_cap(self) -> int:
        """How many bytes a block may take in the file."""
        # What does not become smaller is stored as it is; the legacy frame cannot say so.
        return self.block_size + self.block_size // 255 + 16 if self.legacy else self.block_size


def parse(view: View) -> Container:
    """What the header of the first frame says."""
    frame = _frame(view, first_frame(view))
    if frame.legacy and not 0 < int.from_bytes(view.read(frame.data, _WORD), "little") <= frame.block_cap:
        raise NotThisFormat("no block follows the header")
    problems: tuple[Problem, ...] = ()
    if not frame.sound:
        problems = (Problem(Code.BAD_CHECKSUM, "the checksum of the frame's header is wrong"),)
    details: dict[str, Json] = {
        "stored_size": view.size,
        "compression": "lz4",
        "legacy": frame.legacy,
        "block_size": frame.block_size,
        "independent_blocks": frame.independent,
        "block_checksums": frame.block_checksum,
        "checksum": frame.content_checksum,
        "dictionary": frame.dictionary,
    }
    return Container(type="lz4", details=details, problems=problems)


def _frame(view: View, at: int) -> _Frame:
    magic = view.read(at, _WORD)
    if magic == LEGACY_MAGIC:
        return _Frame(at=at, data=at + _WORD, block_size=LEGACY_BLOCK, legacy=True)
    flags, sizes = view.read(at + _WORD, 2)
    block_size = BLOCK_SIZES.get(sizes >> 4)
    # The highest bit of the block sizes is reserved: with it, no size is found.
    if magic != MAGIC or flags >> 6 != VERSION or flags & RESERVED or block_size is None or sizes & 0xF:
        raise NotThisFormat(f"no frame at {at}")
    wide = 8 if flags & CONTENT_SIZE else 0
    rest = view.read(at + _WORD + 2, wide + (_WORD if flags & DICTIONARY else 0) + 1)
    descriptor = bytes((flags, sizes)) + rest[:-1]
    return _Frame(
        at=at,
        data=at + _WORD + len(descriptor) + 1,
        block_size=block_size,
        independent=bool(flags & INDEPENDENT),
        block_checksum=bool(flags & BLOCK_CHECKSUM),
        content_checksum=bool(flags & CONTENT_CHECKSUM),
        size=int.from_bytes(rest[:wide], "little") if wide else None,
        dictionary=int.from_bytes(rest[wide:-1], "little") if flags & DICTIONARY else None,
        sound=xxh32(descriptor) >> 8 & 0xFF == rest[-1],
    )


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The file inside, all frames one after the other."""
    if container.details["dictionary"] is not None:
        message = f"compressed with dictionary {container.details['dictionary']}, which is not in the file"
        problem = Problem(Code.UNSUPPORTED, message)
        return Opened(container=container.replaced(problems=(*container.problems, problem)), source=None)
    file = image.files[0]
    index = _index(file)
    # Where all is unpacked to find out its size, checksums are looked at on that way; else when it is read.
    wrong: dict[int, str] = {}
    places = index.places if index else array("Q", (0,))

    def begin(number: int) -> _Blocks:
        if index is None:
            return _Blocks(file, wrong, held=True)
        start, frame = index.starts[number], index.frames[index.frame_of[number]]
        return _Blocks(file, wrong, start, None if start == frame.at else frame, position=places[number])

    size = index.size if index else None
    details = {**container.details, "frames": len(index.frames) if index else None}
    opened = open_packed(
        container.replaced(details=details),
        PackedSource(begin, image.meter, size, places),
        Pieces(algorithm="XXH32", what="frame", in_order=True) if _all_checked(file, index) else None,
    )
    if index is None or opened.source is None:
        return opened
    return opened.replaced(source=CheckedSource(opened.source, index.sums, xxh32_sum, "XXH32"))


def _all_checked(file: Source, index: _Index | None) -> bool:
    """Whether every frame or each of its blocks has a checksum; where not all are known, the first."""
    view = View(file)
    frames = index.frames if index else (_frame(view, first_frame(view)),)
    return all(frame.content_checksum or frame.block_checksum for frame in frames)


class _Blocks(Stream):
    """The blocks of a file from a place on: from a frame's header, or from a block of ``frame``.

    ``held``: whether the contents of frames are held against their checksums; ``wrong``: what is wrong about
    them, by where the frames stand: shared by all streams of the file, as only one that came through all of a
    frame can find out.
    """

    def __init__(
        self,
        file: Source,
        wrong: dict[int, str],
        at: int = 0,
        frame: _Frame | None = None,
        *,
        position: int = 0,
        held: bool = False,
    ) -> None:
        super().__init__(position)
        self.worth = lz4_worth() + (OWN_WORTH if held and not xxh32_is_fast() else 0)
        self._held = held
        self._file = file
        self._view = View(file)
        self._wrong = wrong
        self._at = at
        self._frame = frame
        self._begun = 0
        self._sum: Sum | None = None
        self._whole = False
        """Whether all of the frame, from its start on, came through this stream."""
        self._before = b""
        self._held_back = ""

    def fork(self) -> Stream:
        """Another stream at this place."""
        fork = _Blocks(
            self._file, self._wrong, self._at, self._frame, position=self.position, held=self._held
        )
        fork._begun, fork._whole, fork._before = self._begun, self._whole, self._before
        fork._held_back = self._held_back
        fork._sum = self._sum.copy() if self._sum else None
        return fork

    def _read(self) -> bytes:
        if self._held_back:
            raise HeldBackError(self._held_back)
        while True:
            if self._frame is None and not self._begin():
                return b""
            piece = self._block()
            if piece or self._held_back:
                return piece or self._read()

    def _begin(self) -> bool:
        """Take up the next frame; False where there is none: what follows frames may be padding."""
        while True:
            word = self._file.read_at(self._at, 2 * _WORD)
            magic = int.from_bytes(word[:_WORD], "little")
            if magic >> 4 != SKIPPABLE:
                break
            self._at += 2 * _WORD + int.from_bytes(word[_WORD:], "little")
        if not word.strip(b"\0"):
            return False
        try:
            frame = _frame(self._view, self._at)
        except ShortRead as error:
            raise EndsEarlyError("the file ends within the header of a frame") from error
        except NotThisFormat as error:
            raise ReadError(f"something else follows the frames, at byte {self._at}") from error
        if frame.dictionary is not None:
            raise ReadError(f"the frame at byte {frame.at} is compressed with a dictionary")
        self._frame, self._at, self._begun, self._whole = frame, frame.data, self.position, True
        self._before = b""
        self._sum = xxh32_sum() if frame.content_checksum and self._held else None
        return True

    def _block(self) -> bytes:
        """The next block's bytes, none where the frame ends."""
        frame = self._frame
        assert frame is not None  # noqa: S101  (the caller has seen to it)
        size = self._size_of_block(frame)
        if size is None:
            self._frame = None
            return b""
        packed = self._file.read_at(self._at + _WORD, size & ~AS_IT_IS)
        if len(packed) < size & ~AS_IT_IS:
            raise EndsEarlyError("the file ends within its compressed data")
        at = self._at
        self._at += _WORD + len(packed)
        if frame.block_checksum:
            stored = self._file.read_at(self._at, _WORD)
            if len(stored) == _WORD and xxh32(packed) != int.from_bytes(stored, "little"):
                raise ReadError(
                    f"compressed data is damaged: the checksum of the block at byte {at} is wrong"
                )
            self._at += _WORD
        if size & AS_IT_IS and not frame.legacy:
            piece = packed
        else:
            before = b"" if frame.independent else self._before
            summed = frame.block_checksum or frame.content_checksum
            piece = unpack_lz4(packed, frame.block_size, before, summed=summed)
        if not frame.independent:
            self._before = (self._before + piece)[-WINDOW:]
        if self._sum is not None:
            self._sum.update(piece)
        if not frame.legacy and self._is_wrong(frame, self.position + len(piece) - self._begun):
            # All but a byte can be had: who reads only a part is not kept from it.
            self._held_back = f"the frame at byte {frame.at}: {self._wrong[frame.at]}"
            return piece[:-1]
        return piece

    def _size_of_block(self, frame: _Frame) -> int | None:
        """The word in which the next block's size stands; None where the frame ends, which is passed then."""
        word = self._file.read_at(self._at, _WORD)
        size = int.from_bytes(word, "little")
        if frame.legacy:
            # Such a frame ends where the file does, or where another one begins; padding ends it, too.
            if not word.strip(b"\0") or word in (MAGIC, LEGACY_MAGIC) or size >> 4 == SKIPPABLE:
                return None
        elif len(word) == _WORD and size == 0:
            self._at += _WORD * (2 if frame.content_checksum else 1)
            return None
        if len(word) < _WORD:
            raise EndsEarlyError("the file ends within its compressed data")
        if size & ~(0 if frame.legacy else AS_IT_IS) > frame.block_cap:
            raise ReadError(f"compressed data is damaged: no block stands at byte {self._at}")
        return size

    def _is_wrong(self, frame: _Frame, size: int) -> bool:
        """Where the block was the frame's last, hold all of the frame against what it says of itself."""
        tail = self._file.read_at(self._at, 2 * _WORD)
        if tail[:_WORD] != bytes(_WORD):
            return False
        if self._whole and frame.size is not None and size != frame.size:
            self._wrong[frame.at] = f"it holds {size} bytes, and says {frame.size}"
        if self._sum is not None and len(tail) == 2 * _WORD:
            stored, found = int.from_bytes(tail[_WORD:], "little"), self._sum.intdigest()
            if stored != found:
                self._wrong[frame.at] = (
                    f"its checksum is wrong: some of its {size} bytes are not those that were compressed"
                    f" (XXH32 {stored:#010x} stored, {found:#010x} of the bytes)"
                )
        return frame.at in self._wrong


class _Index(Record):
    """Where unpacking may begin: ``starts`` in the file, ``places`` in what comes out, whose size is known.

    ``frame_of``: the number of the frame in which each of them lies. ``sums``: checksums of frames' contents.
    """

    frames: tuple[_Frame, ...]
    starts: array[int]
    places: array[int]
    frame_of: array[int]
    sums: tuple[SummedRun, ...]
    size: int


def _index(file: Source) -> _Index | None:
    """Where frames begin, and blocks that stand for themselves; None where only unpacking all can tell."""
    view = View(file)
    frames: list[_Frame] = []
    sums: list[SummedRun] = []
    starts, places, frame_of = array("Q"), array("Q"), array("L")
    at = size = 0
    try:
        while at < file.size and len(starts) <= _BLOCKS_CAP:
            word = view.read(at, 2 * _WORD)
            if int.from_bytes(word[:_WORD], "little") >> 4 == SKIPPABLE:
                at += 2 * _WORD + int.from_bytes(word[_WORD:], "little")
                continue
            frame = _frame(view, at)
            if frame.size is None or size + frame.size > _SIZE_CAP or frame.dictionary is not None:
                return None
            blocks, at = _blocks(file, frame)
            if frame.size == 0:
                continue
            left = frame.size - (len(blocks) - 1) * frame.block_size
            if at < 0 or not 0 < left <= frame.block_size:
                return None
            if frame.independent and not _is_last(file, frame, blocks[-1], left):
                return None
            for number, start in enumerate(blocks if frame.independent else blocks[:1]):
                starts.append(start if number else frame.at)
                places.append(size + number * frame.block_size)
                frame_of.append(len(frames))
            if frame.content_checksum:
                stored = int.from_bytes(view.read(at - _WORD, _WORD), "little")
                sums.append(SummedRun(size, size + frame.size, stored, f"the frame at byte {frame.at}"))
            frames.append(frame)
            size += frame.size
    except (NotThisFormat, ShortRead, ReadError):
        return None
    if at != file.size or not frames:
        return None
    return _Index(
        frames=tuple(frames), starts=starts, places=places, frame_of=frame_of, sums=tuple(sums), size=size
    )


def _blocks(file: Source, frame: _Frame) -> tuple[array[int], int]:
    """Where the blocks of a frame begin, and where it ends; -1 where that is not found."""
    starts, at = array("Q"), frame.data
    while at + _WORD <= file.size and len(starts) <= _BLOCKS_CAP:
        size = int.from_bytes(file.read_at(at, _WORD), "little")
        if size == 0:
            return starts, at + _WORD * (2 if frame.content_checksum else 1)
        starts.append(at)
        at += _WORD + (size & ~AS_IT_IS) + (_WORD if frame.block_checksum else 0)
    return starts, -1


def _is_last(file: Source, frame: _Frame, at: int, left: int) -> bool:
    """Whether the last block holds what is left when all others hold as much as they may.

    None can hold more, so that all others do, where this is true.
    """
    try:
        return len(_Blocks(file, {}, at, frame).read()) == left
    except ReadError:
        return False


FORMAT = ContainerFormat(
    name="lz4",
    title="LZ4",
    specification="https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0), Signature(LEGACY_MAGIC, 0), SIGNATURE),
    types=("lz4",),
    wraps=True,
)
