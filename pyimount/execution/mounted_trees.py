"""What a mounted tree says of itself, read without ever leaving it.

The tree is the image's: every name in it is hostile. A file is opened by openat2 within the mount's root,
where links are not followed at all and no other file system is entered; only regular files are read, and of
these only so much. Whatever is not as it should be is not there.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product

from pyimount.execution import syscalls
from pyimount.planning.facts import HOME_SIGNS, HOMES_CAP, NAMES_CAP, SUBVOLUMES, TEXT_CAP, Facts
from pyimount.planning.hives import Read, name_of, version_of

_ABSENT = frozenset(
    (
        errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EINVAL,
        errno.EIO, errno.ENXIO, errno.ENAMETOOLONG, errno.ESTALE, errno.EUCLEAN, errno.ENODATA,
        errno.EBADMSG, errno.EOVERFLOW,
    )
)  # fmt: skip
"""What opening or reading hostile files ends with, damaged ones among them."""
_OTHER = (errno.ENOSYS, errno.EAGAIN, errno.EPERM)


def observe(path: str, layer: int) -> Facts:
    """The facts about the tree mounted at ``path``, of a layer; raises OSError when it cannot be opened."""
    top = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = tuple(_names(top, ""))
        within = _root_subvolume(top, names)
        inside = f"{within}/" if within else ""
        return Facts(
            layer=layer,
            names=names,
            homes=tuple(_homes(top, names)),
            fstab=_text(top, f"{inside}etc/fstab"),
            crypttab=_text(top, f"{inside}etc/crypttab"),
            # The one is a link to the other, and links are not followed.
            os_release=_text(top, f"{inside}etc/os-release") or _text(top, f"{inside}usr/lib/os-release"),
            hostname=_first_line(_text(top, f"{inside}etc/hostname")),
            windows=_windows(top, names),
            subvolume=within,
        )
    finally:
        os.close(top)


def _root_subvolume(top: int, names: tuple[str, ...]) -> str | None:
    """The folder of a btrfs's top that has a root, where the top has none itself."""
    if "etc" in names:
        return None
    for name in SUBVOLUMES:
        if name in names and {"etc", "usr"} <= set(_names(top, name)):
            return name
    return None


def _windows(top: int, names: tuple[str, ...]) -> dict[str, str]:
    """What the registry of a Windows says of it."""
    for name in names:
        if name.lower() in ("windows", "winnt"):
            for system, config in product(("System32", "system32", "SYSTEM32"), ("config", "Config")):
                folder = f"{name}/{system}/{config}"
                found = _hive(top, folder, "SOFTWARE", version_of) | _hive(top, folder, "SYSTEM", name_of)
                if found:
                    return found
    return {}


def _hive(top: int, folder: str, name: str, ask: Callable[[Read], dict[str, str]]) -> dict[str, str]:
    for spelt in (name, name.lower(), name.capitalize()):
        with _opened(top, f"{folder}/{spelt}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as file:
            if file is not None and stat.S_ISREG(os.fstat(file).st_mode):
                return ask(partial(_read, file))
    return {}


def _read(file: int, offset: int, size: int) -> bytes:
    """Bytes of a file; none where they cannot be read."""
    try:
        return os.pread(file, size, offset)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return b""


def _homes(top: int, names: tuple[str, ...]) -> Iterator[str]:
    folders = (name for name in names if not name.startswith("."))
    for _, name in zip(range(HOMES_CAP), folders, strict=False):
        if HOME_SIGNS & set(_names(top, name)):
            yield name


def _names(top: int, path: str) -> Iterator[str]:
    """The names in a folder, as they are shown: what is no UTF-8 is replaced."""
    with _opened(top, path or ".", os.O_RDONLY | os.O_DIRECTORY) as folder:
        if folder is None:
            return
        try:
            with os.scandir(folder) as entries:
                for _, entry in zip(range(NAMES_CAP), entries, strict=False):
                    yield os.fsencode(entry.name).decode("utf-8", "replace")
        except OSError as error:
            if error.errno not in _ABSENT:
                raise


def _text(top: int, path: str) -> str | None:
    """The text of a regular file, as much of it as counts; None when there is none."""
    # Not blocked by a pipe that somebody put there.
    with _opened(top, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as file:
        if file is None or not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        try:
            return os.read(file, TEXT_CAP).decode("utf-8", "replace")
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return None


def _first_line(text: str | None) -> str | None:
    line = (text or "").strip().partition("\n")[0].strip()
    return line[:255] if line.isprintable() and line else None


@contextmanager
def _opened(top: int, path: str, flags: int) -> Iterator[int | None]:
    """A descriptor of a file or folder of the tree, None where there is none."""
    descriptor = _open(top, path, flags)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open(top: int, path: str, flags: int) -> int | None:
    resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV
    try:
        return syscalls.openat2(top, path, flags, resolve)
    except OSError as error:
        if error.errno not in _OTHER:
            if error.errno in _ABSENT:
                return None
            raise
    return _walk(top, path, flags)


def _walk(top: int, path: str, flags: int) -> int | None:
    """The same name by name, for kernels that have no openat2: no link is followed."""
    *above, last = path.split("/")
    at = os.dup(top)
    try:
        for name in above:
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    finally:
        os.close(at)
