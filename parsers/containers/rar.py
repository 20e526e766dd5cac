"""RAR archives. They are recognised, and not read.

Layout: RARLAB, "RAR 5.0 archive format", https://www.rarlab.com/technote.htm, with the mark of RAR 1.5 to 4.
"""

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Signature
from pyimount.parsers.containers.unread import open_unread
from pyimount.sources.view import View

OLD, NEW = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"
MAIN_HEAD = 0x73
"""The type of the block that follows the mark of an older archive."""


def parse(view: View) -> Container:
    """Which of the two formats it is."""
    is_new = view.peek(0, len(NEW)) == NEW
    if not is_new and view.read(len(OLD), 3)[2] != MAIN_HEAD:
        raise NotThisFormat("no archive's header follows the mark")
    details: dict[str, Json] = {
        "stored_size": view.size,
        "version": "5" if is_new else "4",
        "unpacked_by": "unrar x, unar",
    }
    return Container(type="rar", details=details)


FORMAT = ContainerFormat(
    name="rar",
    title="RAR, recognised only",
    mapped=False,
    specification="https://www.rarlab.com/technote.htm",
    parse=parse,
    open=open_unread,
    signatures=(Signature(OLD, 0), Signature(NEW, 0)),
    types=("rar",),
    wraps=True,
)
