"""TOC files: a CD by the text that cdrdao writes and burns by, which names the files of its tracks.

Layout: cdrdao(1), "TOC FILES", https://github.com/cdrdao/cdrdao/blob/master/dao/cdrdao.man
"""

import re
from collections.abc import Iterator

from pyimount.formats import Container, ContainerFormat, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.notation import decimal
from pyimount.parsers.containers.cd_raw import open_by_sheet
from pyimount.parsers.containers.cue_sheet import AUDIO, TEXT_CAP, TRACKS_CAP, Extent, Track, frames
from pyimount.sources.view import View

KINDS = ("CD_DA", "CD_ROM", "CD_ROM_XA", "CD_I")
MODES = {
    "AUDIO": AUDIO,
    "MODE1": "MODE1/2048",
    "MODE1_RAW": "MODE1/2352",
    "MODE2": "MODE2/2336",
    "MODE2_RAW": "MODE2/2352",
    "MODE2_FORM1": "MODE2/2048",
    "MODE2_FORM2": "MODE2/2324",
    "MODE2_FORM_MIX": "MODE2/2336",
}
"""The modes of tracks, as CUE sheets call them."""
WITH_SUBCHANNELS = {AUDIO: "CDG", "MODE1/2352": "MODE1/2448", "MODE2/2352": "MODE2/2448"}
SAMPLE = 4
"""Bytes of a sample of sound, by which its places are counted."""
SOURCES = ("DATAFILE", "AUDIOFILE", "FILE")

_TOKEN = re.compile(r'//[^\n]*|"((?:\\.|[^"\\])*)"|([{}])|([^\s{}"]+)')


class _Part:
    """A track as far as it was read."""

    def __init__(self, number: int, mode: str) -> None:
        self.number = number
        self.mode = mode
        self.file: str | None = None
        self.offset = 0
        self.length: int | None = None
        self.before = 0
        """Sectors of nothing before the file's, which are not in it."""
        self.pause = 0
        """Sectors of the track before its start."""


def parse(view: View) -> Container:
    """That it is one, by its first words and a track."""
    if view.size > TEXT_CAP:
        raise NotThisFormat(f"a text of {view.size} bytes")
    read_toc(view.read(0, view.size))
    return Container(type="cd_raw", details={"stored_size": view.size})


def read_toc(data: bytes) -> list[Extent]:
    """The tracks, and where they lie in their files. Raises NotThisFormat for what is none."""
    words = list(_words(data.decode("utf-8", "replace")))
    if not any(word in KINDS and not quoted for word, quoted in words[:8]):
        raise NotThisFormat("a text that names no kind of CD")
    found = [place for part in _parts(words) if (place := _extent(part)) is not None]
    if not found:
        raise NotThisFormat("a text that names no file of a track")
    return found


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """The words, and whether each is a quoted one; without comments and CD-TEXT."""
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[2]:
            depth += 1 if match[2] == "{" else -1
        elif depth <= 0 and (match[1] is not None or match[3]):
            yield (re.sub(r"\\(.)", r"\1", match[1]), True) if match[1] is not None else (match[3], False)


def _parts(words: list[tuple[str, bool]]) -> Iterator[_Part]:
    part: _Part | None = None
    number = 0
    plain = ["" if quoted else word for word, quoted in words]
    for at, word in enumerate(plain):
        following = plain[at + 1 : at + 4] + [""] * 3
        if word == "TRACK":
            if part is not None:
                yield part
            number += 1
            mode = MODES.get(following[0])
            if mode is None or number > TRACKS_CAP:
                raise NotThisFormat(f"a track of mode {following[0]!r:.20}")
            if following[1] in ("RW", "RW_RAW"):
                mode = WITH_SUBCHANNELS.get(mode, mode)
            part = _Part(number, mode)
        elif part is None:
            continue
        elif word in SOURCES and part.file is None and at + 1 < len(words):
            part.file = words[at + 1][0]
            _place(part, word, plain[at + 2 : at + 5])
        elif word in ("ZERO", "SILENCE") and part.file is None:
            part.before += next((size for each in following if (size := frames(each)) is not None), 0)
        elif word == "START":
            start = frames(following[0])
            # Without a place it is where the words stand: behind what is not in the file.
            part.pause = part.before if start is None else start
    if part is not None:
        yield part


def _place(part: _Part, word: str, rest: list[str]) -> None:
    """What follows the name of a file: ``#`` and a byte, for sound a place; then a length."""
    if rest and rest[0].startswith("#") and (offset := decimal(rest[0][1:], 15)) is not None:
        part.offset = offset
        rest.pop(0)
    if word != "DATAFILE" and rest and (begin := _amount(rest[0], part.mode)) is not None:
        part.offset += begin
        rest.pop(0)
    if rest:
        part.length = _amount(rest[0], part.mode)


def _amount(word: str, mode: str) -> int | None:
    """Bytes: of sectors by their time; by a number, which for sound counts samples of 4 bytes."""
    count = frames(word)
    if count is not None:
        return count * Track(number=1, mode=mode, file="", start=0).stride
    number = decimal(word, 15)
    return number if number is None or mode != AUDIO else number * SAMPLE


def _extent(part: _Part) -> Extent | None:
    if part.file is None:
        return None
    track = Track(number=part.number, mode=part.mode, file=part.file, start=0)
    end = None if part.length is None else part.offset + part.length
    return Extent(track, part.offset + max(0, part.pause - part.before) * track.stride, end)


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The data tracks in the files that it names, beside it."""
    places = read_toc(image.files[0].read_at(0, TEXT_CAP))
    return open_by_sheet(container, image, places, said={"toc": image.names[0]})


FORMAT = ContainerFormat(
    name="cdrdao-toc",
    title="TOC file of a CD (cdrdao)",
    specification="https://github.com/cdrdao/cdrdao/blob/master/dao/cdrdao.man",
    parse=parse,
    open=open,
    signatures=tuple(Signature(kind.encode(), 0) for kind in ("CD_DA", "CD_ROM", "CD_I", 'CATALOG "')),
    types=("cd_raw",),
)
