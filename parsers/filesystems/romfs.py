"""romfs, the ROM file system.

Layout: kernel.org, Documentation/filesystems/romfs, "the header"
https://www.kernel.org/doc/html/latest/filesystems/romfs.html
"""

from struct import unpack

from construct import Bytes, Const, Int32ub, Struct

from pyimount.formats import Format, Identity, KernelMount, NotThisFormat, Signature, Usage
from pyimount.formats.layouts import layout, read_struct
from pyimount.formats.notation import text
from pyimount.problems import Code, Problem
from pyimount.sources.view import ShortRead, View

MAGIC = b"-rom1fs-"
HEADER = layout(
    lambda: Struct(
        "magic" / Const(MAGIC),
        "full_size" / Int32ub,
        "checksum" / Int32ub,
        # NUL-terminated, padded to 16 bytes; libblkid looks at the first 16.
        "volume_name" / Bytes(16),
    )
)
SUMMED = 512
"""The checksum covers so many bytes, or all if there are fewer."""


def parse(view: View) -> Identity:
    """The identity of a romfs file system."""
    header = read_struct(view, HEADER, 0)
    size = header.full_size
    if size < HEADER.size:
        raise NotThisFormat(f"a file system of {size} bytes")
    checked, problems = False, []
    try:
        words = unpack(f">{min(size, SUMMED) // 4}I", view.read(0, min(size, SUMMED) & ~3))
    except ShortRead:
        problems.append(Problem(Code.BAD_CHECKSUM, "the bytes that the checksum covers are not all there"))
    else:
        checked = sum(words) & 0xFFFFFFFF == 0
        if not checked:
            problems.append(Problem(Code.BAD_CHECKSUM, "the checksum of the header does not match"))
    return Identity(
        type="romfs",
        fstype="romfs",
        label=text(header.volume_name),
        block_size=1024,
        fs_size=size,
        free=0,
        free_from="a format that is written once",
        checked=checked,
        details={"full_size": size},
        problems=tuple(problems),
    )


FORMAT = Format(
    name="romfs",
    title="romfs",
    specification="https://www.kernel.org/doc/html/latest/filesystems/romfs.html",
    usage=Usage.FILESYSTEM,
    types=("romfs",),
    parse=parse,
    signatures=(Signature(MAGIC, 0),),
    mounts=(KernelMount("romfs", maintained=False),),
)
