"""OVA: a virtual machine in one file, its description (OVF) and its disks; each disk is shown.

Layout: DMTF, DSP0243, "Open Virtualization Format Specification", 5 "OVF package"
https://www.dmtf.org/standards/ovf; it is a tar archive whose first file is the description.
"""

import re
from collections.abc import Iterator

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.container import several
from pyimount.formats.image import Image
from pyimount.formats.layouts import parse_struct
from pyimount.formats.notation import decimal, text
from pyimount.parsers.archives.tar import BLOCK, GNU, HEADER, MAGIC_AT, POSIX, checksum, number
from pyimount.problems import Code, Problem
from pyimount.records import Record
from pyimount.sources.source import ConcatSource, LostSource, SliceSource, Source
from pyimount.sources.view import ShortRead, View

DISK_SUFFIXES = frozenset(("img", "iso", "qcow2", "raw", "vdi", "vhd", "vhdx", "vmdk"))
FILES = (b"\0", b"0", b"7")
LONG_NAME, PAX, PAX_GLOBAL = b"L", b"x", b"g"

_MEMBERS_CAP = 4096
_TEXT_CAP = 64 << 10
_DISKS_CAP = 64
_CHUNK = re.compile(r"(.+)\.([0-9]{9})$")
"""Of a file that is stored in chunks, what each is called."""


class Member(Record):
    """A file in the archive: its ``name``, and where its bytes stand."""

    name: str
    offset: int
    size: int


def parse(view: View) -> Container:
    """That the first file is a machine's description, and what it is called."""
    first = next(_members(view), None)
    if first is None or not first.name.lower().endswith(".ovf"):
        raise NotThisFormat("an archive that does not begin with a machine's description")
    details: dict[str, Json] = {"stored_size": view.size, "description": first.name}
    return Container(type="ova", details=details)


def _members(view: View) -> Iterator[Member]:
    """The files in their order; raises NotThisFormat where something else stands in their place."""
    at, name, size = 0, None, None
    for _ in range(_MEMBERS_CAP):
        raw = view.read(at, BLOCK)
        if not any(raw):
            return
        header = parse_struct(raw, HEADER)
        own = number(header.size)
        if header.magic not in (POSIX, GNU) or number(header.chksum) != checksum(raw) or own is None:
            raise NotThisFormat(f"no member of the archive at byte {at}")
        at += BLOCK
        if header.typeflag == LONG_NAME:
            name = text(view.read(at, min(own, _TEXT_CAP)))
        elif header.typeflag == PAX:
            name, size = _extended(view.read(at, min(own, _TEXT_CAP)))
        else:
            prefix = text(header.prefix) if header.magic == POSIX else None
            plain = text(header.name) or ""
            whole = own if size is None else size
            if header.typeflag in FILES:
                yield Member(name or (f"{prefix}/{plain}" if prefix else plain), at, whole)
            if header.typeflag != PAX_GLOBAL:
                own, name, size = whole, None, None
        at += -(-own // BLOCK) * BLOCK
    raise NotThisFormat(f"an archive of more than {_MEMBERS_CAP} members")


def _extended(data: bytes) -> tuple[str | None, int | None]:
    """The name and the size in a pax header; None where it has no such record."""
    name = size = None
    for record in re.findall(rb"[0-9]+ ([a-z]+=[^\n]*)\n", data):
        key, _, value = record.partition(b"=")
        if key == b"path":
            name = text(value)
        elif key == b"size":
            size = decimal(value.decode("ascii", "replace"))
    return name, size


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The disks, each in a container of its own."""
    view = View(image.files[0])
    members: list[Member] = []
    problems = [*container.problems]
    try:
        members.extend(_members(view))
    except ShortRead:
        if not members or members[-1].offset + members[-1].size <= view.size:
            message = f"the archive ends at byte {view.size}, without the mark of its end"
            problems.append(Problem(Code.TRUNCATED, message))
    except NotThisFormat as error:
        problems.append(Problem(Code.DAMAGED, f"{error}; what follows is not looked at"))
    disks = _disks(members, view.source, problems)
    if len(disks) > _DISKS_CAP:
        message = f"the archive has {len(disks)} disks, of which {_DISKS_CAP} are looked at"
        problems.append(Problem(Code.UNSUPPORTED, message))
    details: dict[str, Json] = {
        **container.details,
        "members": [member.name for member in members[:_DISKS_CAP]],
    }
    if not disks:
        problems.append(Problem(Code.UNSUPPORTED, "the archive holds no disk"))
        made = container.replaced(details=details, problems=tuple(problems))
        return Opened(container=made, source=None)
    opened = [
        Opened(
            container=container.replaced(
                size=source.size, details={**details, "disk": name}, problems=tuple(problems)
            ),
            source=source,
            part=name,
        )
        for name, source in [*disks.items()][:_DISKS_CAP]
    ]
    return several(opened) if len(opened) > 1 else opened[0].replaced(part=None)


def _disks(members: list[Member], file: Source, problems: list[Problem]) -> dict[str, Source]:
    """The disks by their names; those stored in chunks are put together."""
    parts: dict[str, dict[int, Member]] = {}
    for member in members:
        chunk = _CHUNK.match(member.name)
        name, place = (chunk[1], int(chunk[2])) if chunk else (member.name, 0)
        if _is_disk(name):
            parts.setdefault(name, {})[place] = member
    found: dict[str, Source] = {}
    for name, chunks in parts.items():
        sources: list[Source] = []
        for member in (chunks[place] for place in sorted(chunks)):
            if member.offset + member.size > file.size:
                message = f"{member.name} should have {member.size} bytes, and the archive ends before that"
                problems.append(Problem(Code.TRUNCATED, message))
            there = SliceSource(file, member.offset, member.size)
            lost = LostSource(member.size - there.size, f"the archive ends within {member.name}")
            sources += [there, lost] if lost.size else [there]
        if sorted(chunks) != [*range(len(chunks))]:
            message = f"chunks of {name} are missing; what follows the first that is cannot be placed"
            problems.append(Problem(Code.MISSING_SEGMENT, message))
            continue
        found[name] = sources[0] if len(sources) == 1 else ConcatSource(sources)
    return found


def _is_disk(name: str) -> bool:
    """Whether a file is called what disks are called; descriptions may have them packed by gzip."""
    plain = name.lower().removesuffix(".gz")
    return plain.rpartition(".")[2] in DISK_SUFFIXES


FORMAT = ContainerFormat(
    name="ova",
    title="virtual machine in one file (OVA)",
    specification="https://www.dmtf.org/standards/ovf",
    parse=parse,
    open=open,
    signatures=(Signature(POSIX, MAGIC_AT), Signature(GNU, MAGIC_AT)),
    types=("ova",),
    wraps=True,
)
