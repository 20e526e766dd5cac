"""Folders made, opened and removed with no symbolic link followed."""

import errno
import os
import stat

from pyimount.execution import syscalls
from pyimount.execution.errors import Refused, StepFailed, Taken
from pyimount.records import Record

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS_FOLLOWED = 40
"""As many as the kernel follows."""

# Before Linux 5.6; or a sandbox that does not know it yet.
_NO_OPENAT2 = (errno.ENOSYS, errno.EPERM)


def parts(path: str) -> tuple[str, ...]:
    """The names in an absolute path. Raises Refused when it is not absolute, or not normal."""
    names = tuple(name for name in path.split("/") if name)
    if not path.startswith("/") or "\0" in path or {".", ".."} & set(names):
        raise Refused(f"{path!r} is no plain absolute path")
    return names


def open_folder(path: str) -> int:
    """A descriptor (O_PATH) of a folder. Raises Refused where a symbolic link stands in its path."""
    at = os.open("/", _FOLDER)
    for name in parts(path):
        try:
            inner = os.open(name, _FOLDER, dir_fd=at)
        except OSError as error:
            raise _why(error, path) from error
        finally:
            os.close(at)
        at = inner
    return at


def _why(error: OSError, path: str) -> StepFailed:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return Refused(f"{path}: a symbolic link, or no folder, stands in this path")
    return StepFailed(f"{path}: {error.strerror}")


def missing_from(path: str) -> tuple[str, ...]:
    """Those of a folder and the folders above it that do not exist, the outermost first."""
    at = os.open("/", _FOLDER)
    names = parts(path)
    try:
        for number, name in enumerate(names):
            try:
                inner = os.open(name, _FOLDER, dir_fd=at)
            except FileNotFoundError:
                return tuple("/" + "/".join(names[: last + 1]) for last in range(number, len(names)))
            except OSError as error:
                raise _why(error, path) from error
            os.close(at)
            at = inner
    finally:
        os.close(at)
    return ()


class MadeFolder(Record):
    """A folder that was made: its path, and its device and inode, by which it is known again."""

    path: str
    device: int
    inode: int


def make(path: str, *, owner: int = -1, mode: int = 0o700) -> list[MadeFolder]:
    """Make a folder, and those above it that are missing, each for its owner alone; the outermost first.

    The last of them, if it was made now, gets ``owner`` and ``mode``: by a descriptor, so that whatever takes
    its name meanwhile gets neither. Raises Refused, Taken when another makes one of them now, StepFailed.
    """
    made: list[MadeFolder] = []
    missing = missing_from(path)
    for each in missing:
        above, name = os.path.split(each)
        at = open_folder(above)
        try:
            os.mkdir(name, 0o700, dir_fd=at)
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        except FileExistsError as error:
            raise Taken(f"{each}: another process makes it at the same time") from error
        except OSError as error:
            raise _why(error, each) from error
        finally:
            os.close(at)
        try:
            is_ = os.fstat(folder)
            # Only we could have put something in, in another process; what is given away is empty.
            kept = owner == -1 and mode == 0o700
            if is_.st_uid != os.geteuid() or is_.st_mode & 0o077 or not (kept or is_empty(folder)):
                raise Refused(f"{each}: another folder took its place as it was made")
            made.append(MadeFolder(each, is_.st_dev, is_.st_ino))
            if each == missing[-1] and (owner, mode) != (-1, 0o700):
                os.fchown(folder, owner, -1)
                os.fchmod(folder, mode)
        except OSError as error:
            raise _why(error, each) from error
        finally:
            os.close(folder)
    return made


def remove(path: str, device: int | None, inode: int | None, owner: int | None = None) -> bool:
    """Remove the empty folder with this identity; without one, an empty one that is ours, or ``owner``'s.

    True when there is none (any more), False when it is not empty. What is another's stays: it is none.
    Raises StepFailed, OSError where that cannot be told.
    """
    above, name = os.path.split(path)
    try:
        if missing_from(above):
            return True
        at = open_folder(above)
    except Refused:
        return True  # A link stands in its path: what that leads to is none of ours.
    try:
        is_ = os.stat(name, dir_fd=at, follow_symlinks=False)
        if inode is None:
            ours = is_.st_uid in (os.geteuid(), owner) and not stat.S_IMODE(is_.st_mode) & 0o066
        else:
            ours = (is_.st_dev, is_.st_ino) == (device, inode)
        if not ours or not stat.S_ISDIR(is_.st_mode):
            return True
        os.rmdir(name, dir_fd=at)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EBUSY, errno.EEXIST):
            return False
        raise
    finally:
        os.close(at)
    return True


def is_empty(folder: int) -> bool:
    """Whether nothing is in the folder of this descriptor."""
    again = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(again) as entries:
            return next(iter(entries), None) is None
    finally:
        os.close(again)


def path_of(descriptor: int) -> str:
    """The path that a descriptor was opened by, with all links resolved."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def through(descriptor: int) -> str:
    """A path that leads to just what the descriptor is of, whatever happens to its name."""
    return f"/proc/self/fd/{descriptor}"


def open_in_root(root: int, path: str) -> int:
    """A descriptor (O_PATH) of the folder ``path`` as a process sees it whose root is ``root``.

    Links within lead where they would there, so never out. Raises StepFailed where there is no such folder.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
    try:
        return syscalls.openat2(root, path, flags, resolve)
    except OSError as error:
        if error.errno not in _NO_OPENAT2:
            raise StepFailed(f"{path}: {error.strerror} within the volume") from error
    return walk_in_root(root, path)


def walk_in_root(root: int, path: str) -> int:
    """As ``open_in_root``, name by name, for kernels that have no openat2."""
    stack = [os.dup(root)]
    pending = [name for name in reversed(path.split("/")) if name not in ("", ".")]
    followed = 0
    try:
        while pending:
            name = pending.pop()
            if name == "..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            is_ = os.stat(name, dir_fd=stack[-1], follow_symlinks=False)
            if not stat.S_ISLNK(is_.st_mode):
                stack.append(os.open(name, _FOLDER, dir_fd=stack[-1]))
                continue
            followed += 1
            if followed > _LINKS_FOLLOWED:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(name, dir_fd=stack[-1])
            if target.startswith("/"):
                while len(stack) > 1:
                    os.close(stack.pop())
            pending.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
        return os.dup(stack[-1])
    except OSError as error:
        raise StepFailed(f"{path}: {error.strerror} within the volume") from error
    finally:
        for each in stack:
            os.close(each)
