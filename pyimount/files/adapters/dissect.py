"""The dissect libraries that are of one shape: XFS, btrfs, SquashFS, UFS, JFFS2, cramfs, QNX, VMFS, APFS.

https://docs.dissect.tools. What is done here beside them: dissect.qnxfs 1.2 does not end at a QNX4 file's
last extent, and does end at a QNX6 folder's first deleted entry; dissect.cramfs 1.1 lists a folder by where
the volume's file happens to stand; dissect.ffs 3.12 lists deleted entries.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any, cast

from dissect.util.stream import RunlistStream

from pyimount.files.adapters import btrfs_items
from pyimount.files.opening import Given
from pyimount.files.reading import Broken, Node, Refused, Unreadable, Volume
from pyimount.files.records import Kind, Stat, Stream, kind_of
from pyimount.problems import Code
from pyimount.records import Record
from pyimount.sources.fileobject import StreamSource
from pyimount.sources.source import BytesSource, Source

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPRESSED_WITHOUT_DATA = "dataless"
_SF_DATALESS = 0x40000000


def _plain_entries(node: Any) -> Iterable[tuple[str, Any]]:
    return cast("Iterable[tuple[str, Any]]", node.iterdir())


def _link(node: Any) -> str:
    return str(node.link)


def _data(node: Any) -> Any:
    return node.open()


def _no_attributes(_: Any) -> Mapping[str, bytes]:
    return {}


class Family(Record, kw_only=True):
    """One of the libraries: how it opens a volume, and what it says of its nodes.

    ``open``: the file system and its root. ``figures``: Stat's fields, with ``kind`` still in the mode.
    ``key``, ``at``: what finds a node again. ``attributes``: extended ones.
    """

    open: Callable[[Given], tuple[Any, Any]]
    figures: Callable[[Any], dict[str, Any]]
    key: Callable[[Any], Any]
    at: Callable[[Any, Any], Any]
    entries: Callable[[Any], Iterable[tuple[str, Any]]] = staticmethod(_plain_entries)
    target: Callable[[Any], str] = staticmethod(_link)
    data: Callable[[Any], Any] = staticmethod(_data)
    attributes: Callable[[Any], Mapping[str, bytes]] = staticmethod(_no_attributes)
    folds: str = "exact"


class DissectNode(Node):
    """A node of one of the libraries."""

    __slots__ = ("family", "node")

    def __init__(self, family: Family, node: Any, name: str) -> None:
        self.family = family
        self.node = node
        self.name = name

    def stat(self) -> Stat:
        """As Node's."""
        # The libraries' numbers are of classes of their own.
        said: dict[str, Any] = {
            name: int(value) if isinstance(value, int) else value
            for name, value in self.family.figures(self.node).items()
        }
        mode: int = said.pop("mode")
        kind = kind_of(mode)
        if kind is not Kind.DEVICE:
            said.pop("device", None)
        return Stat(kind=kind, mode=mode & 0o7777, **said)

    def children(self) -> Iterator[Node | Broken]:
        """As Node's."""
        for name, node in self.family.entries(self.node):
            if name not in (".", "..", ""):
                yield DissectNode(self.family, node, name)

    def open(self) -> Source:
        """As Node's."""
        stat = self.stat()
        if _COMPRESSED_WITHOUT_DATA in stat.attributes:
            raise Unreadable(Code.UNSUPPORTED, "it is a placeholder: its data is in a cloud")
        size = stat.size or 0
        if not size:
            return BytesSource(b"")
        data = self.family.data(self.node)
        return data if isinstance(data, Source) else StreamSource(data, size, "the file")

    def target(self) -> str:
        """As Node's."""
        return self.family.target(self.node)

    def streams(self) -> Sequence[Stream]:
        """As Node's."""
        found = self.family.attributes(self.node)
        return [Stream(name=name, kind="attribute", size=len(each)) for name, each in found.items()]

    def open_stream(self, name: str) -> Source:
        """As Node's."""
        found = self.family.attributes(self.node)
        if name not in found:
            raise FileNotFoundError(name)
        return BytesSource(found[name])


