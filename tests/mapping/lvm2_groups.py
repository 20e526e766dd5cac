"""Volume groups in tests: the committed one, and such as are written by hand."""

import tarfile
from collections.abc import Mapping, Sequence
from functools import cache
from textwrap import dedent

from fixtures.recipes.lvm2 import MDA, MDA_SIZE, MIB, SIZE, area, label
from fixtures.workshop import IMAGES
from pyimount.mapping import lvm2
from pyimount.mapping.assembly import Assembly, Mapped, Member
from pyimount.parsers.volumes.lvm2 import FORMAT, MDA_HEADER, RAW_LOCN, crc
from pyimount.sources.source import Source
from tests.kept import put
from tests.mapping.volume_members import members_of, opened

EXTENT = 64 << 10
VG = "6kN0s0-Mesh-4prG-fSwR-fYM7-cBLc-i50LJI"


@cache
def kept_group() -> tuple[bytes, ...]:
    """The images of the committed group's physical volumes."""
    with tarfile.open(IMAGES / "lvm2-group.tar.xz") as archive:
        files = [archive.extractfile(member) for member in archive]
        return tuple(file.read() for file in files if file is not None)


def pv_uuid(number: int) -> str:
    return f"{number:06}-0000-0000-0000-0000-0000-000000"


def pv_text(number: int, more: str = "") -> str:
    return (
        f'pv{number} {{ id = "{pv_uuid(number)}" dev_size = {SIZE // 512} pe_start = {2 * MIB // 512} '
        f"pe_count = {(SIZE - 2 * MIB) // EXTENT} {more} }}"
    )


def lv_text(name: str, segments: Sequence[str], *, visible: bool = True, flags: str = "") -> str:
    """A logical volume; each of ``segments`` is the text of one, and has its own places."""
    parts = "\n".join(f"segment{number + 1} {{ {text} }}" for number, text in enumerate(segments))
    status = '["VISIBLE"]' if visible else "[]"
    return f'{name} {{ id = "{name}" status = {status} flags = [{flags}] {parts} }}'


def segment(kind: str, count: int, more: str, start: int = 0) -> str:
    return f'start_extent = {start} extent_count = {count} type = "{kind}" {more}'


def linear(count: int, over: str, at: int, start: int = 0) -> str:
    return segment("striped", count, f'stripe_count = 1 stripes = ["{over}", {at}]', start)


def group_text(
    volumes: Sequence[str], pvs: Sequence[str], *, seqno: int = 1, extent: int = EXTENT, uuid: str = VG
) -> bytes:
    return (
        dedent(f"""\
        by-hand {{
        id = "{uuid}"
        seqno = {seqno}
        extent_size = {extent // 512}
        physical_volumes {{ {" ".join(pvs)} }}
        logical_volumes {{
        """)
        + "\n".join(volumes)
        + '\n} }\ncontents = "Text Format Volume Group"\nversion = 1\n\0'
    ).encode()


def pv_image(number: int, text: bytes) -> bytearray:
    """A physical volume, each extent of which holds its own number and the volume's."""
    image = bytearray(SIZE)
    put(image, 512, label(uuid=pv_uuid(number)))
    put(image, MDA, area(text, size=MDA_SIZE))
    for extent in range((SIZE - 2 * MIB) // EXTENT):
        put(image, 2 * MIB + extent * EXTENT, extent_content(number, extent))
    return image


def extent_content(number: int, extent: int) -> bytes:
    return bytes([number + 1, extent + 1]) * (EXTENT // 2)


def said(image: bytes | bytearray) -> bytes:
    """The metadata text on a physical volume that LVM made, which lies in one piece there."""
    start, size = _place(image)
    return bytes(image[start : start + size])


def resaid(image: bytes | bytearray, text: bytes) -> bytearray:
    """The same physical volume with another text, which may not be longer."""
    changed = bytearray(image)
    start, size = _place(image)
    text = text.rstrip(b"\0").ljust(size - 1, b"\n") + b"\0"
    put(changed, start, text)
    put(changed, MDA + MDA_HEADER.size + 16, crc(text).to_bytes(4, "little"))
    return changed


def _place(image: bytes | bytearray) -> tuple[int, int]:
    head = bytes(image[MDA : MDA + 512])
    where = RAW_LOCN.construct.parse(head[MDA_HEADER.size :])
    assert where.offset + where.size <= MDA_HEADER.construct.parse(head).size
    return MDA + where.offset, where.size


def only(text: bytes, names: Sequence[str]) -> bytes:
    """A text with only these logical volumes in it."""
    before, _, rest = text.partition(b"logical_volumes {")
    kept, depth, start = b"", 0, 0
    for at, byte in enumerate(rest):
        if byte == ord("{"):
            depth += 1
        elif byte == ord("}"):
            if depth == 0:
                # Where one section ends on a line of its own, so must the next: dissect reads lines.
                return before + b"logical_volumes {" + kept + b"\n" + rest[at:]
            depth -= 1
            if depth == 0:
                if rest[start:at].split()[0].decode() in names:
                    kept += rest[start : at + 1]
                start = at + 1
    raise ValueError("the text ends inside a section")


class Put:
    """What images of physical volumes make up."""

    def __init__(self, images: Sequence[bytes | bytearray], without: Sequence[int] = ()) -> None:
        there = [image for number, image in enumerate(images) if number not in without]
        self.members: list[Member] = members_of(FORMAT, there)
        self.assembly: Assembly = lvm2.assemble(self.members)
        self.volumes: Mapping[str, Mapped] = {volume.name or "": volume for volume in self.assembly.volumes}

    def open(self, name: str) -> Source:
        return opened(lvm2, self.volumes[name], self.members)

    def read(self, name: str) -> bytes:
        source = self.open(name)
        return source.read_at(0, source.size)


def by_hand(*volumes: str, pvs: int = 2) -> Put:
    """A group written by hand, of ``pvs`` physical volumes."""
    text = group_text(volumes, [pv_text(number) for number in range(pvs)])
    return Put([pv_image(number, text) for number in range(pvs)])
