"""The helper as one file that stands by itself: what it takes of this package, in a zip file.

It needs nothing but Debian's Python and its standard library, so that what root runs for a user lies in one
place that only root can write to, whoever owns the folder that this package is installed in. Python's manual,
"zipapp", tells of the format: https://docs.python.org/3/library/zipapp.html
"""

import ast
import io
import os
import re
import stat
import zipfile
from contextlib import suppress
from importlib.util import find_spec

from pyimount.execution import folders
from pyimount.execution.errors import Refused, StepFailed

_FIRST = "pyimount.execution.helper"
_INTERPRETER = b"#!/usr/bin/python3 -I\n"
_MAIN = """\
import sys

if sys.version_info < (3, 11):
    sys.exit("pyimount-helper: /usr/bin/python3 is older than 3.11")
from pyimount.execution.helper import main

sys.exit(main(installed=True))
"""
# The same bytes whenever and wherever it is made.
_TIME = (1980, 1, 1, 0, 0, 0)


def modules() -> dict[str, str]:
    """The files that the helper consists of: their paths in the archive, and where they are now."""
    found: dict[str, str] = {}
    pending = [_FIRST]
    while pending:
        name = pending.pop()
        above = name.rpartition(".")[0]
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue  # a name within a module
        package = spec.submodule_search_locations is not None
        path = name.replace(".", "/") + ("/__init__.py" if package else ".py")
        if path in found:
            continue
        found[path] = spec.origin
        pending += [*_imports(spec.origin), *([above] if above else [])]
    return dict(sorted(found.items()))


def _imports(path: str) -> list[str]:
    """What a file imports of this package; not what it names for type checkers alone."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    named: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            named += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            named += [each.name for each in node.names]
    return [name for name in named if name.split(".")[0] == "pyimount" and _is_module(name)]


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False  # what is before the last dot is a module, no package


def archive() -> bytes:
    """The helper, ready to be run."""
    made = io.BytesIO()
    made.write(_INTERPRETER)
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(zipfile.ZipInfo("__main__.py", _TIME), _MAIN, zipfile.ZIP_DEFLATED)
        for name, path in modules().items():
            with open(path, "rb") as file:
                zipped.writestr(zipfile.ZipInfo(name, _TIME), file.read(), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def install(path: str, data: bytes, mode: int) -> None:
    """Put a file of root's at ``path``, whole or not at all; the folder is made where it is missing.

    What is left of an earlier call that was killed goes. Raises Refused where others than root may write to
    a folder on the way, StepFailed.
    """
    above, name = os.path.split(path)
    at = _folder_of_root(above)
    try:
        draft = f".{name}.{os.getpid()}"
        try:
            _remove_drafts(at, name)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=at)
            try:
                with open(file, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fchown(file, 0, 0)
                    os.fchmod(file, mode)
                    os.fsync(file)
                os.rename(draft, name, src_dir_fd=at, dst_dir_fd=at)
            except OSError:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=at)
                raise
            os.fsync(at)
        except OSError as error:
            raise StepFailed(f"{path}: {error.strerror}") from error
    finally:
        os.close(at)


def _remove_drafts(at: int, name: str) -> None:
    """Remove what calls that have ended left unfinished beside a file."""
    for each in os.listdir(at):
        number = each.removeprefix(f".{name}.")
        if number == each or not re.fullmatch("[0-9]{1,10}", number):
            continue
        if int(number) == os.getpid() or not os.path.exists(f"/proc/{int(number)}"):
            os.unlink(each, dir_fd=at)


def remove(path: str) -> bool:
    """Take away what ``install`` put there, and what it left unfinished; whether there was anything.

    Raises StepFailed.
    """
    above, name = os.path.split(path)
    try:
        at = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StepFailed(f"{path}: {error.strerror}") from error
    try:
        _remove_drafts(at, name)
        os.unlink(name, dir_fd=at)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StepFailed(f"{path}: {error.strerror}") from error
    finally:
        os.close(at)
    return True


def _folder_of_root(path: str) -> int:
    """A descriptor of a folder, made where it is missing; it and those above are for root alone to write."""
    at = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    passed = ""
    for part in folders.parts(path):
        passed = f"{passed}/{part}"
        try:
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=at)
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                os.fchmod(inner, 0o755)
        except OSError as error:
            raise StepFailed(f"{passed}: {error.strerror}") from error
        finally:
            os.close(at)
        at = inner
        is_ = os.fstat(at)
        if is_.st_uid != 0 or (is_.st_mode & 0o002) or (is_.st_mode & 0o020 and is_.st_gid != 0):
            os.close(at)
            who = "another user's" if is_.st_uid else "for others than root to write"
            raise Refused(
                f"{passed} is {who} (mode {stat.S_IMODE(is_.st_mode):o}): what root runs cannot lie there",
                f"chown root {passed}; chmod go-w {passed}",
            )
    return at
