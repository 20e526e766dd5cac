"""How far verifying an image is, kept in a file, so that what was interrupted goes on where it ended."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pyimount.problems import Code, Problem, Range, together
from pyimount.sources.identity import FileIdentity, identities
from pyimount.verifying import sums
from pyimount.verifying.passes import NotResumable, Pass
from pyimount.version import __version__

_SCHEMA = "pyimount-verify/1"
_EVERY = 1 << 30
"""So many bytes are read before it is written down anew; it is when the run ends, too."""


class State:
    """The state file of one image. ``paths``: the image's files; ``hashes``: what is computed besides.

    Raises NotResumable where the file is of another image, of one that was changed since, or of other
    options; OSError where it cannot be read.
    """

    def __init__(self, path: str, paths: Sequence[str], hashes: Sequence[str]) -> None:
        self.path = path
        self._beside = f"{path}.new"
        self._about: dict[str, Any] = {
            "schema": _SCHEMA,
            "pyimount": __version__,
            "hashes": list(hashes),
            "files": {
                each: {name: getattr(identity, name) for name in FileIdentity.fields}
                for each, identity in identities(paths).items()
            },
        }
        self._parts: dict[str, dict[str, Any]] = {}
        self._written_at = 0
        self.resumed = False
        try:
            with open(path, encoding="utf-8") as file:
                kept = json.load(file)
        except FileNotFoundError:
            return
        except ValueError as error:
            raise NotResumable(f"{path}: is no state of a verification: {error}") from error
        self._take(kept)

    def _take(self, kept: Any) -> None:
        if not isinstance(kept, dict) or kept.get("schema") != _SCHEMA:
            raise NotResumable(f"{self.path}: is no state of a verification")
        for key, what in (
            ("pyimount", "made by another version"),
            ("files", "of another image, or this one was changed since"),
            ("hashes", "of a run with other hashes"),
        ):
            if kept.get(key) != self._about[key]:
                raise NotResumable(f"{self.path}: is {what}; without it, verifying begins anew")
        parts = kept.get("parts")
        self._parts = parts if isinstance(parts, dict) else {}
        self.resumed = bool(self._parts)

    def of(self, key: str) -> dict[str, Any] | None:
        """What is kept of a pass."""
        return self._parts.get(key)

    @staticmethod
    def make(algorithm: str, state: str | None) -> sums.Sum:
        """A sum that can be put aside, where this machine has such; raises NotResumable."""
        maker = sums.keeper(algorithm)
        if maker is not None:
            try:
                return maker(state)
            except ValueError as error:
                raise NotResumable(str(error)) from error
        if state is not None:
            raise NotResumable(f"{algorithm} cannot be gone on with here")
        return sums.begin(algorithm)

    @staticmethod
    def problems(kept: dict[str, Any]) -> list[Problem]:
        """Those that a pass had found."""
        return [
            Problem(
                Code(each["code"]),
                each["message"],
                each["count"],
                tuple(Range(*run) for run in each["ranges"]),
                each["explained"],
            )
            for each in kept["problems"]
        ]

    def note(self, key: str, at: Pass, *, ended: bool = False) -> None:
        """Take down how far a pass is, where it can be gone on with from there; now and then write it."""
        snapshot = at.snapshot()
        if snapshot is None:
            return
        found = [
            {
                "code": str(each.code),
                "message": each.message,
                "count": each.count,
                "ranges": [[run.offset, run.size] for run in each.ranges],
                "explained": each.explained,
            }
            for each in together(at.problems)
        ]
        self._parts[key] = {"pass": snapshot, "problems": found, "ended": ended}
        if at.position - self._written_at >= _EVERY or at.position < self._written_at:
            self.write()
            self._written_at = at.position

    def write(self) -> None:
        """Put what is known into the file, all of it or nothing. Raises OSError."""
        if not self._parts:
            return
        with open(self._beside, "w", encoding="utf-8") as file:
            json.dump({**self._about, "parts": self._parts}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._beside, self.path)

    def finish(self) -> None:
        """All was verified: nothing is left to go on with, and nothing that was begun to be written."""
        for path in (self.path, self._beside):
            with suppress(FileNotFoundError):
                os.unlink(path)
