"""zip: a disk image, or another container, as the only file in an archive, or the only one of its kind.

Layout: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification",
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from pyimount.formats import Container, ContainerFormat, Json, NotThisFormat, Opened, Signature
from pyimount.formats.image import Image
from pyimount.formats.stored import CheckedBytes, Pieces, Stored
from pyimount.parsers.containers.zip_directory import ENCRYPTED, MAGIC, STORED, Directory, Member, method
from pyimount.parsers.containers.zip_methods import unpacker, why_unread
from pyimount.problems import Code, Problem
from pyimount.sources.view import View

_DISK_SUFFIXES = frozenset(
    (
        *("aff", "aff4", "dd", "dmg", "e01", "ex01", "hdd", "ima", "image", "img", "iso", "qcow", "qcow2"),
        *("raw", "sparseimage", "vdi", "vfd", "vhd", "vhdx", "vma", "vmdk"),
    )
)


def parse(view: View) -> Container:
    """What the directory says of the archive, and of the file in it that is the image."""
    directory = Directory(view.source)
    member = _image(directory)
    if member is None:
        raise NotThisFormat(f"an archive of {directory.count} members, and not of a disk")
    details: dict[str, Json] = {
        "stored_size": view.size,
        "members": directory.count,
        "name": member.filename,
        "compression": method(member),
        "crc32": f"{member.crc:08x}",
        "encryption": "zip" if member.flag_bits & ENCRYPTED else None,
        # Local time: a zip file does not say where.
        "modified": member.modified,
    }
    return Container(type="zip", size=member.file_size, details=details)


def _image(directory: Directory) -> Member | None:
    """The only file, or the only one that is called what images are called."""
    files: list[Member] = []
    disks: list[Member] = []
    for member in directory:
        if member.is_file:
            files = [*files, member][:2]
            if member.filename.rpartition(".")[2].lower() in _DISK_SUFFIXES:
                disks = [*disks, member][:2]
    chosen = files if len(files) == 1 else disks
    return chosen[0] if len(chosen) == 1 else None


def open(container: Container, image: Image) -> Opened:  # noqa: A001
    """The file inside."""
    directory = Directory(image.files[0])
    member = _image(directory)
    if member is None:
        raise NotThisFormat("the archive has changed since it was recognised")
    if member.flag_bits & ENCRYPTED:
        problem = Problem(Code.LOCKED, f"{member.filename} is encrypted, and is not read")
    elif member.compress_type != STORED and unpacker(member.compress_type) is None:
        message = f"{member.filename} is packed by {method(member)}{why_unread(member.compress_type)}"
        problem = Problem(Code.UNSUPPORTED, message)
    else:
        checked = CheckedBytes(
            name="the file in the zip", pieces=Pieces(algorithm="CRC-32", what="member", in_order=True)
        )
        source = directory.source(member, image.meter)
        return Opened(container=container, source=source, stored=Stored(checked=(checked,)))
    return Opened(container=container.replaced(problems=(problem,)), source=None)


FORMAT = ContainerFormat(
    name="zip",
    title="zip",
    specification="https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT",
    parse=parse,
    open=open,
    signatures=(Signature(MAGIC, 0),),
    types=("zip",),
    wraps=True,
)
