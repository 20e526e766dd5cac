"""What an Expert Witness image keeps of itself: hashes of its disk, checksums of chunks and sections."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from pyimount.formats import Container, NotThisFormat
from pyimount.formats.image import Image
from pyimount.formats.stored import CheckedBytes, Pieces, Stored, of_digests
from pyimount.problems import Code, Problem
from pyimount.sources.errors import ReadError
from pyimount.sources.view import ShortRead, View


def stored_of(
    made: Container,
    image: Image,
    segments: Sequence[str],
    problems_of: Callable[[View, str], Iterable[Problem]],
    *,
    algorithms: tuple[str, ...],
    structural: str,
    told_better: frozenset[Code] = frozenset(),
) -> Stored:
    """What the image that was ``made`` of these segments, by their names, is held against.

    ``problems_of``: reads all of one segment, and says what is wrong in it. ``algorithms``: of the hashes
    that the format keeps. ``structural``, ``told_better``: as Stored has them.
    """
    files = dict(zip(image.names, image.files, strict=True))

    def structures() -> Iterator[Problem]:
        for name in segments:
            try:
                yield from problems_of(View(files[name]), name)
            except (NotThisFormat, ShortRead, ReadError) as error:
                yield Problem(Code.DAMAGED, f"{name} cannot be read as a segment: {error}")

    size = made.details.get("chunk_size")
    pieces = Pieces(algorithm="Adler-32", what="chunk", size=size if isinstance(size, int) else None)
    disk = CheckedBytes(hashes=of_digests(made.details, algorithms), pieces=pieces)
    return Stored(checked=(disk,), structures=structures, structural=structural, told_better=told_better)
