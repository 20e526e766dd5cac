"""The files of an image for fsspec: ``fsspec.open("pyimount://2/etc/hostname::file://disk.E01")``.

https://filesystem-spec.readthedocs.io/en/latest/developer.html. Read-only. A path begins with the volume,
by index, UUID or label; without one (``pyimount:///etc/hostname``) the image has a single volume with files.
"""

import errno
import weakref
from collections.abc import Iterator
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from pyimount.files.libraries import readers_of
from pyimount.files.records import Kind, Stat
from pyimount.files.system import Entry, FileSystem, open_filesystem
from pyimount.keys import Keyring
from pyimount.layers import Scan, VolumeLayer
from pyimount.scanning import detect

_TYPES = {Kind.FILE: "file", Kind.FOLDER: "directory", Kind.LINK: "link"}


class PyimountFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The files of the volumes of an image.

    ``fo``: the path of the image, or its URL, as fsspec hands it on; ``keys``: as ``detect`` takes them;
    ``scan``: one that was made before, in place of both. ``in_process``: as ``open_filesystem`` has it.
    """

    protocol = "pyimount"
    root_marker = ""
    cachable = False

    def __init__(
        self,
        fo: str = "",
        *,
        keys: Any = None,
        scan: Scan | None = None,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        in_process: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        if target_options:
            raise ValueError("how to get at an image elsewhere is for its own packages' configuration")
        self._keys = keys if isinstance(keys, Keyring) else Keyring(keys)
        self._scan = scan if scan is not None else detect(_image(fo, target_protocol), keys=self._keys)
        self._in_process = in_process
        self._opened: dict[int, FileSystem] = {}
        # fsspec's callers close files, and never what these are of.
        weakref.finalize(self, _close_all, self._opened)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return str(path).removeprefix("pyimount://").rstrip("/")

    def _volumes(self) -> Iterator[VolumeLayer]:
        for volume in self._scan.volumes:
            if readers_of(volume) and not volume.locked:
                yield volume

    def _found(self, path: str) -> tuple[str, Entry]:
        """The volume's name in the path, and the entry."""
        name, _, rest = self._strip_protocol(path).partition("/")
        if name:
            found = [layer for layer in self._scan.named(name) if isinstance(layer, VolumeLayer)]
        else:
            found = list(self._volumes())
        if len(found) != 1:
            raise FileNotFoundError(path)
        volume = found[0]
        if volume.id not in self._opened:
            self._opened[volume.id] = open_filesystem(
                self._scan, volume, keys=self._keys, in_process=self._in_process
            )
        return name, self._opened[volume.id].get(f"/{rest}")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is in a folder; of the empty path, the volumes. A file is listed as itself."""
        if not self._strip_protocol(path):
            volumes = [
                {"name": each.index, "size": 0, "type": "directory", "volume": each.type}
                for each in self._volumes()
            ]
            return volumes if detail else [each["name"] for each in volumes]
        name, entry = self._found(path)
        if entry.kind is Kind.FOLDER:
            found = [self._info(name, each) for each in entry.entries() if each.problem is None]
        else:
            found = [self._info(name, entry)]
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """The figures of a file, with fsspec's names, and Stat's."""
        if not self._strip_protocol(path):
            return {"name": "", "size": 0, "type": "directory"}
        name, entry = self._found(path)
        return self._info(name, entry)

    def _info(self, name: str, entry: Entry) -> dict[str, Any]:
        stat: Stat = entry.stat()
        said = {field: getattr(stat, field) for field in Stat.fields if field != "kind"}
        return {
            **said, "name": f"{name}{entry.path}".rstrip("/"), "size": stat.size or 0,
            "type": _TYPES.get(stat.kind, "other"), "kind": str(stat.kind),
        }  # fmt: skip

    def _open(self, path: str, mode: str = "rb", block_size: Any = "default", **more: Any) -> "PyimountFile":
        if mode != "rb":
            raise OSError(errno.EROFS, "an image is not written to", path)
        _, entry = self._found(path)
        if entry.kind is Kind.FOLDER:
            raise IsADirectoryError(path)
        return PyimountFile(self, path, entry, block_size=block_size, **more)

    def close(self) -> None:
        """End the readers; so does forgetting this."""
        _close_all(self._opened)


def _image(fo: str, protocol: str | None) -> str:
    """What fsspec hands on as an image as ``detect`` takes it: a path, or a URL."""
    if protocol in (None, "file", "local"):
        return fo.removeprefix("file://")
    return fo if "://" in fo else f"{protocol}://{fo}"


def _close_all(opened: dict[int, FileSystem]) -> None:
    while opened:
        opened.popitem()[1].close()


class PyimountFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file of an image, opened for reading."""

    def __init__(self, fs: PyimountFileSystem, path: str, entry: Entry, **more: Any) -> None:
        self._entry = entry
        more.pop("autocommit", None)
        super().__init__(fs, path, mode="rb", size=entry.stat().size or 0, **more)

    def _fetch_range(self, start: int, end: int) -> bytes:
        return b"".join(self._entry.pieces(start, end - start))
