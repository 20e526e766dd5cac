"""tar by the standard library's tarfile, and cpio, whose members are read here: as the folders in them.

cpio(5): https://man.freebsd.org/cgi/man.cgi?query=cpio&sektion=5. Of several members of one path the last
counts, as it does for who unpacks them. ``..`` in a path is a name like any other: it leads nowhere.
"""

import struct
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pyimount.files.opening import Given
from pyimount.files.reading import Broken, Node, Refused, Unreadable, Volume
from pyimount.files.records import Kind, Stat, kind_of
from pyimount.problems import Code
from pyimount.records import Record
from pyimount.sources.fileobject import StreamSource
from pyimount.sources.source import BytesSource, SliceSource, Source

MEMBERS_CAP = 250_000
"""Members of an archive that are read: what is kept of so many fits into a reader's memory."""
_TAR_KINDS = {
    tarfile.REGTYPE: Kind.FILE, tarfile.AREGTYPE: Kind.FILE, tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE, tarfile.DIRTYPE: Kind.FOLDER, tarfile.SYMTYPE: Kind.LINK,
    tarfile.CHRTYPE: Kind.DEVICE, tarfile.BLKTYPE: Kind.DEVICE, tarfile.FIFOTYPE: Kind.PIPE,
}  # fmt: skip


class Member(Record, kw_only=True):
    """What an archive says of one of its members; ``data``: whatever opens it."""

    stat: Stat
    target: str = ""
    data: Any = None


class Folder(Node):
    """A name in an archive: a member, or a folder that only its members' paths tell of."""

    __slots__ = ("archive", "below", "member")

    def __init__(self, archive: "Archive", name: str) -> None:
        self.archive = archive
        self.name = name
        self.member: Member | None = None
        self.below: dict[str, Folder] = {}

    def stat(self) -> Stat:
        """As Node's."""
        if self.member is None or self.below:
            return (
                Stat(kind=Kind.FOLDER) if self.member is None else self.member.stat.replaced(kind=Kind.FOLDER)
            )
        return self.member.stat

    def children(self) -> Iterator[Node | Broken]:
        """As Node's."""
        yield from self.below.values()
        if not self.name and self.archive.broken is not None:
            yield Broken(name=None, why=self.archive.broken)

    def child(self, name: str) -> Node | None:
        """As Node's."""
        return self.below.get(name)

    def open(self) -> Source:
        """As Node's."""
        if self.member is None:
            return BytesSource(b"")
        return self.archive.open(self.member)

    def target(self) -> str:
        """As Node's."""
        if self.member is None or self.member.stat.kind is not Kind.LINK:
            raise OSError("not a link")
        return self.archive.target(self.member)