def _ns(time: datetime) -> int:
    """Nanoseconds since 1970; a datetime has microseconds."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _device(number: int) -> tuple[int, int]:
    """Major and minor number in Linux's encoding of 32 bits."""
    return number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00


def _named(node: Any) -> Iterator[tuple[str, Any]]:
    for each in node.iterdir():
        yield each.name, each


def _open(module: str, kind: str, given: Given) -> tuple[Any, Any]:
    """The file system and its root, where the library has no peculiarity."""
    fs = getattr(import_module(module), kind)(given.file())
    return fs, fs.root


def _xfs(node: Any) -> dict[str, Any]:
    inode = node.inode
    return {
        "mode": inode.di_mode, "size": inode.di_size, "uid": inode.di_uid, "gid": inode.di_gid,
        "links": inode.di_nlink, "inode": node.inum, "allocated": inode.di_nblocks * node.xfs.block_size,
        "modified": node.mtime_ns, "accessed": node.atime_ns, "changed": node.ctime_ns,
        "born": node.crtime_ns if inode.di_version >= 3 else None,
    }  # fmt: skip


def _xfs_entries(node: Any) -> Iterator[tuple[str, Any]]:
    for each in node.iterdir():
        yield each.filename, each


def _squashfs(node: Any) -> dict[str, Any]:
    header = node.header
    return {
        "mode": node.mode, "size": node.size or 0, "uid": node.uid, "gid": node.gid,
        # The short forms of inodes, but for that of folders, are of what has one name.
        "links": getattr(header, "nlink", 1), "inode": node.inode_number,
        "modified": header.mtime * 10**9, "device": _device(getattr(header, "rdev", 0)),
    }  # fmt: skip


def _ufs(node: Any) -> dict[str, Any]:
    inode = node.inode
    return {
        "mode": inode.di_mode, "size": inode.di_size, "uid": inode.di_uid, "gid": inode.di_gid,
        "links": inode.di_nlink, "inode": node.inum, "allocated": inode.di_blocks * 512,
        "modified": node.mtime_ns, "accessed": node.atime_ns, "changed": node.ctime_ns, "born": node.btime_ns,
        # In the encoding of old; what UFS2 has there is each system's own.
        "device": (inode.di_db[0] >> 8 & 0xFF, inode.di_db[0] & 0xFF) if node.fs.version == 1 else None,
    }  # fmt: skip


def _ufs_entries(node: Any) -> Iterator[tuple[str, Any]]:
    for each in node.iterdir():
        if each.inum:
            yield each.name, each


def _jffs2(node: Any) -> dict[str, Any]:
    inode = node.inode
    made_up = node.inum == 1
    times = {} if made_up else {
        "modified": inode.mtime * 10**9, "accessed": inode.atime * 10**9, "changed": inode.ctime * 10**9
    }  # fmt: skip
    return {
        "mode": inode.mode, "size": inode.isize, "uid": inode.uid, "gid": inode.gid, "inode": node.inum,
        **times,
    }  # fmt: skip


def _open_jffs2(given: Given) -> tuple[Any, Any]:
    fs = import_module("pyimount.files.adapters.jffs2_nodes").Newest(given.file())
    return fs, fs.root


def _jffs2_data(node: Any) -> Source:
    return cast("Source", import_module("pyimount.files.adapters.jffs2_nodes").Data(node))


def _jffs2_target(node: Any) -> str:
    data = _jffs2_data(node)
    return data.read_at(0, data.size).decode("utf-8", "surrogateescape")


def _cramfs(node: Any) -> dict[str, Any]:
    inode = node.inode
    return {
        "mode": inode.mode, "size": node.size, "uid": inode.uid, "gid": inode.gid,
        "device": (inode.size >> 8 & 0xFF, inode.size & 0xFF),
    }  # fmt: skip


def _cramfs_entries(node: Any) -> Iterator[tuple[str, Any]]:
    at, end = node.data_offset, node.data_offset + node.size
    while at < end:
        each = node.fs.inode(at)
        raw = bytes(each.inode.name)
        yield raw.rstrip(b"\0").decode("utf-8", "surrogateescape"), each
        at += 12 + len(raw)


