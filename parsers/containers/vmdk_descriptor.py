"""The text descriptor of a VMDK: what a disk consists of, in the encoding that it names.

Layout: VMware, "Virtual Disk Format 5.0"; VirtualBox's own entries: VMDK.cpp
https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Storage/VMDK.cpp
"""

import re
from collections.abc import Iterable, Mapping

from pyimount.formats import Json, NotThisFormat
from pyimount.formats.notation import decimal
from pyimount.records import Record
from pyimount.sources.view import View

TEXT = b"# Disk DescriptorFile"
SECTOR = 512
NO_PARENT = "ffffffff"
DESCRIPTOR_CAP = 1 << 20
"""No more bytes of a descriptor are read."""

_EXTENTS_CAP = 4096
_EXTENTS_LISTED = 64
_EXTENT = rb'(RW|RDONLY|NOACCESS)\s+([0-9]{1,15})\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+([0-9]{1,15}))?)?'
_BEGINNING = re.compile(rb"(?:#[^\n]*+\n| ++\r?+\n)*+version=[123]\r?+\n")
"""As QEMU's vmdk_probe has it: comments and lines of blanks, and then the version."""
_BEGINNING_CAP = 4096
_PAGES = (874, 932, 936, 949, 950, *range(1250, 1259))
_CODECS = {
    "utf-8": "utf-8",
    "ms932": "cp932",
    "windows-31j": "cp932",
    "shift_jis": "cp932",
    "gbk": "cp936",
    "ms936": "cp936",
    "gb2312": "cp936",
    "gb18030": "gb18030",
    "euc-kr": "cp949",
    "ms949": "cp949",
    "big5": "cp950",
    "ms950": "cp950",
    "euc-jp": "euc_jp",
    "koi8-r": "koi8_r",
    "macroman": "mac_roman",
    "us-ascii": "ascii",
    **{f"windows-{page}": f"cp{page}" for page in _PAGES},
    **{f"cp{page}": f"cp{page}" for page in _PAGES},
    **{f"iso-8859-{part}": f"iso8859_{part}" for part in (*range(1, 12), *range(13, 17))},
}
"""What VMware calls encodings (Java's names, IANA's). What was written is Windows' extension of each."""


class Extent(Record):
    """A line of the descriptor: a run of the disk, and where it stands; ``offset`` and ``size`` in bytes.

    ``raw_name``: the bytes of ``name``, in whatever encoding they are.
    """

    access: str
    size: int
    type: str
    name: str
    offset: int
    raw_name: bytes


def _content_id(text: str) -> str | None:
    """A content ID in eight hex digits: some writers leave leading zeros out. None when there is none."""
    return text.lower().zfill(8) if text else None


class Descriptor(Record):
    """What a descriptor says; the names of ``values`` are in lower case. ``raw_hint``: the parent's name."""

    values: Mapping[str, str]
    extents: tuple[Extent, ...]
    raw_hint: bytes = b""

    @property
    def parent_cid(self) -> str | None:
        """The content ID of the parent; None for a disk without one."""
        cid = _content_id(self.values.get("parentcid", NO_PARENT))
        return None if cid == NO_PARENT else cid

    def uuid(self, what: str) -> str | None:
        """VirtualBox's UUID of the ``image``, ``modification``, ``parent`` or ``parentmodification``."""
        value = self.values.get(f"ddb.uuid.{what}", "").strip("{}").lower()
        return value if value.strip("0-") else None

    def details(self) -> dict[str, Json]:
        """Its facts for the report."""
        values = self.values
        extents: list[Json] = [
            {"type": extent.type, "access": extent.access, "size": extent.size, "file": extent.name or None}
            for extent in self.extents[:_EXTENTS_LISTED]
        ]
        geometry = {
            name: values[f"ddb.geometry.{name}"]
            for name in ("cylinders", "heads", "sectors")
            if f"ddb.geometry.{name}" in values
        }
        uuids = {
            name: self.uuid(what)
            for name, what in (
                ("image_uuid", "image"),
                ("modified_uuid", "modification"),
                ("parent_uuid", "parent"),
                ("parent_modified_uuid", "parentmodification"),
            )
        }
        return {
            "variant": values.get("createtype"),
            "cid": _content_id(values.get("cid", "")),
            "parent_cid": self.parent_cid,
            "backing_file": values.get("parentfilenamehint"),
            "adapter": values.get("ddb.adaptertype"),
            "hardware_version": values.get("ddb.virtualhwversion"),
            "tools_version": values.get("ddb.toolsversion"),
            "uuid": values.get("ddb.uuid"),
            **{name: value for name, value in uuids.items() if value},
            "long_content_id": values.get("ddb.longcontentid"),
            "encoding": values.get("encoding"),
            "geometry": {
                name: value if (number := decimal(value)) is None else number
                for name, value in geometry.items()
            },
            "extent_count": len(self.extents),
            "extents": extents,
        }


