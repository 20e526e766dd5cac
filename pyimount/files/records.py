"""What a file system says of one thing in it: its kind, its figures, its streams."""

from enum import StrEnum

from pyimount.records import Record


class Kind(StrEnum):
    """What an entry of a folder is; the value is what reports show."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DEVICE = "device"
    PIPE = "pipe"
    SOCKET = "socket"
    UNKNOWN = "unknown"


_BY_FORMAT = {
    0o010000: Kind.PIPE,
    0o020000: Kind.DEVICE,
    0o040000: Kind.FOLDER,
    0o060000: Kind.DEVICE,
    0o100000: Kind.FILE,
    0o120000: Kind.LINK,
    0o140000: Kind.SOCKET,
}
"""By the highest bits of st_mode, POSIX's S_IFMT."""


def kind_of(mode: int) -> Kind:
    """The kind that a Unix mode says."""
    return _BY_FORMAT.get(mode & 0o170000, Kind.UNKNOWN)


class Stat(Record, kw_only=True):
    """The figures of a file; None: the format has no such thing, or it cannot be read.

    ``size``: bytes of the data; ``allocated``: bytes that are set aside for it. ``mode``: permission bits,
    without the kind. ``modified``, ``accessed``, ``changed`` (of the record that describes it), ``born``:
    nanoseconds since 1970 in UTC, or, where the format keeps local time (``local``), since 1970 there.
    ``device``: major and minor number of a device. ``attributes``: words of the format's own: hidden, system,
    compressed, encrypted, deduplicated, placeholder …
    """

    kind: Kind
    size: int | None = None
    allocated: int | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    inode: int | None = None
    links: int | None = None
    modified: int | None = None
    accessed: int | None = None
    changed: int | None = None
    born: int | None = None
    local: bool = False
    device: tuple[int, int] | None = None
    attributes: tuple[str, ...] = ()


class Stream(Record, kw_only=True):
    """Data beside a file's own: an alternate data stream, a resource fork, an extended attribute.

    ``kind``: ``stream``, ``fork`` or ``attribute``; ``size`` in bytes, None where it is not known unread.
    """

    name: str
    kind: str
    size: int | None


class Run(Record):
    """A run of a file's bytes: where in the file, how many, where in the volume; None: a hole, of zeros."""

    at: int
    size: int
    place: int | None
