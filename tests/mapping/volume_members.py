"""Members of volumes in tests: from images to what an assembler gets, and on to a volume's bytes."""

from collections.abc import Sequence
from hashlib import shake_128
from types import ModuleType

from pyimount.formats import Format
from pyimount.mapping.assembly import Assembly, Mapped, Member, by_members
from pyimount.problems import Code
from pyimount.sources.source import BytesSource, Source
from pyimount.sources.view import View


def content(size: int) -> bytes:
    """Bytes that look like any, the same each time."""
    return shake_128(b"volumes").digest(size)


def members_of(declared: Format, images: Sequence[bytes | bytearray]) -> list[Member]:
    """What the scan makes of images that are members."""
    found = []
    for number, image in enumerate(images):
        source = BytesSource(bytes(image))
        identity = declared.parse(View(source))
        assert identity.group is not None
        found.append(
            Member(
                id=number, index=f"{number + 1}.0", membership=identity.group, details=identity.details,
                source=source,
            )
        )  # fmt: skip
    return found


def assembled(
    declared: Format, module: ModuleType, images: Sequence[bytes | bytearray]
) -> tuple[Assembly, list[Member]]:
    """The assembly of these images, and the members it was made of."""
    members = members_of(declared, images)
    assembly: Assembly = module.assemble(members)
    return assembly, members


def opened(module: ModuleType, mapped: Mapped, members: Sequence[Member]) -> Source:
    """The bytes of a volume."""
    source: Source = module.open_mapped(mapped.parameters, by_members(members, mapped.members))
    assert source.size == mapped.size
    return source


def codes(mapped: Mapped | Assembly) -> list[Code]:
    """The codes of its problems."""
    return [problem.code for problem in mapped.problems]
