"""libyal's libraries, of one shape: libfsext, libfsxfs, libfsntfs, libfsfat, libfshfs, libfsapfs.

https://github.com/libyal; the Python modules: https://github.com/libyal/libfsext/wiki/Python-development
Each child is asked for by its number, so that one broken record hides no other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from pyimount.files.adapters.fat_times import times_at
from pyimount.files.opening import Given
from pyimount.files.reading import Broken, Forgotten, Node, Refused, Unreadable, Volume
from pyimount.files.records import Kind, Run, Stat, Stream, kind_of
from pyimount.problems import Code
from pyimount.records import Record
from pyimount.sources.errors import FOREIGN_ERRORS
from pyimount.sources.fileobject import StreamSource
from pyimount.sources.source import BytesSource, Source

_FILETIME_EPOCH = 11_644_473_600 * 10**9
# Nanoseconds from 1601, which NTFS counts from in units of 100 ns, to 1970.
_MAC_EPOCH = 2_082_844_800
# Seconds from 1904, which HFS+ counts from, to 1970.
SPARSE = 1
"""The flag of a run of zeros that is not stored."""


class Library(Record, kw_only=True):
    """How one of the libraries differs from the others.

    ``module``: its name. ``by``, ``number``: the methods that find a node by its number, and that give it;
    ``by`` None: it finds none so, or not rightly.
    ``change``: what the time of the last change of the record is called. ``nanoseconds``: since 1970, from
    the library's integer. ``folds``: as Volume has it; ``local``: it keeps local time.
    """

    module: str
    by: str | None
    number: str
    change: str | None
    nanoseconds: Callable[[int], int | None]
    folds: str = "exact"
    local: bool = False


def _filetime(value: int) -> int | None:
    return value * 100 - _FILETIME_EPOCH if value else None


def _posix(value: int) -> int:
    return value


def _mac(value: int) -> int | None:
    return (value - _MAC_EPOCH) * 10**9 if value else None


LIBRARIES: Mapping[str, Library] = {
    "ext": Library(
        module="pyfsext", by="get_file_entry_by_inode", number="get_inode_number", change="inode_change",
        nanoseconds=_posix,
    ),
    "xfs": Library(
        module="pyfsxfs", by="get_file_entry_by_inode", number="get_inode_number", change="inode_change",
        nanoseconds=_posix,
    ),
    "ntfs": Library(
        module="pyfsntfs", by="get_file_entry", number="get_file_reference", change="entry_modification",
        nanoseconds=_filetime, folds="upper",
    ),
    "fat": Library(
        module="pyfsfat", by="get_file_entry_by_identifier", number="get_identifier", change=None,
        nanoseconds=_posix, folds="upper", local=True,
    ),
    # libfsfat 20260826 finds nothing of exFAT so: "invalid directory entry value already set".
    "exfat": Library(
        module="pyfsfat", by=None, number="get_identifier", change=None, nanoseconds=_posix, folds="upper",
        local=True,
    ),
    "hfs": Library(
        module="pyfshfs", by="get_file_entry_by_identifier", number="get_identifier",
        change="entry_modification", nanoseconds=_mac, folds="nfd",
    ),
    "apfs": Library(
        module="pyfsapfs", by="get_file_entry_by_identifier", number="get_identifier", change="inode_change",
        nanoseconds=_posix, folds="nfd",
    ),
}  # fmt: skip
"""By the families of the formats' types."""

_FAMILY = {
    "ext2": "ext", "ext3": "ext", "ext4": "ext", "xfs": "xfs", "ntfs": "ntfs", "vfat": "fat",
    "exfat": "exfat", "hfsplus": "hfs", "hfs": "hfs", "apfs": "apfs",
}  # fmt: skip

