"""Whether the end of a disk may hold RAID metadata that does not stand at its very end.

DDF's anchor header belongs into the last block. Some controllers put it up to 32 MiB before, and so does a
copy to a larger disk; mdadm looks there for that reason. Reading 32 MiB of every disk would cost too much: a
few bytes of each of its parts tell whether records in DDF's manner can be there at all, which fill with ones
what they do not use.
"""

from collections.abc import Iterator

from pyimount.formats import Format, Identity, Table
from pyimount.recognition.registry import volume_format
from pyimount.sources.view import View

TAIL = 32 << 20
"""Bytes before the end of the disk within which the anchor may lie."""
_STEP = 128 << 10
_WHOLE = 1 << 20
_ONES = b"\xff" * 8
_MAGICS = (b"\xde\x11\xde\x11", b"\x11\xde\x11\xde")


def tail_formats(view: View, tables: list[Table], identities: list[Identity]) -> Iterator[Format]:
    """Formats to ask about a whole disk whose last part nothing takes, by what that part looks like."""
    if view.disk_offset != 0 or view.part_type is not None or view.size <= TAIL:
        return
    if _taken(view, tables, identities) > view.size - TAIL:
        return
    if _may_hold_records(view):
        declared = volume_format("ddf")
        if declared is not None:
            yield declared


def _taken(view: View, tables: list[Table], identities: list[Identity]) -> int:
    """The end of all that was recognised; the disk's, where a volume does not say how large it is."""
    ends = [each.offset + each.size for table in tables for each in table.partitions]
    ends += [each.offset + each.size for table in tables for each in table.meta]
    ends += [view.size if each.fs_size is None else each.fs_size for each in identities]
    return max(ends, default=0)


def _may_hold_records(view: View) -> bool:
    end = view.size // 512 * 512
    if _ONES in view.glances([(at, len(_ONES)) for at in range(end - TAIL, end, _STEP)]):
        return True
    # The anchor itself, on a disk of large sectors, or where it lies whole mebibytes early.
    places = (end - 4096, *(at - 512 for at in range(end - TAIL, end, _WHOLE)))
    return any(magic in _MAGICS for magic in view.glances([(at, 4) for at in places]))
