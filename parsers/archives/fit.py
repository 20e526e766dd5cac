"""U-Boot's flattened image trees (FIT).

Layout: FIT specification, "Source file format"; Devicetree Specification, "Flattened Devicetree (DTB) Format"
https://fitspec.osfw.foundation/
"""

from collections.abc import Iterator
from typing import Any

from construct import Bytes, Int32ub, Struct

from pyimount.formats import Format, Identity, Json, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text, unix_time
from pyimount.parsers.archives.payloads import Part, described, no_disk
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"\xd0\x0d\xfe\xed"
HEADER = layout(
    lambda: Struct(
        "magic" / Bytes(4),
        "totalsize" / Int32ub,
        "off_dt_struct" / Int32ub,
        "off_dt_strings" / Int32ub,
        "off_mem_rsvmap" / Int32ub,
        "version" / Int32ub,
        "last_comp_version" / Int32ub,
        "boot_cpuid_phys" / Int32ub,
        "size_dt_strings" / Int32ub,
        "size_dt_struct" / Int32ub,
    )
)
BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9
MAX_TOKENS = 4096
MAX_DEPTH = 16
MAX_NAME = 256
MAX_STRINGS = 64 << 10
MAX_VALUE = 1024
"""Of longer properties, bytes, only the place is told."""
IMAGES_CAP = 64
_WINDOW = 4096
SAID = ("description", "type", "arch", "os", "compression")
NO_VOLUME = ("kernel", "kernel_noload", "flat_dt", "script", "standalone", "fpga", "invalid")


class _Property:
    """A property: ``path`` of its node, ``name``, and its value's ``offset`` and ``size`` in bytes."""

    __slots__ = ("name", "offset", "path", "size")

    def __init__(self, path: tuple[str, ...], name: str, offset: int, size: int) -> None:
        self.path = path
        self.name = name
        self.offset = offset
        self.size = size


