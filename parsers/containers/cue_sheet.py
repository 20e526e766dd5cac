"""CUE sheets: the text beside the raw image of a CD that says which tracks lie where in it.

Layout: Goldenhawk, "CDRWIN User's Guide", appendix A, https://web.archive.org/web/20070614044112/
http://www.goldenhawk.com/download/cdrwin.pdf; the modes of tracks also in GNU libcdio's documentation.
"""

import re
from collections.abc import Iterator

from pyimount.formats import NotThisFormat
from pyimount.formats.notation import decimal
from pyimount.parsers.containers.cd_sectors import BLOCK, FRAMES, RAW, USER_DATA, Shape
from pyimount.records import Record

TEXT_CAP = 64 << 10
TRACKS_CAP = 99
AUDIO = "AUDIO"
SHAPES = {
    "MODE1/2048": Shape(BLOCK, plain=True),
    "MODE1/2352": Shape(RAW),
    "MODE2/2048": Shape(BLOCK, plain=True),
    "MODE2/2336": Shape(RAW - USER_DATA, head=USER_DATA),
    "MODE1/2448": Shape(RAW + 96),
    "MODE2/2352": Shape(RAW),
    "MODE2/2448": Shape(RAW + 96),
    "CDI/2336": Shape(RAW - USER_DATA, head=USER_DATA),
    "CDI/2352": Shape(RAW),
}
"""How the sectors of data tracks lie."""
STRIDES = {AUDIO: RAW, "CDG": 2448, "MODE2/2324": 2324}
"""Bytes of a sector of what holds no blocks of a disk."""

_LINE = re.compile(r'\s*([A-Za-z]+)\s+(?:"([^"]*)"|(\S+))\s*(.*?)\s*$')
_INDEX = re.compile(r"([0-9]{1,3}):([0-9]{1,2}):([0-9]{1,2})")


class Track(Record):
    """A track: its ``number``, its ``mode`` in the sheet's words, and the ``file`` that it lies in.

    ``pregap``: the place at which its pause begins in the file, where that is stored; ``start``: at which it
    begins itself; both in sectors from the file's start.
    """

    number: int
    mode: str
    file: str
    start: int
    pregap: int | None = None

    @property
    def shape(self) -> Shape | None:
        """How its sectors lie; None for what holds no blocks of a disk."""
        return SHAPES.get(self.mode)

    @property
    def stride(self) -> int:
        """Bytes of one of its sectors in the file."""
        return self.shape.stride if self.shape else STRIDES.get(self.mode, RAW)


class Extent(Record):
    """Where a track lies in its file, in bytes; ``end``: None where it goes to the file's end."""

    track: Track
    offset: int
    end: int | None


def read_sheet(data: bytes) -> tuple[Track, ...]:
    """The tracks of a sheet; raises NotThisFormat where it is none."""
    wide = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}.get(data[:2])
    try:
        text = data.decode(wide or "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    tracks = tuple(_tracks(text))
    if not tracks:
        raise NotThisFormat("a text that names no track of a CD")
    return tracks


def frames(time: str) -> int | None:
    """The sectors that ``minutes:seconds:frames`` are; None for what is no such text."""
    place = _INDEX.fullmatch(time)
    if place is None:
        return None
    minute, second, frame = map(int, place.groups())
    return (minute * 60 + second) * FRAMES + frame


def _tracks(text: str) -> Iterator[Track]:
    file = number = mode = pregap = None
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        word, value, rest = found[1].upper(), found[2] or found[3] or "", found[4]
        if word == "FILE":
            file, number = value, None
        elif word == "TRACK" and re.fullmatch("[0-9]{1,2}", value):
            number, mode, pregap = int(value), rest.upper(), None
        elif word == "INDEX" and number is not None and file is not None and mode is not None:
            at, index = frames(rest), decimal(value, 2)
            if at is None or index is None:
                raise NotThisFormat(f"a track that begins at {rest!r:.40}")
            if index == 0:
                pregap = at
            elif index == 1:
                yield Track(number=number, mode=mode, file=file, start=at, pregap=pregap)
                number = None


def extents(tracks: tuple[Track, ...], file: str) -> list[Extent]:
    """Where the tracks of one file lie in it: each in sectors of its own size, one behind the other."""
    own = [track for track in tracks if track.file == file]
    found: list[Extent] = []
    at = passed = 0  # a place in bytes, and the same in sectors
    for number, track in enumerate(own):
        begin = track.start if track.pregap is None else track.pregap
        if begin < passed or track.start < begin:
            raise NotThisFormat(f"track {track.number} begins before the one before it ends")
        if number:
            at += (begin - passed) * own[number - 1].stride
            found[-1] = found[-1].replaced(end=at)
        offset = at + (track.start - (begin if number else 0)) * track.stride
        found.append(Extent(track, offset, None))
        # From its pause on, sectors are of this track's size.
        at, passed = (at, begin) if number else (0, 0)
    return found