def _open_qnx(given: Given) -> tuple[Any, Any]:
    library = import_module("dissect.qnxfs")
    fs = (library.QNX4 if given.type == "qnx4" else library.QNX6)(given.file())
    return fs, fs.root


def _qnx(node: Any) -> dict[str, Any]:
    inode = node.inode
    return {
        "mode": inode.di_mode, "size": node.size, "uid": inode.di_uid, "gid": inode.di_gid,
        "links": getattr(inode, "di_nlink", None), "inode": node.inum, "modified": inode.di_mtime * 10**9,
        "accessed": inode.di_atime * 10**9, "changed": inode.di_ctime * 10**9, "born": inode.di_ftime * 10**9,
    }  # fmt: skip


def _qnx_entries(node: Any) -> Iterable[tuple[str, Any]]:
    return _qnx6_entries(node) if hasattr(node.inode, "di_block_ptr") else _qnx4_entries(node)


def _qnx4_entries(node: Any) -> Iterable[tuple[str, Any]]:
    node._iter_chain = lambda: _qnx4_extents(node)
    return cast("Iterable[tuple[str, Any]]", node.iterdir())


def _qnx4_extents(node: Any) -> Iterator[tuple[int, int]]:
    """The extents of a QNX4 file: as many as it has."""
    return islice(type(node)._iter_chain(node), node.inode.di_num_xtnts)


