"""zip archives, as the files in them; one with a single disk image is a container (``containers/zip.py``).

Layout: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification",
https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from pyimount.formats import FileReader, Format, Identity, Json, Precedence, Signature, Usage
from pyimount.parsers.archives.payloads import no_disk
from pyimount.sources.view import View

MEMBER = b"PK\3\4"
EMPTY = b"PK\5\6"
"""With what an archive of nothing begins: the end of its directory."""


def parse(view: View) -> Identity:
    """What the directory says of the archive."""
    from pyimount.parsers.containers.zip_directory import ENCRYPTED, Directory

    directory = Directory(view.source)
    size = encrypted = files = 0
    for member in directory:
        size += member.file_size
        files += member.is_file
        encrypted += bool(member.flag_bits & ENCRYPTED)
    details: dict[str, Json] = {
        "members": directory.count,
        "files": files,
        "unpacked_size": size,
        "encrypted_members": encrypted,
        "comment": directory.comment.decode("utf-8", "backslashreplace") or None,
    }
    problem = no_disk(f"this is an archive of {files} files", "'pyimount ls' lists them, unzip unpacks it")
    return Identity(type="zip", fs_size=view.size, details=details, problems=(problem,))


FORMAT = Format(
    name="zip_archive",
    title="zip archive",
    specification="https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT",
    usage=Usage.OTHER,
    types=("zip",),
    parse=parse,
    signatures=(Signature(MEMBER, 0), Signature(EMPTY, 0)),
    precedence=Precedence.WEAK,
    unmountable="it is an archive, not a file system: unzip unpacks it",
    files=(FileReader("zip_files", "zlib", "Python"),),
)
