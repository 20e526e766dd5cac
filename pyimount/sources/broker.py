"""Which files may be opened: the image, its segments, and what lies beside it; no more."""

import os
from collections.abc import Iterable
from itertools import islice

from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError
from pyimount.sources.file import FileSource

_LISTING_CAP = 1 << 14
_NAMES_CAP = 64


class Broker:
    """Opens files by policy.

    An image may name other files: a backing file, extents, an external data file. The name is
    the image's, so it may be anything; it is followed only to a file that lies, links resolved,
    in the image's own folder or below one of ``allow``.
    """

    def __init__(self, allow: Iterable[str | os.PathLike[str]] = ()) -> None:
        self.allow = tuple(os.path.realpath(folder) for folder in allow)

    def open(self, path: str, meter: Meter) -> FileSource:
        """Open a path that the user named; raises OpenError."""
        return FileSource(path, meter)

    def open_named(self, name: str, image: str, meter: Meter) -> FileSource:
        """Open the file that ``image`` calls ``name``.

        Only the last part of the name counts unless a folder is allowed: an absolute path or one
        with folders is looked for beside the image first. Raises OpenError, which says whether
        the file is missing or not allowed.
        """
        base = os.path.dirname(os.path.realpath(image))
        wanted = name.replace("\\", "/")
        beside = os.path.basename(wanted.rstrip("/"))
        # Without an allowed folder, no other place is even looked at: it may be a network's.
        for part in (beside, wanted) if self.allow else (beside,):
            try:
                real = os.path.realpath(os.path.join(base, part))
                if not self._allowed(real, base):
                    continue
                os.stat(real)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                raise OpenError(f"the image names a file that cannot be: {error}") from error
            return FileSource(real, meter)
        raise OpenError(
            f"the image names {name!r}: there is no such file beside it"
            + (
                ", and files elsewhere are opened only below a folder that is allowed (--allow)"
                if beside != name
                else ""
            )
        )

    def names_beside(self, image: str, suffix: str) -> list[str]:
        """The names in the image's folder that end in ``suffix``, in whatever case, sorted; a few at most."""
        try:
            with os.scandir(os.path.dirname(os.path.realpath(image))) as entries:
                names = [entry.name for entry in islice(entries, _LISTING_CAP)]
        except OSError:
            return []
        return sorted(name for name in names if name.lower().endswith(suffix))[:_NAMES_CAP]

    def _allowed(self, real: str, base: str) -> bool:
        inside = os.path.join(real, "")
        return os.path.dirname(real) == base or any(
            inside.startswith(os.path.join(folder, "")) for folder in self.allow
        )
