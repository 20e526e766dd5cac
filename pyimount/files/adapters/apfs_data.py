"""The data of APFS files by dissect.apfs's extents, which it looks up; read here from where they lie.

Apple File System Reference, "Data Streams": the extents of a clone are those of the inode that it is one of,
and an extent at block 0 is a hole. dissect.apfs 1.1 looks for a clone's extents under the clone's own number,
reads the container's first blocks for a hole, reads an extent as a whole whatever is wanted of it, and loses
what follows when a read begins within one and goes beyond it.
"""

from typing import Any

from dissect.apfs.stream import FileStream

from pyimount.files.reading import Unreadable
from pyimount.problems import Code

_HOLE = 0


class Data(FileStream):  # type: ignore[misc]
    """The data of a file."""

    def _read(self, offset: int, length: int) -> bytes:
        parts = []
        while length > 0:
            start, place, size, crypto = self._lookup(offset)
            if not start <= offset < start + size:
                raise ValueError(f"no extent of the file is at {offset}")
            count = min(start + size - offset, length)
            parts.append(self._piece(place, (offset - start) // self.align, count, crypto))
            offset, length = offset + count, length - count
        return b"".join(parts)

    def _piece(self, place: int, first: int, count: int, crypto: int) -> bytes:
        """So many bytes of the extent at ``place`` from its block ``first`` on."""
        if place == _HOLE:
            return bytes(count)
        container = self.volume.container
        data: bytes = container._read_block(place + first, -(-count // self.align))[:count]
        if not self.volume.is_encrypted:
            return data
        if not self.volume._cipher or not self.volume.is_onekey:
            raise Unreadable(Code.UNSUPPORTED, "it has a key of its own, by which it is not read")
        plain: bytes = self.volume._cipher.decrypt(data, (crypto + first) * container.sectors_per_block)
        return plain


def data_of(node: Any) -> Any:
    """The data of an inode as a file object."""
    if node.is_compressed():
        return node.open()
    return Data(node.volume, node.private_id, node.size)
