"""The resources (blkx) of a UDIF disk image, its tables of chunks: in a property list, or a resource fork.

Layout: no publication of Apple's; "Demystifying the DMG File Format",
https://newosxbook.com/DMG.html; for resource forks Inside Macintosh, "More Macintosh Toolbox",
chapter 1.
"""

import binascii
from collections.abc import Mapping

from construct import Bytes, Int8ub, Int16ub, Int32ub, Struct

from pyimount.formats import NotThisFormat
from pyimount.formats.layouts import layout, parse_struct
from pyimount.parsers.containers.dmg_chunks import CHUNK, CHUNKS_CAP, MISH, Chunks, Table
from pyimount.parsers.containers.xmltext import read_xml
from pyimount.sources.source import Source

RESOURCE_HEADER = layout(
    lambda: Struct(
        "dataOffset" / Int32ub, "mapOffset" / Int32ub, "dataLength" / Int32ub, "mapLength" / Int32ub
    )
)
RESOURCE_MAP = layout(
    lambda: Struct(
        "copy" / Bytes(16),
        "next" / Int32ub,
        "file" / Int16ub,
        "attributes" / Int16ub,
        "typeListOffset" / Int16ub,
        "nameListOffset" / Int16ub,
        "lastType" / Int16ub,
    )
)
RESOURCE_TYPE = layout(
    lambda: Struct("type" / Bytes(4), "lastReference" / Int16ub, "referenceListOffset" / Int16ub)
)
RESOURCE_REFERENCE = layout(
    lambda: Struct(
        "id" / Int16ub, "nameOffset" / Int16ub, "attributes" / Int8ub, "offset" / Bytes(3), "handle" / Int32ub
    )
)

_XML_CAP = 64 << 20
_TEXT_CAP = 512
"""No key or name is kept further than this, in characters."""
_RESOURCES_CAP = 16 << 20
_RESOURCE_TYPES_CAP = 256


def read_property_list(file: Source, offset: int, length: int, chunks: Chunks) -> None:
    """Gather the ``blkx`` tables from a property list in XML; raises NotThisFormat."""
    if length > _XML_CAP:
        raise NotThisFormat(f"a property list of {length} bytes")
    read_xml(file, offset, length, _PropertyList(chunks))


class _PropertyList:
    """Gathers the ``blkx`` tables from the property list, as XML's events bring them."""

    PATH = ("plist", "dict", "dict", "array", "dict")
    """Where the dictionaries of the resources stand."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._path: list[str] = []
        self._keys: list[str] = []
        self._text: list[str] = []
        self._base64 = ""
        self._table: Table | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002
        """An element begins."""
        self._path.append(tag)
        self._text = []
        if tag == "dict":
            if tuple(self._path) == self.PATH and self._keys == ["resource-fork", "blkx"]:
                self._table = Table()
            self._keys.append("")

    def text(self, piece: str) -> None:
        """A piece of the innermost element's text: of a table's data, decoded at once, or of a name."""
        tag = self._path[-1]
        if tag == "data" and self._table is not None and self._keys[-1] == "Data":
            packed = self._base64 + "".join(piece.split())
            whole = len(packed) // 4 * 4
            self._base64 = packed[whole:]
            if len(self._table.data) > MISH.size + CHUNKS_CAP * CHUNK.size:
                raise NotThisFormat("a table of too many chunks")
            try:
                self._table.data += binascii.a2b_base64(packed[:whole])
            except ValueError as error:  # as binascii.Error is, and what is raised where it is not ASCII
                raise NotThisFormat(f"a table of chunks is no base64: {error}") from error
        elif tag in ("key", "string") and sum(map(len, self._text)) < _TEXT_CAP:
            self._text.append(piece)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._path.pop()
        value = "".join(self._text)
        if tag == "key" and self._keys:
            self._keys[-1] = value
        elif tag == "string" and self._table is not None and self._keys[-1] in ("Name", "CFName"):
            self._table.name = value[:_TEXT_CAP] or self._table.name
        elif tag == "data":
            self._base64 = ""
        elif tag == "dict":
            self._keys.pop()
            if self._table is not None and len(self._keys) == 2:
                self._chunks.add(self._table)
                self._table = None


def read_resource_fork(file: Source, offset: int, length: int, chunks: Chunks) -> None:
    """Gather the ``blkx`` tables from a resource fork, as images had it before property lists.

    Raises NotThisFormat when it contradicts itself.
    """
    if length > _RESOURCES_CAP:
        raise NotThisFormat(f"a resource fork of {length} bytes")
    fork = file.read_at(offset, length)
    header = parse_struct(fork, RESOURCE_HEADER)
    table_map = parse_struct(fork, RESOURCE_MAP, header.mapOffset)
    types = header.mapOffset + table_map.typeListOffset
    left = len(fork)
    for number in range(min(table_map.lastType + 1, _RESOURCE_TYPES_CAP)):
        kind = parse_struct(fork, RESOURCE_TYPE, types + 2 + number * RESOURCE_TYPE.size)
        if kind.type != b"blkx":
            continue
        for reference in range(kind.lastReference + 1):
            at = types + kind.referenceListOffset + reference * RESOURCE_REFERENCE.size
            entry = parse_struct(fork, RESOURCE_REFERENCE, at)
            start = header.dataOffset + int.from_bytes(entry.offset, "big")
            size = int.from_bytes(fork[start : start + 4], "big")
            left -= size
            if left < 0:
                raise NotThisFormat("resources that lie within one another")
            chunks.add(Table(fork[start + 4 : start + 4 + size]))
