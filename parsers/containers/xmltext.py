"""XML that an image holds: read in pieces, as events, with what makes XML dangerous refused."""

from collections.abc import Mapping
from typing import NoReturn, Protocol

from pyimount.formats import NotThisFormat
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

_PIECE = 64 << 10
_TOKEN_CAP = 1 << 20
_DEPTH_CAP = 32


class XmlReader(Protocol):
    """Who gets the events; an exception of its own ends the reading and passes through."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def text(self, piece: str) -> None:
        """A piece of text within the innermost element."""

    def end(self, tag: str) -> None:
        """An element ends."""


def read_xml(file: Source, offset: int, length: int, reader: XmlReader) -> None:
    """Read ``length`` bytes of XML at ``offset`` of ``file``.

    Memory does not grow with the length. Raises NotThisFormat when it is not well-formed, declares
    entities, or nests deeper than 32; ReadError when the file ends before it does.
    """
    from xml.parsers.expat import ExpatError, ParserCreate

    # Who writes such files writes UTF-8; another encoding would be one of Python's, by the file's choice.
    parser = ParserCreate("utf-8")
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEPTH_CAP:
            raise NotThisFormat(f"XML nested more than {_DEPTH_CAP} deep")
        reader.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        reader.end(tag)

    def refuse(*_: object) -> NoReturn:
        raise NotThisFormat("XML that declares entities")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = refuse
    parser.buffer_text = True
    parser.buffer_size = _PIECE
    try:
        fed = 0
        while fed < length:
            piece = file.read_at(offset + fed, min(_PIECE, length - fed))
            if not piece:
                raise ReadError(f"the file ends within its XML, at {offset + fed}")
            fed += len(piece)
            parser.Parse(piece, False)
            # A token that is not yet complete is scanned again with every piece.
            if fed - max(0, parser.CurrentByteIndex) > _TOKEN_CAP:
                raise NotThisFormat(f"XML with a tag or comment of more than {_TOKEN_CAP} bytes")
        parser.Parse(b"", True)
    except ExpatError as error:
        raise NotThisFormat(f"XML that is not well-formed: {error}") from error
