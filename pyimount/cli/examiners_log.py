"""The examiner's log: a line of JSON for each command, of what was asked of which files, and what came of it.

Lines are appended, each in one write that is on the disk before the command ends; also where it failed or was
interrupted. Keys, passphrases and recovery passwords never stand in it.
"""

import argparse
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyimount
from pyimount import cli
from pyimount.cli.signals import EXIT_SIGNAL, Ended, raising
from pyimount.problems import Problem
from pyimount.sources.errors import NoFilesLeft
from pyimount.sources.identity import FileIdentity
from pyimount.sources.urls import is_url, shown

if TYPE_CHECKING:
    from pyimount.layers import Scan
    from pyimount.verifying.records import Verified

SCHEMA = "pyimount-log/1"

_SECRET = ("--key", "--keys", "--pim")
"""Options whose values are keys, or a part of them."""
_HIDDEN = "(not kept)"
_LEAST = 4
"""A secret of fewer characters is found by its option alone: anything may hold it."""


class NoLog(Exception):  # noqa: N818  (what there is)
    """The log cannot be kept; the message says why."""


class Log:
    """The line of one command, on its way. Raises NoLog where it could not be written later."""

    def __init__(self, options: argparse.Namespace, arguments: Sequence[str]) -> None:
        self._path: str = options.log
        self._secrets = [
            value for name in ("key", "keys") for text in getattr(options, name, ()) for value in _parts(text)
        ]
        self._begun = datetime.now(UTC)
        self._command = options.command
        self._arguments = [self._clean(each) for each in _without_keys(arguments)]
        self._images: dict[str, dict[str, Any]] = {}
        self._problems: dict[str, int] = {}
        self._hashes: list[dict[str, Any]] = []
        self._written: dict[str, Any] | None = None
        named = [*getattr(options, "images", ()), *getattr(options, "others", ())]
        named += [options.image] if isinstance(getattr(options, "image", None), str) else []
        self._file = _opened(self._path, named)
        self._note_files(_files_of(named))

    def scan(self, scan: "Scan") -> None:
        """Note what was scanned: the files of its disks, and the problems of all layers."""
        for disk in scan.disks:
            self._note_files(disk.paths)
            self._count(disk.problems)
        for volume in scan.volumes:
            self._count(volume.problems)
        self._count(scan.problems)

    def verified(self, found: Iterable["Verified"]) -> None:
        """Note what was verified, with its hashes."""
        for each in found:
            self._note_files(each.paths)
            self._count(each.problems)
            self._hashes.append(
                {
                    "paths": [shown(path) if is_url(path) else os.path.abspath(path) for path in each.paths],
                    "disk": each.index,
                    "status": str(each.status),
                    "stored": {
                        check.algorithm: check.stored for check in each.checks if check.stored is not None
                    },
                    "computed": dict(each.hashes),
                }
            )

    def written(self, path: str | None, size: int, hashes: Mapping[str, str], unread: int) -> None:
        """Note what was written: where to, how many bytes, their hashes, how many could not be read."""
        self._written = {
            "path": None if path is None else os.path.abspath(path),
            "size": size,
            "hashes": dict(hashes),
            "unread": unread,
        }

    def _count(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._problems[problem.code] = self._problems.get(problem.code, 0) + problem.count

    def _note_files(self, paths: Iterable[str]) -> None:
        """Note what tells each file from others; as it was first seen."""
        for path in paths:
            if path in self._images:
                continue
            if is_url(path):
                self._images[path] = {"path": shown(path)}
                continue
            said: dict[str, Any] = {"path": os.path.abspath(path)}
            try:
                identity = FileIdentity.of(path)
            except (OSError, ValueError) as error:
                said["error"] = getattr(error, "strerror", None) or str(error)
            else:
                said |= {
                    "size": identity.size,
                    "inode": identity.inode,
                    "device": identity.device,
                    "modified": _time(identity.modified),
                }
            self._images[path] = said

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            if len(secret) >= _LEAST:
                text = text.replace(secret, _HIDDEN)
        return text

    def write(self, status: int | None, ended: str) -> None:
        """Append the line, and have it on the disk. Raises OSError."""
        line = {
            "schema": SCHEMA,
            "pyimount": pyimount.__version__,
            "command": self._command,
            "arguments": self._arguments,
            "begun": self._begun.isoformat(timespec="milliseconds"),
            "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user": os.getuid() if hasattr(os, "getuid") else None,
            "folder": None if cli.is_homeless() else os.getcwd(),
            "images": list(self._images.values()),
            "hashes": self._hashes,
            "written": self._written,
            "problems": {"count": sum(self._problems.values()), "codes": self._problems},
            "exit_status": status,
            "result": ended,
        }
        try:
            data = (json.dumps(line) + "\n").encode()
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        finally:
            os.close(self._file)


def logged(run: Callable[[argparse.Namespace], int], arguments: Sequence[str]) -> Callable[..., int]:
    """The same command, which leaves its line in the log, however it ends."""

    def run_and_log(options: argparse.Namespace) -> int:
        try:
            log = Log(options, arguments)
        except NoLog as error:
            cli.complain(str(error))
            return cli.EXIT_USAGE
        options.kept_log = log
        status: int | None = None
        ended = "failed"
        try:
            # mount hears signals itself: what it leaves standing is not to be told by how it was ended.
            with raising(wanted=options.command != "mount"):
                status = run(options)
            sys.stdout.flush()
            interrupted = status == cli.EXIT_INTERRUPTED or status > EXIT_SIGNAL
            ended = "interrupted" if interrupted else "ended"
        except BrokenPipeError:
            status, ended = 0, "ended"  # whoever read it has seen enough
            raise
        except KeyboardInterrupt:
            status, ended = cli.EXIT_INTERRUPTED, "interrupted"
            raise
        except Ended as signal:
            status, ended = EXIT_SIGNAL + signal.number, "interrupted"
            cli.complain("stopped")
        except OSError:
            status = 1
            raise
        finally:
            try:
                log.write(status, ended)
            except OSError as error:
                cli.complain(f"{options.log}: the log could not be written: {error.strerror}")
                status = status or 1
        return status

    return run_and_log


def _opened(path: str, images: Sequence[str]) -> int:
    """The log, to append to; never a file that is no log, or one of the images."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise NoLog(f"{path}: the log cannot be written: {error.strerror}") from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NoLog(f"{path}: the log is to be a file")
        begin = os.read(file, 2)
        if begin and begin != b'{"':
            raise NoLog(f"{path}: is there already, and is no log: nothing was added to it")
        for each in images:
            if not is_url(each) and os.path.exists(each) and os.path.samestat(os.stat(each), found):
                raise NoLog(f"{path}: is one of the images")
    except (NoLog, OSError) as error:
        os.close(file)
        if isinstance(error, OSError):
            raise NoLog(f"{path}: the log cannot be written: {error.strerror}") from error
        raise
    return file


def _files_of(named: Sequence[str]) -> list[str]:
    """The files of the images that are named, with all segments."""
    from pyimount.scanning.naming import images_in

    try:
        return [path for segments in images_in(named) for path in segments.paths]
    except NoFilesLeft:
        return [*named]


def _without_keys(arguments: Sequence[str]) -> list[str]:
    """The arguments, with something else in place of what may be a key, however its option is shortened."""
    kept: list[str] = []
    hides = False
    for each in arguments:
        name, equals, _ = each.partition("=")
        is_secret = len(name) > 2 and any(option.startswith(name) for option in _SECRET)
        if hides:
            kept.append(_HIDDEN)
            hides = False
        elif is_secret and equals:
            kept.append(f"{name}={_HIDDEN}")
        else:
            hides = is_secret
            kept.append(shown(each) if is_url(each) else each)
    return kept


def _parts(text: str) -> list[str]:
    """A key as it is given, and its secret alone: behind an index, and what says its kind."""
    value = text.partition("=")[2] or text
    return [text, value, value.partition(":")[2] or value]


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat()
