"""Whether the places that a table gives for a disk's blocks can all be right: for VHD, VHDX and VDI."""

from collections.abc import Iterable, Iterator

from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError

_TOLD = 64


def misplaced(blocks: Iterable[tuple[int, int]], size: int, file_size: int) -> Iterator[Problem]:
    """Blocks that overlap one another, or do not lie in the file.

    ``blocks``: the number of each that is there, and where it begins in the file; ``size``: the bytes that
    each takes there. Where the table itself cannot be read, that is told, and what was read before is
    looked at.
    """
    found: list[tuple[int, int]] = []
    try:
        found += ((start, number) for number, start in blocks)
    except ReadError as error:
        yield Problem(Code.DAMAGED, f"its table of blocks cannot be read: {error}")
    found.sort()
    told = 0
    for at, (start, number) in enumerate(found):
        said = None
        if start >= file_size:
            said = f"block {number} of the disk would begin at byte {start}, and the file ends at {file_size}"
        elif at and start < found[at - 1][0] + size:
            said = f"blocks {found[at - 1][1]} and {number} of the disk overlap at byte {start} of the file"
        if said is not None and told < _TOLD:
            told += 1
            yield Problem(Code.DAMAGED, said)
