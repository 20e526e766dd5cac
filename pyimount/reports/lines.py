"""JSON Lines of many images: what a line has, and which images stand in a file of them already.

A line has ``path``, ``size`` (bytes, of all the image's files), ``mtime`` (see ``sources.identity.stamp``),
``pyimount`` (the version), ``options`` (a hash of them), ``exit_status``, and either ``report``, as
``Scan.to_dict`` gives it, or ``failure`` with ``code`` and ``message``.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pyimount.version import __version__

LINE_CAP = 1 << 30
"""No line is longer, in bytes: what is, is no line of ours."""


_REPORT = b',"report":'
"""What stands before the report, which is last: in a text, its quotes would not stand so."""


class OtherLines(ValueError):  # noqa: N818  (what they are)
    """A file has lines of another version or of other options, or what are no such lines at all."""


def options_hash(options: Mapping[str, Any]) -> str:
    """What tells one set of options from others. No key goes into it, only how many there are."""
    from hashlib import sha256

    told = {name: value for name, value in options.items() if value not in (None, False, [], {}, ())}
    told["keys"] = len(told.pop("keys", ()))
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def line(
    path: str,
    size: int | None,
    mtime: int | str | None,
    options: str,
    *,
    report: Mapping[str, Any] | None = None,
    failure: Mapping[str, str] | None = None,
) -> str:
    """One line, without its end."""
    status = 1 if report is None else report["exit_status"]
    made = {
        "path": path,
        "size": size,
        "mtime": mtime,
        "pyimount": __version__,
        "options": options,
        "exit_status": status,
        "failure": failure,
        "report": report,
    }
    return json.dumps(made, separators=(",", ":"))


class Done:
    """The images that stand in a file of lines, by their paths."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int | None, int | str | None]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def has(self, path: str, stamp: tuple[int | None, int | str | None]) -> bool:
        """Whether an image stands in it as it is now; ``stamp``: its size and its time of change."""
        return path in self._known and self._known[path] == stamp

    def read(self, file: str, options: str, *, any_options: bool = False, retry_failed: bool = False) -> None:
        """Take in the lines of a file, and cut off the one at its end that was not finished.

        ``any_options``: lines of other versions and options count as well. ``retry_failed``: what could not
        be read does not. Raises OSError, and OtherLines.
        """
        with open(file, "r+b") as lines:
            end = 0
            for number, each in enumerate(_lines(lines), 1):
                if not each.endswith(b"\n"):
                    break
                end += len(each)
                self._take(file, number, each, None if any_options else options, retry_failed=retry_failed)
            lines.truncate(end)

    def _take(self, file: str, number: int, text: bytes, options: str | None, *, retry_failed: bool) -> None:
        try:
            head, report, _ = text.partition(_REPORT)
            told = json.loads(head + report + b"null}") if report else {}
            path, stamp = told["path"], (told["size"], told["mtime"])
            version, of, failed = told["pyimount"], told["options"], told["exit_status"] == 1
        except (ValueError, KeyError, TypeError) as error:
            raise OtherLines(f"{file}, line {number}: is not a line of 'pyimount detect --jsonl'") from error
        if options is not None and (version, of) != (__version__, options):
            other = f"version {version}" if version != __version__ else "other options"
            raise OtherLines(
                f"{file}: has lines of {other}: name another file, or go on with it by --resume-any"
            )
        if failed and retry_failed:
            self._known.pop(path, None)
            return
        self._known[path] = stamp


def _lines(file: Any) -> Iterator[bytes]:
    while text := file.readline(LINE_CAP):
        yield text