class _Tree:
    """The blob, read in order through a small window: properties hold megabytes that nobody reads."""

    def __init__(self, view: View, header: Any) -> None:
        self._view = view
        self._start: int = header.off_dt_struct
        self._end: int = min(header.off_dt_struct + header.size_dt_struct, header.totalsize)
        self._strings = view.read(header.off_dt_strings, min(header.size_dt_strings, MAX_STRINGS))
        self._window = b""
        self._window_at = 0

    def piece(self, at: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``at``, few of them."""
        offset = at - self._window_at
        if not 0 <= offset <= offset + length <= len(self._window):
            self._window, self._window_at = self._view.peek(at, max(_WINDOW, length)), at
            offset = 0
        found = self._window[offset : offset + length]
        if len(found) != length:
            raise ShortRead(f"{length} bytes at {at}")
        return found

    def word(self, at: int) -> int:
        """The cell at ``at``."""
        return int.from_bytes(self.piece(at, 4), "big")

    def properties(self) -> Iterator[_Property]:
        """All properties, each node's before those of the nodes in it. Raises NotThisFormat, ShortRead."""
        at, path = self._start, list[str]()
        for _ in range(MAX_TOKENS):
            if at + 4 > self._end:
                raise NotThisFormat("a tree without an end")
            token = self.word(at)
            at += 4
            if token == BEGIN_NODE:
                name = self._name(at)
                path.append(name.decode("ascii", "backslashreplace"))
                if len(path) > MAX_DEPTH:
                    raise NotThisFormat(f"nodes nested more than {MAX_DEPTH} deep")
                at += (len(name) + 4) & ~3
            elif token == END_NODE:
                if not path:
                    raise NotThisFormat("the end of a node that did not begin")
                path.pop()
            elif token == PROP:
                size, name_at = self.word(at), self.word(at + 4)
                at += 8
                if at + size > self._end:
                    raise NotThisFormat(f"a property of {size} bytes")
                yield _Property(tuple(path), self._string(name_at), at, size)
                at += (size + 3) & ~3
            elif token == END and not path:
                return
            elif token != NOP:
                raise NotThisFormat(f"token {token:#x}")
        raise NotThisFormat(f"a tree of more than {MAX_TOKENS} nodes and properties")

    def _name(self, at: int) -> bytes:
        length = min(MAX_NAME, max(0, self._end - at))
        name, end, _ = self.piece(at, length).partition(b"\0")
        if not end:
            raise NotThisFormat("a node's name without an end")
        return name

    def _string(self, at: int) -> str:
        return self._strings[at : at + MAX_NAME].partition(b"\0")[0].decode("ascii", "backslashreplace")

    def value(self, found: _Property) -> bytes:
        """The value of a property; its start where it is long."""
        return self.piece(found.offset, min(found.size, MAX_VALUE))


def parse(view: View) -> Identity:
    """The identity of a FIT; a device tree that is none is not known."""
    header = read_struct(view, HEADER, 0)
    _plausible(header)
    root: dict[str, Any] = {}
    images: dict[str, dict[str, Any]] = {}
    configurations: dict[str, dict[str, Json]] = {}
    default = None
    tree = _Tree(view, header)
    problems = [no_disk("an image for U-Boot", "its parts are told in the details")]
    try:
        for found in tree.properties():
            where = found.path[1:]
            if not where and found.name in ("description", "timestamp"):
                root[found.name] = tree.value(found)
            elif where[:1] == ("images",) and len(where) == 2:
                if where[1] not in images and len(images) == IMAGES_CAP:
                    raise NotThisFormat(f"more than {IMAGES_CAP} images")
                _keep(images.setdefault(where[1], {}), tree, found)
            elif where == ("configurations",) and found.name == "default":
                default = text(tree.value(found))
            elif where[:1] == ("configurations",) and len(where) == 2 and len(configurations) <= IMAGES_CAP:
                configurations.setdefault(where[1], {})[found.name] = text(tree.value(found))
    except (NotThisFormat, ShortRead) as error:
        if not images:
            raise
        problems.append(Problem(Code.DAMAGED, f"the tree cannot be read to its end: {error}"))
    if not images:
        raise NotThisFormat("a device tree without images")
    parts = [_part(name, said, header.totalsize) for name, said in images.items()]
    told, contents = described(view, parts)
    return Identity(
        type="u-boot-fit",
        label=text(root.get("description", b"")),
        version=str(header.version),
        fs_size=max(header.totalsize, *(part.offset + part.size for part in parts)),
        created=unix_time(int.from_bytes(root.get("timestamp", b"")[:4], "big")),
        details={
            "parts": told,
            "default_configuration": default,
            "configurations": {name: {**said} for name, said in configurations.items()},
        },
        contents=contents,
        problems=tuple(problems),
    )


def _plausible(header: Any) -> None:
    total = header.totalsize
    if header.version not in (16, 17) or header.last_comp_version > header.version:
        raise NotThisFormat(f"version {header.version}")
    if not (
        HEADER.size <= header.off_dt_struct <= total - header.size_dt_struct
        and HEADER.size <= header.off_dt_strings <= total - header.size_dt_strings
        and header.off_dt_struct % 4 == 0
        and header.size_dt_struct
    ):
        raise NotThisFormat("blocks that do not lie in the tree")


def _keep(said: dict[str, Any], tree: _Tree, found: _Property) -> None:
    if found.name in SAID:
        said[found.name] = text(tree.value(found))
    elif found.name == "data":
        said["offset"], said["size"] = found.offset, found.size
    elif found.name in ("data-offset", "data-position", "data-size", "load", "entry"):
        said[found.name] = int.from_bytes(tree.value(found)[:8], "big")


def _part(name: str, said: dict[str, Any], total: int) -> Part:
    """An image: its data stands in the tree, behind it, or at a place of its own."""
    offset, size = said.get("offset", 0), said.get("size", said.get("data-size", 0))
    if "data-position" in said:
        offset = said["data-position"]
    elif "data-offset" in said:
        offset = (total + 3 & ~3) + said["data-offset"]
    facts: dict[str, Json] = {key: said.get(key) for key in (*SAID, "load", "entry")}
    volume = facts["type"] not in NO_VOLUME and facts["compression"] in (None, "none")
    return Part(name=name, offset=offset, size=size, volume=volume, facts=facts)


FORMAT = Format(
    name="fit",
    title="U-Boot flattened image tree (FIT)",
    specification="https://fitspec.osfw.foundation/",
    usage=Usage.OTHER,
    types=("u-boot-fit",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    unmountable="it is a boot image, not a file system",
)
