"""WIM, the Windows imaging format: also ESD, and wimlib's pipable variant.

Layout: Microsoft, "Windows Imaging File Format (WIM)" (2007)
https://www.microsoft.com/en-us/download/details.aspx?id=13096
"""

from collections.abc import Mapping
from typing import Any

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, parse_struct, read_struct
from pyimount.formats.notation import decimal, filetime, flag_names, guid_text, hexadecimal
from pyimount.parsers.archives.payloads import no_disk
from pyimount.parsers.containers.xmltext import read_xml
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.source import BytesSource
from pyimount.sources.view import ShortRead, View

WIM, PIPABLE = b"MSWIM\0\0\0", b"WLPWM\0\0\0"
HEADER = layout(
    lambda: Struct(
        "ImageTag" / Bytes(8),
        "cbSize" / Int32ul,
        "dwVersion" / Int32ul,
        "dwFlags" / Int32ul,
        "dwCompressionSize" / Int32ul,
        "gWIMGuid" / Bytes(16),
        "usPartNumber" / Int16ul,
        "usTotalParts" / Int16ul,
        "dwImageCount" / Int32ul,
        "rhOffsetTable" / Bytes(24),
        "rhXmlData" / Bytes(24),
        "rhBootMetadata" / Bytes(24),
        "dwBootIndex" / Int32ul,
        "rhIntegrity" / Bytes(24),
        "bUnused" / Bytes(60),
    )
)
RESOURCE = layout(
    lambda: Struct(
        "ullSize" / Bytes(7), "bFlags" / Bytes(1), "liOffset" / Int64ul, "liOriginalSize" / Int64ul
    )
)
VERSIONS = {0x10D00: "1.13", 0xE00: "0.14"}
FLAGS = {
    0x4: "readonly",
    0x8: "spanned",
    0x10: "resource_only",
    0x20: "metadata_only",
    0x40: "write_in_progress",
    0x80: "reparse_point_fix",
}
COMPRESSED, WRITE_IN_PROGRESS = 0x2, 0x40
COMPRESSIONS = {0x20000: "xpress", 0x40000: "lzx", 0x80000: "lzms", 0x200000: "xpress"}
XML_CAP = 4 << 20
IMAGES_TOLD = 256
"""So many images are told of; a WIM with more is not known."""
WORDS = {"NAME": "name", "DESCRIPTION": "description", "DISPLAYNAME": "display_name", "FLAGS": "edition"}
NUMBERS = {"DIRCOUNT": "directories", "FILECOUNT": "files", "TOTALBYTES": "total_bytes"}


def parse(view: View) -> Identity:
    """The identity of a WIM."""
    header = read_struct(view, HEADER, 0)
    _plausible(header)
    problems = [no_disk("a Windows image", "7z or wimlib opens it")]
    # The header at the start of a pipable WIM was written before its writer knew where things come to lie.
    full = header if header.ImageTag == WIM else _last(view)
    size, images = None, None
    if full is None:
        problems.append(Problem(Code.DAMAGED, "there is no header at the end of the pipable WIM"))
    else:
        size = _end(full)
        try:
            images = _images(view, full)
        except (NotThisFormat, ShortRead, ReadError) as error:
            problems.append(Problem(Code.DAMAGED, f"the list of images cannot be read: {error}"))
    if header.dwFlags & WRITE_IN_PROGRESS:
        problems.append(Problem(Code.DAMAGED, "writing this WIM was never finished"))
    compression = None
    if header.dwFlags & COMPRESSED:
        compression = COMPRESSIONS.get(header.dwFlags & 0xFFFF0000, f"{header.dwFlags & 0xFFFF0000:#x}")
    details: dict[str, Json] = {
        "variant": "wim" if header.ImageTag == WIM else "pipable",
        "compression": compression,
        "chunk_size": header.dwCompressionSize,
        "part": header.usPartNumber,
        "parts": header.usTotalParts,
        "image_count": header.dwImageCount,
        "boot_index": full.dwBootIndex if full else None,
        "flags": [*flag_names(header.dwFlags & 0xFFFF & ~COMPRESSED, FLAGS, "flag")],
        "images": None if images is None else [*images],
    }
    return Identity(
        type="wim",
        uuid=guid_text(header.gWIMGuid),
        version=VERSIONS[header.dwVersion],
        fs_size=size,
        details=details,
        problems=tuple(problems),
    )