class Archive:
    """The members of an archive as a tree. ``broken``: why it could not be read to its end."""

    def __init__(self, given: Given) -> None:
        self.source = given.sources[0]
        self.root = Folder(self, "")
        self.broken: str | None = None
        self._tar: Any = None
        for number, (path, member) in enumerate(self.members(given)):
            if number >= MEMBERS_CAP:
                self.broken = f"there are more than {MEMBERS_CAP} members; what is behind them is left out"
                break
            self._add(path, member)

    def members(self, given: Given) -> Iterator[tuple[str, Member]]:
        """The members with their paths, in their order; what ends them early is noted in ``broken``."""
        return self._cpio() if given.type == "cpio" else self._tar_members(given)

    def target(self, member: Member) -> str:
        """Where a member leads that is a link."""
        return member.target

    def _add(self, path: str, member: Member) -> None:
        at = self.root
        for name in path.split("/"):
            if name not in ("", "."):
                if name not in at.below:
                    at.below[name] = Folder(self, name)
                at = at.below[name]
        if at is not self.root or member.stat.kind is Kind.FOLDER:
            at.member = member

    def open(self, member: Member) -> Source:
        """The data of a member."""
        if self._tar is not None:
            # Of a hard link the data is that of the member it is a name of; of others nothing is kept.
            self._tar.fileobj.seek(member.data)
            info = tarfile.TarInfo.fromtarfile(self._tar)
            stream = self._tar.extractfile(info)
            if stream is None:
                raise Unreadable(Code.DAMAGED, "it has no data")
            return StreamSource(stream, info.size, "the member")
        offset, size = member.data
        source = SliceSource(self.source, offset, size)
        if source.size < size:
            raise Unreadable(Code.TRUNCATED, f"the archive ends after {source.size} of its {size} bytes")
        return source

    def _tar_members(self, given: Given) -> Iterator[tuple[str, Member]]:
        try:
            self._tar = tarfile.TarFile(
                fileobj=given.file(), mode="r", errors="surrogateescape", encoding="utf-8"
            )
            for number, info in enumerate(self._members_of(self._tar)):
                yield info.name, self._of_tar(info, number)
        except (tarfile.TarError, EOFError) as error:
            self.broken = f"the archive cannot be read on: {error}"

    @staticmethod
    def _members_of(archive: Any) -> Iterator[tarfile.TarInfo]:
        """The members in their order; tarfile's own list of them is not let grow."""
        while (info := archive.next()) is not None:
            yield info
            archive.members.clear()

    def _called(self, path: str) -> Member | None:
        """The member of this path that stands before, for a hard link to it."""
        at: Folder | None = self.root
        for name in path.split("/"):
            if at is not None and name not in ("", "."):
                at = at.below.get(name)
        return None if at is None else at.member

    def _of_tar(self, info: tarfile.TarInfo, number: int) -> Member:
        kind = _TAR_KINDS.get(info.type, Kind.UNKNOWN)
        size, data = info.size, info.offset
        if info.islnk():
            # The same file by another name, which has to stand before it.
            other = self._called(info.linkname)
            if other is not None:
                kind, size, data = other.stat.kind, other.stat.size or 0, other.data
        modified = int(info.mtime * 10**9) if isinstance(info.mtime, float) else info.mtime * 10**9
        text = info.pax_headers.get("mtime")
        return Member(
            stat=Stat(
                kind=kind, size=size if kind is Kind.FILE else 0, mode=info.mode & 0o7777, uid=info.uid,
                gid=info.gid, inode=number, modified=modified if text is None else _decimal(text),
                device=(info.devmajor, info.devminor) if kind is Kind.DEVICE else None,
            ),
            target=info.linkname, data=data,
        )  # fmt: skip

    def _cpio(self) -> Iterator[tuple[str, Member]]:
        at = 0
        links: dict[tuple[int, int, int], list[Member]] = {}
        while at < self.source.size:
            head = self.source.read_at(at, 110)
            try:
                fields, header, align = _cpio_fields(head)
            except (ValueError, struct.error):
                self.broken = f"no member begins at {at}, where one should"
                return
            raw = self.source.read_at(at + header, fields["namesize"])
            name = raw.rstrip(b"\0").decode("utf-8", "surrogateescape")
            if name == "TRAILER!!!":
                return
            data = at + -(-(header + fields["namesize"]) // align) * align
            size = fields["filesize"]
            kind = kind_of(fields["mode"])
            stat = Stat(
                kind=kind, size=size if kind in (Kind.FILE, Kind.LINK) else 0, mode=fields["mode"] & 0o7777,
                uid=fields["uid"], gid=fields["gid"], inode=fields["ino"], links=fields["nlink"],
                modified=fields["mtime"] * 10**9, device=fields["rdev"] if kind is Kind.DEVICE else None,
            )  # fmt: skip
            target = ""
            if kind is Kind.LINK:
                target = self.source.read_at(data, min(size, 1 << 16)).decode("utf-8", "surrogateescape")
            member = Member(stat=stat, target=target, data=(data, size))
            if kind is Kind.FILE and fields["nlink"] > 1:
                # Of a file of several names newc has the data once, with the last of them.
                same = links.setdefault(fields["identity"], [])
                for each in (*same, member) if size else ():
                    each.__dict__.update(stat=each.stat.replaced(size=size), data=(data, size))
                same.append(member)
            yield name, member
            at = -(-(data + size) // align) * align


def _decimal(text: str) -> int:
    """Nanoseconds of seconds as a decimal fraction, as pax has them."""
    whole, _, part = text.partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole or 0) * 10**9 + sign * int(part[:9].ljust(9, "0") or 0)


def _cpio_fields(head: bytes) -> tuple[dict[str, Any], int, int]:
    """The fields of a member's header, how long that is, and to what its parts are aligned."""
    if head[:6] in (b"070701", b"070702"):
        numbers = [int(head[at : at + 8], 16) for at in range(6, 110, 8)]
        ino, mode, uid, gid, nlink, mtime, size, dev_a, dev_b, r_a, r_b, names, _ = numbers
        identity, rdev, header, align = (dev_a, dev_b, ino), (r_a, r_b), 110, 4
    elif head[:6] == b"070707":
        spans = (6, 12, 18, 24, 30, 36, 42, 48, 59, 65, 76)
        dev, ino, mode, uid, gid, nlink, rdev_, mtime, names, size = (
            int(head[start:end], 8) for start, end in pairwise(spans)
        )
        identity, rdev, header, align = (dev, 0, ino), (rdev_ >> 8, rdev_ & 0xFF), 76, 1
    else:
        order = {b"\xc7\x71": "<", b"\x71\xc7": ">"}.get(head[:2])
        if order is None:
            raise ValueError("no member of cpio")
        _, dev, ino, mode, uid, gid, nlink, rdev_, m_high, m_low, names, s_high, s_low = struct.unpack(
            f"{order}13H", head[:26]
        )
        mtime, size = m_high << 16 | m_low, s_high << 16 | s_low
        identity, rdev, header, align = (dev, 0, ino), (rdev_ >> 8, rdev_ & 0xFF), 26, 2
    if not 0 < names <= 1 << 16:
        raise ValueError("no name")
    return {
        "ino": ino, "mode": mode, "uid": uid, "gid": gid, "nlink": nlink, "mtime": mtime, "filesize": size,
        "namesize": names, "rdev": rdev, "identity": identity,
    }, header, align  # fmt: skip


def open_volume(given: Given) -> Volume:
    """As the room's; raises Refused."""
    archive = Archive(given)
    if not archive.root.below and archive.broken is not None:
        raise Refused(archive.broken)
    return Volume(root=archive.root, errors=(tarfile.TarError,))
