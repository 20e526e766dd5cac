"""Apple's sparse bundle: a folder with a property list and a file for each band that was written.

Layout: Apple, https://opensource.apple.com/source/hfs/hfs-191.1/CopyHFSMeta/SparseBundle.c;
https://github.com/libyal/libmodi, documentation.
"""

import re
from collections.abc import Mapping

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.parsers.containers.cdsa import encryption_of
from pyimount.parsers.containers.runs import Run, RunSource
from pyimount.parsers.containers.xmltext import read_xml
from pyimount.problems import Code, Problem
from pyimount.sources.errors import MissingBytes, OpenError
from pyimount.sources.source import Source
from pyimount.sources.view import View

TYPE = "com.apple.diskimage.sparsebundle"
BANDS, TOKEN = "bands", "token"
SECTOR = 512
_LIST_CAP = 64 << 10
_KEYS_CAP = 64
_BANDS_CAP = 1 << 16
"""So many files are opened at most: half a TiB in bands of 8 MiB."""
_BAND_CAP = 1 << 40
_SIZE_CAP = 1 << 60


def parse(view: View) -> Container:
    """What the property list says: Info.plist, or the copy beside it, Info.bckup."""
    if view.size > _LIST_CAP:
        raise NotThisFormat(f"a property list of {view.size} bytes")
    found = _PropertyList()
    read_xml(view.source, 0, view.size, found)
    values = found.values
    if values.get("diskimage-bundle-type") != TYPE:
        raise NotThisFormat("a property list of something else")
    size, band_size = _number(values, "size"), _number(values, "band-size")
    if not 0 < size <= _SIZE_CAP or not 0 < band_size <= _BAND_CAP:
        raise NotThisFormat(f"{size} bytes in bands of {band_size}")
    details: dict[str, Json] = {
        "version": values.get("bundle-backingstore-version"),
        "band_size": band_size,
        "encryption": None,
    }
    return Container(type="sparsebundle", size=size, sector_size=SECTOR, details=details)


class _PropertyList:
    """The keys of a property list's dictionary, and the text of their values."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._depth = 0
        self._key = ""
        self._text: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        """An element begins."""
        if self._depth == 0 and tag != "plist":
            raise NotThisFormat(f"XML of {tag}")
        self._depth += 1
        self._text = []

    def text(self, piece: str) -> None:
        """A piece of the innermost element's text."""
        self._text.append(piece)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._depth -= 1
        text = "".join(self._text).strip()
        self._text = []
        if self._depth != 2:  # in the dictionary, which is in the list
            return
        if tag == "key":
            self._key = text
        elif len(self.values) < _KEYS_CAP:
            self.values.setdefault(self._key, text)


def _number(values: Mapping[str, str], name: str) -> int:
    value = values.get(name, "")
    return int(value) if re.fullmatch(r"[0-9]{1,19}", value) else 0


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disk inside; a band without a file was never written, and is zeros."""
    details = dict(container.details)
    problems = list(container.problems)
    encryption = _encryption(image)
    if encryption is not None:
        details |= {"encryption": encryption, "locked": True}
        problems.append(Problem(Code.LOCKED, "the image is encrypted, and is not read"))
        return Opened(container=container.replaced(details=details, problems=tuple(problems)), source=None)
    size, band_size = container.size or 0, int(str(details["band_size"]))
    bands, why = _open_bands(image, -(-size // band_size))
    problems += why
    details |= {"bands": len(bands), "stored_size": sum(file.size for file in bands.values() if file)}
    if not bands:
        problems.append(Problem(Code.MISSING_SEGMENT, f"there is no band in the folder {BANDS}"))

    def locate(offset: int) -> Run:
        number, within = divmod(offset, band_size)
        length = min(band_size - within, size - offset)
        if number not in bands:
            return Run(None, 0, length)
        file = bands[number]
        if file is None:
            raise MissingBytes(f"band {number:x} cannot be opened")
        # What was not written at a band's end is not stored.
        if within >= file.size:
            return Run(None, 0, length)
        return Run(file, within, min(length, file.size - within))

    return Opened(
        container=container.replaced(details=details, problems=tuple(problems)),
        source=RunSource(size, locate),
    )


def _encryption(image: Image) -> dict[str, Json] | None:
    """What the token says, which is empty where nothing is encrypted."""
    if TOKEN not in image.broker.names_in(image.paths[0]):
        return None
    try:
        return encryption_of(View(image.open_named(TOKEN)))
    except OpenError as error:
        raise NotThisFormat(str(error)) from error


def _open_bands(image: Image, count: int) -> tuple[dict[int, Source | None], list[Problem]]:
    """The files of the bands by their numbers, None for one that cannot be opened; and what is wrong."""
    names = image.broker.names_in(image.paths[0], BANDS, _BANDS_CAP + 1)
    if len(names) > _BANDS_CAP:
        raise NotThisFormat(f"more than {_BANDS_CAP} bands")
    numbers = sorted(int(name, 16) for name in names if re.fullmatch(r"0|[1-9a-f][0-9a-f]{0,11}", name))
    bands: dict[int, Source | None] = {}
    problems = []
    for number in numbers:
        if number >= count:
            message = f"band {number:x} lies behind the end of the disk, which has {count}"
            problems.append(Problem(Code.DAMAGED, message))
            break
        try:
            bands[number] = image.open_named(f"{number:x}", BANDS)
        except OpenError as error:
            bands[number] = None
            problems.append(Problem(Code.MISSING_SEGMENT, str(error)))
    return bands, problems


FORMAT = ContainerFormat(
    name="sparsebundle",
    title="Apple sparse bundle",
    specification="https://github.com/libyal/libmodi",
    parse=parse,
    open=open,
    signatures=(Signature(b"<?xml", 0), Signature(b"\xef\xbb\xbf<?", 0)),
    types=("sparsebundle",),
)