PLACEHOLDER = "it is a placeholder: its data is in a cloud or on another medium"
_RECORD = (1 << 48) - 1
# The part of an NTFS file reference that is the record's number.
_DEPTH_CAP = 1000
_FAT_ROOT = 0
"""libfsfat calls entries by where their records stand; the root has none."""
_READ_ONLY, _HIDDEN, _SYSTEM, _FOLDER, _COMPRESSED, _OFFLINE, _ENCRYPTED = (
    1,
    2,
    4,
    0x10,
    0x800,
    0x1000,
    0x4000,
)
_REPARSE = 0x400
_WORDS = {
    _READ_ONLY: "read-only", _HIDDEN: "hidden", _SYSTEM: "system", 0x20: "archive", 0x200: "sparse",
    _REPARSE: "reparse-point", _COMPRESSED: "compressed", _OFFLINE: "offline", _ENCRYPTED: "encrypted",
    0x400000: "recall-on-data-access",
}  # fmt: skip
# [MS-FSCC] 2.6, File Attributes.


def words_of(flags: int) -> tuple[str, ...]:
    """The attributes of a file, as Windows has them, in words."""
    return tuple(word for flag, word in _WORDS.items() if flags & flag)


class Opened:
    """A volume that a library has opened: what finds nodes in it."""

    def __init__(self, library: Library, handle: Any, given: Given) -> None:
        self.library = library
        self.given = given
        entry = import_module(library.module).file_entry
        self.handle = handle
        # A volume of a container lives as long as that does.
        self.volume = handle if library.module != "pyfsapfs" else handle.get_volume(given.number)
        self.number = getattr(entry, library.number)
        self.by = None if library.by is None else getattr(self.volume, library.by)
        self._ways: dict[int, tuple[int, int]] = {}
        self.times = [
            (field, getattr(entry, f"get_{word}_time_as_integer"))
            for field, word in (
                ("modified", "modification"), ("accessed", "access"), ("born", "creation"),
                ("changed", library.change),
            )
            # FAT's and exFAT's are read from the entries, by ``fat_times``.
            # libfsapfs 20260921 has the times of creation and modification in each other's place.
            if library.module != "pyfsfat"
            and not (library.module == "pyfsapfs" and field in ("modified", "born"))
            and word is not None
            and hasattr(entry, f"get_{word}_time_as_integer")
        ]  # fmt: skip
        self.figures = [
            (field, getattr(entry, method))
            for field, method in (
                ("uid", "get_owner_identifier"),
                ("gid", "get_group_identifier"),
                ("links", "get_number_of_links"),
            )
            if hasattr(entry, method)
        ]  # fmt: skip
        self.has_mode = hasattr(entry, "get_file_mode")

    def key(self, node: Node) -> Any:
        """What a node is found by again: its number, or that with its folder's and its place in there."""
        node = cast("YalNode", node)
        if self.by is None:
            return node.way
        return self.number_of(node.entry)

    def number_of(self, entry: Any) -> int:
        """The number of an entry."""
        number: int = self.number(entry)
        return number & _RECORD if self.library.module == "pyfsntfs" else number

    def found(self, key: Any) -> Node:
        """The node of a key; raises Forgotten."""
        if self.by is not None:
            return YalNode(self, self.by(key), "")
        number, folder, place = key
        return YalNode(self, self._entry_at(folder, place), "", (number, folder, place))

    def _entry_at(self, folder: int, place: int) -> Any:
        """The entry at a place of a folder, by the way there from the root."""
        places = [place]
        while folder != _FAT_ROOT:
            if folder not in self._ways or len(places) > _DEPTH_CAP:
                raise Forgotten
            folder, place = self._ways[folder]
            places.append(place)
        entry = self.volume.get_root_directory()
        for number in reversed(places):
            entry = entry.get_sub_file_entry(number)
        return entry

    def way(self, folder: Any, entry: Any, place: int) -> tuple[int, int, int] | None:
        """The key of an entry at a place of a folder, where the library finds none by its number."""
        if self.by is not None:
            return None
        number, above = self.number_of(entry), self.number_of(folder)
        # The first way there counts: a folder may hold itself.
        if (entry.get_file_attribute_flags() or 0) & _FOLDER:
            self._ways.setdefault(number, (above, place))
        return number, above, place


