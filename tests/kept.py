"""The committed images as bytes, to be damaged in tests."""

import tarfile
from functools import cache

from fixtures.workshop import IMAGES
from pyimount.formats import Format, Identity, NotThisFormat
from pyimount.scanning.space import with_space
from pyimount.sources.source import BytesSource
from pyimount.sources.view import ShortRead, View


@cache
def _first_file(name: str) -> bytes:
    with tarfile.open(IMAGES / f"{name}.tar.xz") as archive:
        member = archive.next()
        source = archive.extractfile(member) if member else None
        if source is None:
            raise ValueError(f"{name} holds no file")
        return source.read()


def kept(name: str, size: int | None = None) -> bytearray:
    """A copy of the committed image called ``name``, or of its first ``size`` bytes."""
    return bytearray(_first_file(name)[:size])


def put(image: bytearray, offset: int, data: bytes) -> None:
    """Write ``data`` into ``image`` at ``offset``, which it must not outgrow."""
    if offset < 0 or offset + len(data) > len(image):
        raise ValueError(f"{len(data)} bytes at {offset} of {len(image)}")
    image[offset : offset + len(data)] = data


def ask(declared: Format, image: bytes | bytearray) -> Identity | None:
    """What a format says of these bytes; None where it says that they are not its own."""
    try:
        return declared.parse(View(BytesSource(bytes(image))))
    except (NotThisFormat, ShortRead):
        return None


def recognise(declared: Format, image: bytes | bytearray) -> Identity:
    """The same, where it must know them."""
    found = ask(declared, image)
    assert found is not None, f"{declared.name} does not recognise it"
    return found


def counted(declared: Format, image: bytes | bytearray, *, whole: bool = False) -> Identity:
    """The same, with what its allocation structures say is free, as a scan has it."""
    return with_space(recognise(declared, image), whole=whole)


def codes(found: Identity) -> list[str]:
    """The codes of an identity's problems."""
    return [problem.code.value for problem in found.problems]
