"""tar archives whose first header has no magic: those of Unix Version 7, and GNU's with a volume label.

Layout: see tar.py.
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from pyimount.formats import FileReader, Format, Identity, NotThisFormat, Precedence, Usage
from pyimount.sources.view import View

BLOCK = 512
CHECKSUM = slice(148, 156)
TYPEFLAG = slice(156, 157)
LATER = slice(257, 329)
"""Where later headers have magic, version, user and group."""


def parse(view: View) -> Identity:
    """The identity of a tar archive whose first header's checksum is right, and has nothing of later ones."""
    raw = view.read(0, BLOCK)
    digits = raw[CHECKSUM].strip(b" \0")
    if not digits.isdigit() or any(raw[LATER]) or raw[TYPEFLAG] not in b"\x00012345V":
        raise NotThisFormat("no header of a tar archive")
    # Only now: this is asked of everything that nobody else knows.
    from pyimount.parsers.archives import tar

    return tar.identity(raw)


FORMAT = Format(
    name="tar_v7",
    title="tar archive without a magic",
    specification="https://www.gnu.org/software/tar/manual/html_node/Standard.html",
    usage=Usage.OTHER,
    types=("tar",),
    parse=parse,
    precedence=Precedence.WEAK,
    unmountable="it is an archive, not a file system: tar -x unpacks it",
    files=(FileReader("archives", "tarfile", "Python"),),
)