class YalNode(Node):
    """A file entry of one of the libraries."""

    __slots__ = ("entry", "opened", "way")

    def __init__(
        self, opened: Opened, entry: Any, name: str | None, way: tuple[int, int, int] | None = None
    ) -> None:
        self.opened = opened
        self.entry = entry
        self.way = way
        self.name = (entry.get_name() or "") if name is None else name

    def stat(self) -> Stat:
        """As Node's."""
        entry, opened = self.entry, self.opened
        said: dict[str, Any] = {"local": opened.library.local}
        if opened.library.module == "pyfsfat" and (number := opened.number(entry)) != _FAT_ROOT:
            said |= times_at(opened.given.sources[0], number, opened.given.type)
        for field, get in opened.times:
            value = get(entry)
            if value is not None:
                said[field] = opened.library.nanoseconds(value)
        for field, get in opened.figures:
            said[field] = get(entry)
        if opened.has_mode:
            mode = entry.get_file_mode()
            if mode is None:
                kind = Kind.FOLDER if entry.get_number_of_sub_file_entries() else Kind.FILE
            else:
                kind = kind_of(mode)
                said["mode"] = mode & 0o7777
            if kind is Kind.DEVICE:
                device = entry.get_device_number()
                said["device"] = None if device is None or None in device else tuple(device)
        else:
            kind, said["attributes"] = self._by_attributes()
        size = entry.get_size() if kind in (Kind.FILE, Kind.LINK, Kind.FOLDER) else 0
        return Stat(kind=kind, size=size, inode=opened.number_of(entry), **said)

    def _by_attributes(self) -> tuple[Kind, tuple[str, ...]]:
        flags = self.entry.get_file_attribute_flags() or 0
        words = words_of(flags)
        if self.opened.library.module == "pyfsfat":
            # Only the root has no record of its own, which would say what it is; it may be empty.
            is_root = flags == 0 and self.opened.number(self.entry) == _FAT_ROOT
            return (Kind.FOLDER if flags & _FOLDER or is_root else Kind.FILE), words
        if flags & _REPARSE and self.entry.get_symbolic_link_target() is not None:
            return Kind.LINK, words
        return (Kind.FOLDER if self.entry.has_directory_entries_index() else Kind.FILE), words

    def children(self) -> Iterator[Node | Broken]:
        """As Node's."""
        count = self.entry.get_number_of_sub_file_entries()
        for number in range(count):
            try:
                entry = self.entry.get_sub_file_entry(number)
                child = YalNode(self.opened, entry, None, self.opened.way(self.entry, entry, number))
            except FOREIGN_ERRORS as error:
                yield Broken(name=None, why=f"entry {number} of the folder: {_short(error)}")
                continue
            if not child.name:
                # libfsext 20260821 has none for a name of 255 bytes.
                yield Broken(name=None, why=f"entry {number} of the folder: the library gives no name")
            elif child.name not in (".", ".."):
                yield child

    def child(self, name: str) -> Node | None:
        """As Node's."""
        by_name = getattr(self.entry, "get_sub_file_entry_by_name", None)
        if by_name is None or self.opened.by is None:
            return super().child(name)
        found = by_name(name)
        return None if found is None else YalNode(self.opened, found, None)

    def open(self) -> Source:
        """As Node's."""
        flags = self._flags()
        if flags & _ENCRYPTED:
            raise Unreadable(Code.UNSUPPORTED, "it is encrypted (EFS): its key is not in the image")
        if flags & (_OFFLINE | 0x400000):
            raise Unreadable(Code.UNSUPPORTED, PLACEHOLDER)
        if self.opened.library.module == "pyfsntfs" and not self.entry.has_default_data_stream():
            return BytesSource(b"")
        return StreamSource(self.entry, self.entry.get_size(), "the file")

    def _flags(self) -> int:
        if not hasattr(self.entry, "get_file_attribute_flags"):
            return 0
        return self.entry.get_file_attribute_flags() or 0

    def target(self) -> str:
        """As Node's."""
        said = self.entry.get_symbolic_link_target()
        if said is None:
            raise OSError("not a link")
        # libfsxfs 20260901 gives the header of what stands before it where it has a block of its own.
        if self.opened.library.module == "pyfsxfs" and said == "XSLM":
            raise Unreadable(Code.UNSUPPORTED, "long links are not read by libfsxfs")
        return str(said)

    def streams(self) -> Sequence[Stream]:
        """As Node's."""
        return [Stream(name=name, kind=kind, size=size) for name, kind, size, _ in self._beside()]

    def _beside(self) -> Iterator[tuple[str, str, int | None, Any]]:
        entry = self.entry
        if hasattr(entry, "get_number_of_alternate_data_streams"):
            for number in range(entry.get_number_of_alternate_data_streams()):
                stream = entry.get_alternate_data_stream(number)
                yield stream.get_name(), "stream", stream.get_size(), stream
        if hasattr(entry, "has_resource_fork") and entry.has_resource_fork():
            fork = entry.get_resource_fork()
            yield "rsrc", "fork", fork.get_size(), fork
        if hasattr(entry, "get_number_of_extended_attributes"):
            for number in range(entry.get_number_of_extended_attributes()):
                attribute = entry.get_extended_attribute(number)
                yield attribute.get_name(), "attribute", attribute.get_size(), attribute

    def open_stream(self, name: str) -> Source:
        """As Node's."""
        for found, _, size, stream in self._beside():
            if found == name:
                return StreamSource(stream, size or 0, "the stream")
        raise FileNotFoundError(name)

    def runs(self) -> Sequence[Run] | None:
        """As Node's."""
        found, at = [], 0
        for number in range(self.entry.get_number_of_extents()):
            place, size, flags = self.entry.get_extent(number)
            # What lies at block 0 of APFS, where the container's superblock is, is a hole.
            hole = flags & SPARSE or (place == 0 and self.opened.library.module == "pyfsapfs")
            found.append(Run(at, size, None if hole else place))
            at += size
        return found


