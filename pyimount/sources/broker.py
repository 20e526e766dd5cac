"""Which files may be opened: the image, its segments, and what lies beside it; no more."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice

from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError
from pyimount.sources.file import FileSource
from pyimount.sources.pool import POOL
from pyimount.sources.source import NamedSource, Source
from pyimount.sources.urls import is_url

LISTING_CAP = 1 << 14
FOLDERS = frozenset(("bands",))
"""The folders beside an image in which formats keep their files: a closed list, no name is an image's."""
_NAMES_CAP = 64


class Broker:
    """Opens files by policy.

    An image may name other files: a backing file, extents, an external data file. The name is
    the image's, so it may be anything; it is followed only to a file that lies, links resolved,
    in the image's own folder or below one of ``allow``.

    ``descriptors``: files that somebody else has opened, by their paths with links resolved. Where it is
    given, these are all the files there are: no path is opened, no folder listed. ``objects``: what makes
    sources of files that the caller has opened, by the names that they go by. ``marks``: of files elsewhere,
    by what is shown of them, the marks that they had when they were scanned: another state is not opened.
    """

    def __init__(
        self,
        allow: Iterable[str | os.PathLike[str]] = (),
        descriptors: Mapping[str, int] | None = None,
        objects: Mapping[str, Callable[[Meter], Source]] | None = None,
        marks: Mapping[str, object] | None = None,
    ) -> None:
        self.allow = tuple(os.path.realpath(folder) for folder in allow)
        self._descriptors = descriptors
        self._objects = objects or {}
        self._marks = marks or {}

    def open(self, path: str, meter: Meter) -> Source:
        """Open what the user named: a path, a URL, or an open file; raises OpenError."""
        if path in self._objects:
            return self._objects[path](meter)
        if self._descriptors is None and is_url(path):
            from pyimount.sources.remote import RemoteSource

            source = RemoteSource.open(path, meter)
            if self._marks.get(path, source.mark) != source.mark:
                source.close()
                raise OpenError(f"{path}: was changed since it was scanned")
            return source
        return self._open_file(path, meter)

    def _open_file(self, path: str, meter: Meter) -> FileSource:
        if self._descriptors is None:
            return FileSource(path, meter)
        if path not in self._descriptors:
            raise OpenError(f"{path}: is not among the files that were opened beforehand")
        return FileSource(path, meter, opener=partial(os.dup, self._descriptors[path]))

    def open_named(self, name: str, image: str, meter: Meter, folder: str = "") -> NamedSource:
        """Open the file that ``image`` calls ``name``; raises OpenError as ``resolve`` does."""
        return self._open_file(self.resolve(name, image, folder), meter)

    def resolve(self, name: str, image: str, folder: str = "") -> str:
        """The real path of the file that ``image`` calls ``name``.

        ``folder``: the one beside the image in which its format keeps such files, by a name of the format's.
        Only the last part of the name counts unless a folder is allowed: an absolute path or one
        with folders is looked for beside the image first. Raises OpenError, which says whether
        the file is missing or not allowed.
        """
        if is_url(image) or image in self._objects:
            # Where that lies is nobody's word but the image's, and no image has one opened elsewhere.
            raise OpenError(f"the image names {name!r}, which is not looked for where the image is")
        base = _beside(image, folder)
        wanted = name.replace("\\", "/")
        beside = os.path.basename(wanted.rstrip("/"))
        # Without an allowed folder, no other place is even looked at: it may be a network's.
        for part in (beside, wanted) if self.allow else (beside,):
            try:
                real = os.path.realpath(os.path.join(base, part))
                if not self._allowed(real, base):
                    continue
                if self._descriptors is None:
                    os.stat(real)
                elif real not in self._descriptors:
                    continue
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                raise OpenError(f"the image names a file that cannot be: {error}") from error
            return real
        raise OpenError(
            f"the image names {name!r}: there is no such file beside it"
            + (
                ", and files elsewhere are opened only below a folder that is allowed (--allow)"
                if beside != name
                else ""
            )
        )

    @staticmethod
    def real(path: str) -> str:
        """The one name of a file that was opened, by which a chain of images is known to lead back to it."""
        return os.path.realpath(path)

    def names_beside(self, image: str, suffix: str) -> list[str]:
        """The names in the image's folder that end in ``suffix``, in whatever case, sorted; a few at most."""
        return sorted(name for name in self.names_in(image) if name.lower().endswith(suffix))[:_NAMES_CAP]

    def names_in(self, image: str, folder: str = "", cap: int = LISTING_CAP) -> list[str]:
        """The names in the image's folder, or in one beside it, in no order, ``cap`` at most."""
        if is_url(image) or image in self._objects:
            return []
        path = _beside(image, folder)
        if self._descriptors is not None:
            return [os.path.basename(each) for each in self._descriptors if os.path.dirname(each) == path]
        try:
            with POOL.with_room(partial(os.scandir, path)) as entries:
                return [entry.name for entry in islice(entries, cap)]
        except OSError:
            return []

    def _allowed(self, real: str, base: str) -> bool:
        inside = os.path.join(real, "")
        return os.path.dirname(real) == base or any(
            inside.startswith(os.path.join(folder, "")) for folder in self.allow
        )


def _beside(image: str, folder: str) -> str:
    if folder and folder not in FOLDERS:
        raise OpenError(f"no format keeps its files in a folder {folder!r}")
    base = os.path.dirname(os.path.realpath(image))
    return os.path.join(base, folder) if folder else base
