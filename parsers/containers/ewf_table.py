"""The tables of an Expert Witness image (E01, S01): where its chunks stand.

Layout: "Expert Witness Compression Format specification", "Table section", libewf's documentation
https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%20(EWF).asciidoc
"""

from pyimount.parsers.containers.chunks import inflate, packed_bound, read_checked
from pyimount.parsers.containers.runs import EntryTable
from pyimount.sources.errors import ReadError
from pyimount.sources.source import Source

COMPRESSED = 0x80000000
"""The flag of an entry; the other bits are an offset."""


class Table:
    """The chunks that a table section lists; they lie in ``source``.

    ``extent``: where their data begin at the earliest and end at the latest, in bytes from the start of the
    file. ``flaw``: what its checksums say against it.
    """

    def __init__(
        self,
        source: Source,
        base_offset: int,
        entries: EntryTable,
        extent: tuple[int, int],
        flaw: str | None = None,
    ) -> None:
        self.source = source
        self.entries = entries
        self.flaw = flaw
        self._base_offset = base_offset
        self._begin, self._end = extent
        self._turn: int | None = None

    def load(self, index: int, chunk_size: int, wanted: int, *, always_packed: bool) -> bytes:
        """The chunk of an entry, ``wanted`` bytes at least; raises ReadError when it is damaged or cut.

        An entry is 31 bits of offset and a flag. EnCase 6.7 also filled segments beyond 2 GiB, and used all
        32 bits for the offset there: the chunk's own checksum tells which it is.
        """
        entry = self.entries[index]
        turned = index >= self._turning()
        try:
            return self._load(
                index, turned, chunk_size, wanted, packed=self._packed(entry, turned) or always_packed
            )
        except ReadError:
            if not entry & COMPRESSED or not self._spans_far():
                raise
            for flag in (False, True):
                try:
                    return self._load(index, True, chunk_size, wanted, packed=flag)
                except ReadError:
                    continue
            raise

    def place(self, index: int, chunk_size: int) -> tuple[int, int]:
        """Where the chunk of an entry stands, as the entries tell, and how many bytes it takes at most."""
        turned = index >= self._turning()
        offset = self._offset(index, turned)
        following = index + 1 < self.entries.count
        end = self._offset(index + 1, turned or index + 1 >= self._turning()) if following else self._end
        return offset, min(max(0, end - offset), packed_bound(chunk_size))

    def lists_the_same(self, other: "Table") -> bool:
        """Whether another table has the same entries."""
        if (self.entries.count, self._base_offset) != (other.entries.count, other._base_offset):
            return False
        return all(self.entries[index] == other.entries[index] for index in range(self.entries.count))

    def _load(self, index: int, turned: bool, chunk_size: int, wanted: int, *, packed: bool) -> bytes:
        offset = self._offset(index, turned)
        following = index + 1 < self.entries.count
        end = self._offset(index + 1, turned or index + 1 >= self._turning()) if following else self._end
        stored = end - offset
        if packed:
            bound = packed_bound(chunk_size)
            return inflate(
                self.source.read_at(offset, min(stored, bound) if stored > 0 else bound), chunk_size
            )
        # The last one may be stored in full although the disk ends within it.
        length = stored - 4 if wanted <= stored - 4 <= chunk_size else wanted
        return read_checked(self.source, offset, length)

    def _packed(self, entry: int, turned: bool) -> bool:
        return bool(entry & COMPRESSED) and not turned

    def _offset(self, index: int, turned: bool) -> int:
        entry = self.entries[index]
        return self._base_offset + (entry if turned else entry & ~COMPRESSED)

    def _spans_far(self) -> bool:
        return self._end - self._base_offset > COMPRESSED

    def _turning(self) -> int:
        """The first entry whose highest bit is part of its offset: without it the offsets would not rise."""
        if self._turn is None:
            self._turn = self.entries.count
            if self._spans_far():
                before = self._begin - self._base_offset
                for index in range(self.entries.count):
                    offset = self.entries[index] & ~COMPRESSED
                    if offset < before:
                        self._turn = index
                        break
                    before = offset
        return self._turn