def _short(error: BaseException) -> str:
    """The cause in libyal's chain of reasons: it begins with the call, and goes on from within outwards."""
    reasons = [each.rpartition(": ")[2] for each in str(error).strip().rstrip(".").split(". ")]
    causes = [each for each in reasons[1:] if " " in each and each[:1].isalpha()]
    return (causes or reasons)[0][:200] or type(error).__name__


def open_volume(given: Given) -> Volume:
    """As the room's; raises Refused."""
    library = LIBRARIES[_FAMILY[given.type]]
    module: Any = import_module(library.module)
    try:
        if library.module == "pyfsapfs":
            handle = module.container()
            handle.open_file_object(given.file())
            _unlock(handle.get_volume(given.number), given)
        else:
            handle = module.volume()
            handle.open_file_object(given.file())
        opened = Opened(library, handle, given)
        entry = opened.volume.get_root_directory()
    except OSError as error:
        raise Refused(_short(error)) from error
    if entry is None:
        raise Refused("it has no root folder")
    root = YalNode(opened, entry, "")
    return Volume(root=root, folds=library.folds, at=opened.found, key_of=opened.key)


def _unlock(volume: Any, given: Given) -> None:
    if not volume.is_locked():
        return
    for key in given.keys:
        if key.kind in ("p", "r"):
            password = key.secret.decode("utf-8", "surrogateescape")
            (volume.set_password if key.kind == "p" else volume.set_recovery_password)(password)
            if volume.unlock():
                return
    raise Unreadable(Code.LOCKED, "it is encrypted, and no key was given that opens it")
