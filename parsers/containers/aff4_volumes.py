"""The volumes of AFF4: zip files with a URN and members, and what their RDF says of the objects in them.

Layout: B. Schatz, M. Cohen, "AFF4 Standard v1.0", https://github.com/aff4/Standard
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.image import Image
from pyimount.parsers.containers.turtle import RDF_TYPE, Graph, Term, read_turtle
from pyimount.parsers.containers.zip_directory import Directory
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import Source
from pyimount.sources.view import ShortRead

DESCRIPTION, TURTLE, VERSION = "container.description", "information.turtle", "version.txt"
SCHEME = "aff4://"

TEXT_CAP = 4 << 20
"""No text of a volume's is read further than this, in bytes."""
_VOLUMES_CAP = 64


class Volume:
    """A zip file of AFF4: its URN, its members by theirs, and what it says about both."""

    def __init__(self, file: Source) -> None:
        self.directory = Directory(file)
        urn = self.directory.comment.rstrip(b"\0").decode("ascii", "replace")
        if not urn.startswith(SCHEME):
            urn = self._text(DESCRIPTION).strip().strip("\0")
        if not urn.startswith(SCHEME) or self.directory.find(TURTLE) is None:
            raise NotThisFormat("a zip file that is no volume of AFF4")
        self.urn = urn
        self._members = dict(self._named())

    def _named(self) -> Iterator[tuple[str, int]]:
        for at in self.directory.places():
            plain = unquote(self.directory.name_at(at))
            yield (plain if plain.startswith(SCHEME) else f"{self.urn}/{plain}"), at

    def _text(self, name: str) -> str:
        try:
            return (self.directory.read(name, TEXT_CAP) or b"").decode("utf-8", "replace")
        except (ReadError, ShortRead) as error:
            raise NotThisFormat(str(error)) from error

    def graph(self) -> Graph:
        """What the volume says; raises NotThisFormat."""
        return read_turtle(self._text(TURTLE))

    def tool(self) -> dict[str, str]:
        """What wrote it, and by which version of the standard."""
        lines = self._text(VERSION).splitlines()[:16]
        return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}

    def has(self, urn: str) -> bool:
        """Whether there is a member of this URN."""
        return urn in self._members

    def members(self) -> list[str]:
        """The URNs of all members."""
        return [*self._members]

    def member(self, urn: str, meter: Meter) -> Source:
        """The bytes of a member; raises ReadError."""
        if urn not in self._members:
            raise ReadError(f"the volume has no {urn}")
        return self.directory.source(self.directory.member_at(self._members[urn]), meter)


def fragment(iri: str) -> str:
    """The last part of a name, whatever vocabulary it is of, and however it was spelt before the standard."""
    return iri.rpartition("#")[2].replace("_", "").lower()


_OLD_NAMES = {"compression": "compressionmethod", "chunkspersegment": "chunksinsegment"}


class Objects:
    """The RDF statements of all volumes that are open: of each object the values of its properties.

    The properties' names are the standard's, in lower case; ``spelling``: how a volume spells them.
    """

    def __init__(self) -> None:
        self.by_urn: dict[str, dict[str, list[Term]]] = {}
        self.spelling: dict[str, str] = {}

    def add(self, graph: Graph) -> None:
        """Take in what one volume says."""
        for urn, statements in graph.items():
            known = self.by_urn.setdefault(urn, {})
            for predicate, terms in statements.items():
                name = "type" if predicate == RDF_TYPE else fragment(predicate)
                self.spelling.setdefault(name, predicate.rpartition("#")[2])
                values = known.setdefault(_OLD_NAMES.get(name, name), [])
                values += [term for term in terms if term not in values]

    def types(self, urn: str) -> set[str]:
        """The types of an object, in lower case."""
        return {fragment(term.text) for term in self.by_urn.get(urn, {}).get("type", ())}

    def texts(self, urn: str, name: str) -> list[str]:
        """All values of a property."""
        return [term.text for term in self.by_urn.get(urn, {}).get(name, ())]

    def text(self, urn: str, name: str) -> str | None:
        """The first value of a property."""
        return next(iter(self.texts(urn, name)), None)

    def number(self, urn: str, name: str) -> int | None:
        """A property that is a number."""
        value = self.text(urn, name)
        return int(value) if value is not None and re.fullmatch(r"[0-9]{1,20}", value) else None

    def hashes(self, urn: str) -> dict[str, Json]:
        """The hashes of an object by algorithm."""
        found: dict[str, Json] = {}
        for term in self.by_urn.get(urn, {}).get("hash", ()):
            name = term.datatype.rpartition("#")[2]
            if name:
                found[name.lower() if name[0].isupper() else name] = term.text.lower()
        return found


class Volumes:
    """The volume that was opened, and those beside it that hold other parts of the same image."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.first = Volume(image.files[0])
        self.open_ones = {self.first.urn: self.first}
        self.objects = Objects()
        self.objects.add(self.first.graph())
        self._beside: dict[str, str] | None = None

    def holding(self, urn: str, suffix: str) -> Volume | None:
        """The volume that has the member ``urn`` + ``suffix``; None when it is not to be found."""
        stored = self.objects.texts(urn, "stored")
        for each in (*self.open_ones, *stored):
            volume = self.open_ones.get(each) or self._open(each)
            if volume is not None and volume.has(urn + suffix):
                return volume
        return None

    def _open(self, urn: str) -> Volume | None:
        if self._beside is None:
            self._beside = dict(self._names_beside())
        name = self._beside.get(urn)
        if name is None or len(self.open_ones) >= _VOLUMES_CAP:
            return None
        try:
            volume = Volume(self.image.open_named(name))
            graph = volume.graph()
        except (OpenError, NotThisFormat, ReadError):
            return None
        self.open_ones[urn] = volume
        self.objects.add(graph)
        return volume

    def _names_beside(self) -> Iterator[tuple[str, str]]:
        """The volumes beside this one: their URNs, and the names of their files."""
        broker, path = self.image.broker, self.image.paths[0]
        for suffix in (".aff4", ".af4"):
            for name in broker.names_beside(path, suffix):
                try:
                    file = broker.open_named(name, path, self.image.meter)
                except OpenError:
                    continue
                try:
                    yield Volume(file).urn, name
                except (NotThisFormat, ReadError):
                    continue
                finally:
                    file.close()