def _qnx6_entries(node: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a QNX6 folder, as Linux's fs/qnx6/dir.c reads them."""
    fs, data = node.fs, node.open()
    layouts = fs._c_qnx
    for at in range(0, node.size, 32):
        data.seek(at)
        raw = data.read(32)
        entry = layouts.qnx6_dir_entry(raw)
        if entry.de_inode == 0 or entry.de_size == 0:
            continue
        name = bytes(entry.de_fname)[: entry.de_size]
        if entry.de_size > 27:
            fs._long_file.seek(layouts.qnx6_long_dir_entry(raw).de_long_inode * fs.block_size)
            long = layouts.qnx6_long_filename(fs._long_file)
            name = bytes(long.lf_fname)[: long.lf_size]
        yield name.split(b"\0")[0].decode("utf-8", "surrogateescape"), fs.inode(entry.de_inode)


def _qnx_data(node: Any) -> Any:
    if hasattr(node.inode, "di_block_ptr"):
        return node.open()
    return RunlistStream(node.fs.fh, list(_qnx4_extents(node)), node.size, node.fs.block_size)


def _qnx_target(node: Any) -> str:
    return cast("bytes", _qnx_data(node).read()).decode("utf-8", "surrogateescape")


def _vmfs(node: Any) -> dict[str, Any]:
    said = node.metadata
    return {
        "mode": node.mode, "size": node.size, "uid": said.uid, "gid": said.gid, "inode": node.address,
        "modified": _ns(node.mtime), "accessed": _ns(node.atime), "changed": _ns(node.ctime),
    }  # fmt: skip


def _vmfs_entries(node: Any) -> Iterator[tuple[str, Any]]:
    for each in node.iterdir():
        yield each.name, each.file_descriptor


def _open_apfs(given: Given) -> tuple[Any, Any]:
    container = import_module("dissect.apfs").APFS(given.file())
    fs = container.volumes[given.number]
    if fs.is_encrypted:
        for key in given.keys:
            try:
                fs.unlock(key.secret.decode("utf-8", "surrogateescape"))
            except (ValueError, LookupError):
                continue
            break
        else:
            raise Unreadable(Code.LOCKED, "it is encrypted, and no key was given that opens it")
    return fs, fs.root


def _apfs(node: Any) -> dict[str, Any]:
    inode = node.inode
    return {
        "mode": inode.mode, "size": 0 if node.is_dir() else node.size, "uid": inode.owner, "gid": inode.group,
        "links": None if node.is_dir() else inode.nlink, "inode": node.oid, "modified": inode.mod_time,
        "accessed": inode.access_time, "changed": inode.change_time, "born": inode.create_time,
        "attributes": (_COMPRESSED_WITHOUT_DATA,) if inode.bsd_flags & _SF_DATALESS else (),
    }  # fmt: skip


def _apfs_data(node: Any) -> Any:
    return import_module("pyimount.files.adapters.apfs_data").data_of(node)


def _apfs_attributes(node: Any) -> Mapping[str, bytes]:
    return {name: each.open().read() for name, each in node.xattr.items()}


def _apfs_entries(node: Any) -> Iterator[tuple[str, Any]]:
    for each in node.iterdir():
        yield each.name, each.inode


FAMILIES: Mapping[str, Family] = {
    "xfs": Family(
        open=partial(_open, "dissect.xfs", "XFS"), figures=_xfs, entries=_xfs_entries,
        key=lambda node: int(node.inum), at=lambda fs, key: fs.get_inode(key),
    ),
    "btrfs": Family(
        open=btrfs_items.open_btrfs, figures=btrfs_items.figures, entries=btrfs_items.entries,
        attributes=btrfs_items.attributes, key=btrfs_items.key_of, at=btrfs_items.at_key,
    ),
    "squashfs": Family(
        open=partial(_open, "dissect.squashfs", "SquashFS"), figures=_squashfs, entries=_named,
        key=lambda node: [int(node.block), int(node.offset)], at=lambda fs, key: fs.inode(*key),
    ),
    "ufs": Family(
        open=partial(_open, "dissect.ffs", "FFS"), figures=_ufs, entries=_ufs_entries,
        key=lambda node: int(node.inum), at=lambda fs, key: fs.inode(key),
    ),
    "jffs2": Family(
        open=_open_jffs2, figures=_jffs2, data=_jffs2_data, target=_jffs2_target,
        key=lambda node: int(node.inum), at=lambda fs, key: fs.inode(key),
    ),
    "cramfs": Family(
        open=partial(_open, "dissect.cramfs", "CramFS"), figures=_cramfs, entries=_cramfs_entries,
        key=lambda node: int(node.offset), at=lambda fs, key: fs.inode(key),
    ),
    "qnx": Family(
        open=_open_qnx, figures=_qnx, entries=_qnx_entries, data=_qnx_data, target=_qnx_target,
        key=lambda node: int(node.inum), at=lambda fs, key: fs.inode(key),
    ),
    "VMFS": Family(
        open=partial(_open, "dissect.vmfs", "VMFS"), figures=_vmfs, entries=_vmfs_entries,
        key=lambda node: int(node.address), at=lambda fs, key: fs.file_descriptor(key),
    ),
    "apfs": Family(
        open=_open_apfs, figures=_apfs, entries=_apfs_entries, attributes=_apfs_attributes,
        target=lambda node: str(node.readlink()), data=_apfs_data,
        key=lambda node: int(node.oid), at=lambda fs, key: fs.inode(key), folds="nfd",
    ),
}  # fmt: skip
"""By the types, those of QNX under one name."""


_LIBRARIES = {
    "xfs": "xfs.exceptions", "btrfs": "btrfs.exceptions", "squashfs": "squashfs.exceptions",
    "ufs": "ffs.exceptions", "jffs2": "jffs.exceptions", "cramfs": "cramfs.exception",
    "qnx": "qnxfs.exceptions", "VMFS": "vmfs.exception", "apfs": "apfs.exception",
}  # fmt: skip
# Where each of them has what it raises, which are no errors of Python's own.


def errors_of(module: str) -> tuple[type[Exception], ...]:
    """What a dissect library raises of its own, and what all of them do."""
    found = import_module(f"dissect.{module}").Error, import_module("dissect.cstruct.exceptions").Error
    return cast("tuple[type[Exception], ...]", found)


def open_volume(given: Given) -> Volume:
    """As the room's; raises Refused."""
    kind = "qnx" if given.type.startswith("qnx") else given.type
    family = FAMILIES[kind]
    errors = errors_of(_LIBRARIES[kind])
    refusals: tuple[type[Exception], ...] = NotImplementedError, *errors
    try:
        fs, root = family.open(given)
        return Volume(
            root=DissectNode(family, root, ""),
            folds=family.folds,
            errors=errors,
            at=lambda key: DissectNode(family, family.at(fs, key), ""),
            key_of=lambda node: family.key(cast("DissectNode", node).node),
        )
    except refusals as error:
        raise Refused(str(error) or "the library does not read this kind") from error