def _plausible(header: Any) -> None:
    if header.cbSize != HEADER.size or header.dwVersion not in VERSIONS:
        raise NotThisFormat(f"a header of {header.cbSize} bytes, version {header.dwVersion:#x}")
    if not 0 < header.usPartNumber <= header.usTotalParts or header.dwImageCount > 0xFFFF:
        raise NotThisFormat(f"part {header.usPartNumber} of {header.usTotalParts}")


def _last(view: View) -> Any:
    try:
        header = read_struct(view, HEADER, view.size - HEADER.size)
        if header.ImageTag != PIPABLE:
            return None
        _plausible(header)
    except (NotThisFormat, ShortRead):
        return None
    return header


def _resource(raw: bytes) -> tuple[int, int, int]:
    """A resource's offset, its size in the file, and its size when unpacked; bytes."""
    entry = parse_struct(raw, RESOURCE)
    return entry.liOffset, int.from_bytes(entry.ullSize, "little"), entry.liOriginalSize


def _end(header: Any) -> int | None:
    """Where the last of the resources ends that the header names; all others lie before these."""
    tables = (header.rhOffsetTable, header.rhXmlData, header.rhIntegrity)
    end = max(offset + size for offset, size, _ in map(_resource, tables))
    end += HEADER.size if header.ImageTag == PIPABLE else 0
    return end if end < 1 << 63 else None


def _images(view: View, header: Any) -> list[dict[str, Json]]:
    offset, size, original = _resource(header.rhXmlData)
    if size != original or not 2 <= size <= XML_CAP:
        raise NotThisFormat(f"XML of {size} bytes, {original} when unpacked")
    words = view.read(offset, size).decode("utf-16", "replace").encode()
    reader = _Reader()
    read_xml(BytesSource(words), 0, len(words), reader)
    return reader.images


class _Reader:
    """Gathers what the XML says of each image."""

    def __init__(self) -> None:
        self.images: list[dict[str, Json]] = []
        self._path: list[str] = []
        self._text = ""
        self._time = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._path.append(tag)
        self._text = ""
        if self._path == ["WIM", "IMAGE"]:
            if len(self.images) == IMAGES_TOLD:
                raise NotThisFormat(f"more than {IMAGES_TOLD} images")
            self.images.append({"index": decimal(attributes.get("INDEX", ""))})

    def text(self, piece: str) -> None:
        self._text += piece

    def end(self, tag: str) -> None:
        path, said = self._path[2:], self._text.strip()
        self._path.pop()
        if not self.images or not path:
            return
        image = self.images[-1]
        if len(path) == 1 and tag in WORDS:
            image[WORDS[tag]] = said or None
        elif len(path) == 1 and tag in NUMBERS and (number := decimal(said)) is not None:
            image[NUMBERS[tag]] = number
        elif path[0] == "CREATIONTIME" and len(path) == 2:
            self._created(image, tag, said)
        self._text = ""

    def _created(self, image: dict[str, Json], tag: str, said: str) -> None:
        """A file time in two halves, the higher first."""
        half = hexadecimal(said)
        if half is None:
            return
        half &= 0xFFFFFFFF
        self._time = half << 32 if tag == "HIGHPART" else self._time | half
        image["created"] = filetime(self._time)


FORMAT = Format(
    name="wim",
    title="Windows image (WIM, ESD)",
    specification="https://www.microsoft.com/en-us/download/details.aspx?id=13096",
    usage=Usage.OTHER,
    types=("wim",),
    parse=parse,
    signatures=(Signature(WIM, 0), Signature(PIPABLE, 0)),
    unmountable="it is an archive, not a file system: 7z or wimlib opens it",
)
