"""Root's part for a user: ``python -m pyimount.execution.helper SOCKET``, started through sudo or pkexec.

It connects to a socket of the user who asked for it, to nobody else's, and does what comes through there:
steps that ``checking`` lets pass, on images that come as open files; and the undoing of what stands in its
own ledgers, which only root writes, of sessions of the same user. It loads nothing that reads an image.
"""

import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pyimount.confinement.messages import MessageError, receive, send
from pyimount.execution.checking import Checker
from pyimount.execution.errors import LedgerError, Refused, StepFailed
from pyimount.execution.ledger import USERS_BASE
from pyimount.execution.plan_executor import Executor
from pyimount.execution.sessions import sessions
from pyimount.execution.undoing import undo_session, would_undo
from pyimount.planning.steps import ExposeRaw, MakeDirectory, MountPlan, OpenEncrypted, Step, step_from_dict

MOUNTPOINTS = "mnt"
"""The folder of a session in which a plan has its mount points."""

KEYS_CAP = 1000
_IDLE = 600.0
"""Seconds without a word from the user after which it ends."""

_CREDENTIALS = struct.Struct("3i")


def main(arguments: list[str] | None = None) -> int:
    """Serve one user until the socket is closed; returns the exit status."""
    said = sys.argv[1:] if arguments is None else arguments
    if len(said) != 1 or os.geteuid() != 0:
        print("pyimount: the helper is started by pyimount itself, through sudo or pkexec", file=sys.stderr)
        return 2
    # ^C is for the user's side: it ends, and with it this, when the step at hand is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    user = _asking_user(os.environ)
    if user is None:
        print("pyimount: neither sudo nor pkexec says for whom the helper is to work", file=sys.stderr)
        return 2
    with socket.socket(socket.AF_UNIX) as other:
        try:
            other.connect(said[0])
        except OSError as error:
            print(f"pyimount: {said[0]}: {error.strerror}", file=sys.stderr)
            return 1
        _, uid, group = _CREDENTIALS.unpack(
            other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid != user:
            print("pyimount: the socket is another user's", file=sys.stderr)
            return 1
        other.settimeout(_IDLE)
        Service(other, user, group, USERS_BASE).serve()
    return 0


def _asking_user(environment: Mapping[str, str]) -> int | None:
    """Who asked, as sudo or pkexec has it: they set these, whatever the user's environment said."""
    for name in ("SUDO_UID", "PKEXEC_UID"):
        value = environment.get(name, "")
        if value.isdecimal():
            return int(value)
    return None


class Service:
    """What one user may have done. ``group``: the user's; ``base``: where the ledgers are."""

    def __init__(self, other: socket.socket, user: int, group: int, base: str) -> None:
        self._other = other
        self._user = user
        self._group = group
        self._base = base
        self._executor = Executor(base=base, owner=user)
        self._session: str | None = None
        self._checker: Checker | None = None
        self._images: tuple[str, ...] = ()
        self._opened: dict[str, int] = {}
        self._scan: Mapping[str, Any] = {}
        self._keys: dict[int, Any] = {}

    def serve(self) -> None:
        """Answer every message; ends with the user's side."""
        answers: Mapping[str, Callable[[Any, list[int]], dict[str, Any]]] = {
            "begin": self._begin,
            "files": self._files,
            "keys": self._take_keys,
            "step": self._step,
            "undo": self._undo,
            "preview": self._preview,
            "list": self._list,
        }
        try:
            while True:
                message, files = receive(self._other)
                try:
                    kind, value = _one(message)
                    answer = answers[kind](value, files)
                except KeyError:
                    answer = {"refused": "there is no such message"}
                except Refused as error:
                    answer = {"refused": str(error)}
                except (StepFailed, LedgerError) as error:
                    answer = {"failed": str(error), "remedy": getattr(error, "remedy", None)}
                except (ValueError, TypeError, AttributeError) as error:
                    answer = {"refused": f"a message that is none: {error}"}
                if files:
                    for file in files:
                        if file not in self._opened.values():
                            os.close(file)
                send(self._other, answer)
        except MessageError:
            return
        finally:
            for file in self._opened.values():
                os.close(file)

    def _begin(self, value: Any, files: list[int]) -> dict[str, Any]:
        if self._session is not None:
            raise Refused("a session has begun")
        session, images, scan = value["session"], value["images"], value["scan"]
        if not isinstance(session, str) or len(session) != 8 or set(session) - set("0123456789abcdef"):
            raise Refused("a session is eight hexadecimal digits")
        if session in (each.id for each in sessions(self._base)):
            raise Refused("there is a session of this name")
        if files or not isinstance(scan, dict) or not all(isinstance(path, str) for path in images):
            raise Refused("a beginning that is none")
        self._session, self._images, self._scan = session, tuple(images), scan
        return {"done": True}

    def _files(self, value: Any, files: list[int]) -> dict[str, Any]:
        """Images, and headers, that the user has opened: only then is a path one that steps may name."""
        if self._session is None or self._checker is not None or len(value) != len(files):
            raise Refused("files come after the beginning and before the first step")
        for path, file in zip(value, files, strict=True):
            if not isinstance(path, str) or path in self._opened:
                raise Refused("each file has a path of its own")
            self._opened[path] = file
        return {"done": True}

    def _take_keys(self, value: Any, files: list[int]) -> dict[str, Any]:
        """The keys for one step, which comes after them."""
        if files or not isinstance(value["step"], int) or len(value["keys"]) > KEYS_CAP:
            raise Refused("keys that are none")
        self._keys[value["step"]] = value["keys"]
        return {"done": True}

    def _step(self, value: Any, files: list[int]) -> dict[str, Any]:
        if self._session is None or files:
            raise Refused("a step before the beginning")
        step = step_from_dict(value)
        if self._checker is None:
            self._checker = Checker(self._root, frozenset(self._opened))
        self._checker.check(step)
        plan = MountPlan(session=self._session, images=self._images, steps=(step,))
        keys = {step.id: self._keys_for(step)} if step.id in self._keys else {}
        outcome = self._executor.run(plan, self._scan, keys, opened=self._opened)
        if outcome.failures:
            failure = outcome.failures[0]
            return {"failed": failure.reason, "remedy": failure.remedy, "because": failure.because}
        place = outcome.places.get(step.id)
        if place is not None and isinstance(step, MakeDirectory) and step.path in (self._root, MOUNTPOINTS):
            # On the way to the mount points; what they show is guarded by its own permissions.
            os.chown(place, 0, self._group)
            os.chmod(place, 0o750)  # noqa: S103
            os.chmod(self._base, 0o711)  # noqa: S103
        return {"done": True, "place": place}

    @property
    def _root(self) -> str:
        return f"{self._base}/{self._session}"

    def _keys_for(self, step: Step) -> Any:
        said = self._keys.pop(step.id)
        if isinstance(step, ExposeRaw):
            return said
        if isinstance(step, OpenEncrypted):
            return [(str(kind), bytes.fromhex(secret)) for kind, secret in said]
        raise Refused("keys for a step that takes none")

    def _undo(self, value: Any, files: list[int]) -> dict[str, Any]:  # noqa: ARG002
        session, only = self._theirs(value)
        undone = undo_session(session, base=self._base, lazy=value["lazy"] is True, only=only)
        return {"done": True, **undone.to_dict()}

    def _preview(self, value: Any, files: list[int]) -> dict[str, Any]:  # noqa: ARG002
        session, only = self._theirs(value)
        commands = would_undo(session, base=self._base, only=only)
        return {"done": True, "commands": [argv for _, argv in commands]}

    def _theirs(self, value: Any) -> tuple[str, list[int] | None]:
        session, only = value["session"], value["only"]
        if session not in (each.id for each in self._own()):
            raise Refused("there is no such session of yours")
        if only is not None and not all(isinstance(number, int) for number in only):
            raise Refused("steps are numbers")
        return session, only

    def _list(self, value: Any, files: list[int]) -> dict[str, Any]:  # noqa: ARG002
        return {"done": True, "sessions": [each.to_dict() for each in self._own()]}

    def _own(self) -> list[Any]:
        return [each for each in sessions(self._base) if each.owner == self._user]


def _one(message: Any) -> tuple[str, Any]:
    """A message has one name."""
    ((kind, value),) = message.items()
    return kind, value


if __name__ == "__main__":
    sys.exit(main())