def read_descriptor(data: bytes) -> Descriptor:
    """A descriptor in these bytes, which may end in zeros; raises NotThisFormat where it has too much."""
    data = data.split(b"\0", 1)[0]
    values: dict[str, str] = {}
    extents = []
    raw_hint = b""
    encoding = re.search(rb'^\s*encoding\s*=\s*"([^"\r\n]{1,40})"', data, re.MULTILINE | re.IGNORECASE)
    codec = _CODECS.get(encoding[1].decode("latin-1").strip().lower() if encoding else "", "utf-8")
    for line in data.splitlines():  # of bytes: only there is a line's end one and nothing else
        words = line.strip()
        if found := re.match(_EXTENT, words):
            access, sectors, kind, name, offset = found.groups(b"")
            extents.append(
                Extent(
                    access.decode(),
                    int(sectors) * SECTOR,
                    kind.decode(),
                    name.decode(codec, "backslashreplace"),
                    int(offset or b"0") * SECTOR,
                    name,
                )
            )
            if len(extents) > _EXTENTS_CAP:
                raise NotThisFormat(f"more than {_EXTENTS_CAP} extents")
        elif not words.startswith(b"#") and b"=" in words:
            key, _, value = words.partition(b"=")
            word = key.strip().lower().decode("ascii", "backslashreplace")
            if word == "parentfilenamehint" and word not in values:
                raw_hint = value.strip().strip(b'"')
            values.setdefault(word, value.decode(codec, "backslashreplace").strip().strip('"'))
    return Descriptor(values, tuple(extents), raw_hint)


def is_descriptor(view: View) -> bool:
    """Whether a file begins as a descriptor does."""
    beginning = view.peek(0, _BEGINNING_CAP)
    return beginning.startswith(TEXT) or _BEGINNING.match(beginning) is not None


def text_descriptor(view: View) -> Descriptor:
    """The descriptor that a file is; raises NotThisFormat, ShortRead, ReadError."""
    if view.size > DESCRIPTOR_CAP or not is_descriptor(view):
        raise NotThisFormat(f"no descriptor, in a file of {view.size} bytes")
    found = read_descriptor(view.read(0, view.size))
    if not found.extents:
        raise NotThisFormat("a descriptor of no extents")
    return found


def that_fits(raw: bytes, names: Iterable[str]) -> str | None:
    """The one of ``names`` that can be the file called ``raw`` in an encoding that is not known.

    ASCII is the same in all of them, but behind another byte: there it may be the second of a character.
    """
    other = re.compile(rb"[^\x20-\x7e]")
    first = other.search(raw)
    if first is None:
        return None
    before = raw[: first.start()].replace(b"\\", b"/").rpartition(b"/")[2]
    behind = other.split(raw)[-1][1:]
    pattern = re.compile(re.escape(before.decode()) + "(?s:.+)" + re.escape(behind.decode()))
    fitting = [name for name in names if pattern.fullmatch(name)]
    return fitting[0] if len(fitting) == 1 and behind else None
