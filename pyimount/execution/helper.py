"""Root's part for a user: ``pyimount-helper SOCKET``, started through sudo or pkexec.

Where it is not installed by itself (``execution.helper_archive``), it is this module that they start.

It connects to a socket of the user who asked for it, to nobody else's, and does what comes through there:
steps that ``checking`` lets pass, on images that come as open files; and the undoing of what stands in its
own ledgers, which only root writes, of sessions of the same user. It loads nothing that reads an image.
"""

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pyimount.confinement.messages import MessageError, receive, send
from pyimount.execution import rights
from pyimount.execution.callers import groups_of
from pyimount.execution.checking import PATH_CAP, Checker, is_text
from pyimount.execution.errors import LedgerError, Misleading, Refused, StepFailed
from pyimount.execution.ledger import BASE, USERS_BASE
from pyimount.execution.plan_executor import Executor
from pyimount.execution.protocol import greeting, mismatch
from pyimount.execution.sessions import sessions
from pyimount.execution.undoing import undo_session, would_undo
from pyimount.execution.wanted import Wanted, identity, meant
from pyimount.planning.steps import MountPlan, OpenEncrypted, Step, step_from_dict

KEYS_CAP = 1000
IMAGES_CAP = 4096
"""As many images may a session have; files that steps name are handed over besides."""
SESSIONS_CAP = 64
"""As many sessions of one user may stand."""
FILES_OPEN_CAP = 4096
"""As many open files may be handed over."""
_IDLE = 600.0
"""Seconds without a word from the user after which it ends."""

_CREDENTIALS = struct.Struct("3i")


def main(arguments: list[str] | None = None, *, installed: bool = False) -> int:
    """Serve one user until the socket is closed; returns the exit status.

    ``installed``: it stands by itself, so that whoever asks has to say first which protocol it speaks.
    """
    said = sys.argv[1:] if arguments is None else arguments
    if said == ["--version"]:
        print(json.dumps(greeting()))
        return 0
    if len(said) != 1 or os.geteuid() != 0:
        print("pyimount: the helper is started by pyimount itself, through sudo or pkexec", file=sys.stderr)
        return 2
    # ^C is for the user's side: it ends, and with it this, when the step at hand is done. Nor may the
    # terminal stop this within a step: what root looked at could be another's by the time that it goes on.
    for number in (signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
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
        _, uid, _ = _CREDENTIALS.unpack(
            other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid != user:
            print("pyimount: the socket is another user's", file=sys.stderr)
            return 1
        other.settimeout(_IDLE)
        Service(other, user, USERS_BASE, greeted=not installed).serve()
    return 0


def _asking_user(environment: Mapping[str, str]) -> int | None:
    """Who asked, as sudo or pkexec has it: they set these, whatever the user's environment said."""
    for name in ("SUDO_UID", "PKEXEC_UID"):
        value = environment.get(name, "")
        if value.isdecimal():
            return int(value)
    return None


_Answers: TypeAlias = Mapping[str, Callable[[Any, list[int]], dict[str, Any]]]


class Service:
    """What one user may have done. ``base``: where the ledgers are; ``greeted``: versions are the same."""

    def __init__(self, other: socket.socket, user: int, base: str, *, greeted: bool = True) -> None:
        self._other = other
        self._user = user
        self._base = base
        self._greeted = greeted
        self._handed: list[int] = []
        self._executor = Executor(base=base, user=user, hand_over=self._handed.append)
        self._session: str | None = None
        self._checker: Checker | None = None
        self._opened: dict[str, int] = {}
        self._keys: dict[int, Any] = {}

    def serve(self) -> None:
        """Answer every message; ends with the user's side."""
        answers: _Answers = {
            "greeting": self._greet,
            "begin": self._begin,
            "files": self._files,
            "keys": self._take_keys,
            "step": self._step,
            "undo": self._undo,
            "preview": self._preview,
            "list": self._list,
            "whose": self._whose,
        }
        try:
            while True:
                message, files = receive(self._other)
                answer = self._answer(answers, message, files)
                for file in files:
                    if file not in self._opened.values():
                        os.close(file)
                send(self._other, answer, self._handed if "done" in answer else ())
                self._let_go()
        except MessageError:
            return
        finally:
            self._let_go()
            for file in self._opened.values():
                os.close(file)
            self._executor.release()

    def _let_go(self) -> None:
        """Close what was handed over: from now on it lives and ends with who serves it."""
        while self._handed:
            os.close(self._handed.pop())

    def _answer(self, answers: _Answers, message: Any, files: list[int]) -> dict[str, Any]:
        """What becomes of one message: whatever it is, the helper goes on."""
        try:
            kind, value = _one(message)
            if not self._greeted and kind != "greeting":
                raise Refused(f"{mismatch(None, 'who asks')}")
            return answers[kind](value, files)
        except KeyError:
            return {"refused": "there is no such message"}
        except Refused as error:
            return {"refused": str(error), "remedy": error.remedy}
        except (StepFailed, LedgerError) as error:
            return {"failed": str(error), "remedy": getattr(error, "remedy", None)}
        except OSError as error:
            return {"failed": f"{error.strerror or error}", "remedy": None}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            return {"refused": f"a message that is none: {error}"}

    def _greet(self, value: Any, files: list[int]) -> dict[str, Any]:
        why = "a greeting that is none" if files else mismatch(value, "who asks")
        if why is not None:
            raise Refused(why)
        self._greeted = True
        return {"done": True, **greeting()}

    def _begin(self, value: Any, files: list[int]) -> dict[str, Any]:
        if self._session is not None:
            raise Refused("a session has begun")
        session, images = value["session"], value["images"]
        if not isinstance(session, str) or len(session) != 8 or set(session) - set("0123456789abcdef"):
            raise Refused("a session is eight hexadecimal digits")
        if files or not isinstance(images, list):
            raise Refused("a beginning that is none")
        if len(images) > IMAGES_CAP or not all(is_text(path, PATH_CAP) for path in images):
            raise Refused("images that are none, or too many")
        hindrance = rights.hindrance()
        if hindrance is not None:
            raise StepFailed(hindrance.cause, hindrance.remedy)
        if len(self._own()) >= SESSIONS_CAP:
            raise Refused(f"{SESSIONS_CAP} sessions of yours stand already: 'pyimount unmount' ends them")
        self._executor.claim(session, images, _identities(value.get("lying", []), len(images)))
        self._session = session
        return {"done": True}

    def _files(self, value: Any, files: list[int]) -> dict[str, Any]:
        """Images, and headers, that the user has opened: only then is a path one that steps may name."""
        if self._session is None or self._checker is not None or len(value) != len(files):
            raise Refused("files come after the beginning and before the first step")
        for path, file in zip(value, files, strict=True):
            if not is_text(path, PATH_CAP) or path in self._opened or len(self._opened) >= FILES_OPEN_CAP:
                raise Refused("each file has a path of its own, and there are not too many")
            self._opened[path] = file
        return {"done": True}

    def _take_keys(self, value: Any, files: list[int]) -> dict[str, Any]:
        """The keys for the step that comes next; those for another one are forgotten."""
        keys = value["keys"]
        if files or not isinstance(value["step"], int) or not isinstance(keys, list) or len(keys) > KEYS_CAP:
            raise Refused("keys that are none")
        self._keys = {value["step"]: keys}
        return {"done": True}

    def _step(self, value: Any, files: list[int]) -> dict[str, Any]:
        if self._session is None or files:
            raise Refused("a step before the beginning")
        step = step_from_dict(value)
        if self._checker is None:
            self._checker = Checker(
                self._root, frozenset(self._opened), user=self._user, groups=groups_of(self._user)
            )
        try:
            self._checker.check(step)
        except Misleading:
            # Who asks for this once is given no second try: what stands is only taken down from now on.
            self._executor.release()
            self._session = None
            raise
        plan = MountPlan(session=self._session, images=(), steps=(step,))
        keys = {step.id: self._keys_for(step)} if step.id in self._keys else {}
        outcome = self._executor.run(plan, keys=keys, opened=self._opened)
        if outcome.failures:
            failure = outcome.failures[0]
            return {"failed": failure.reason, "remedy": failure.remedy, "because": failure.because}
        place = outcome.places.get(step.id)
        return {"done": True, "place": place}

    @property
    def _root(self) -> str:
        return f"{self._base}/{self._session}"

    def _keys_for(self, step: Step) -> Any:
        said = self._keys.pop(step.id)
        if isinstance(step, OpenEncrypted):
            return [(str(kind), bytes.fromhex(secret)) for kind, secret in said]
        raise Refused("keys for a step that takes none")

    def _undo(self, value: Any, files: list[int]) -> dict[str, Any]:  # noqa: ARG002
        session, only = self._theirs(value)
        if session == self._session:
            # It goes on only from its ledger, like any other session that stands.
            self._executor.release()
            self._session = None
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

    def _whose(self, value: Any, files: list[int]) -> dict[str, Any]:
        """Whose the sessions are that have what this user names. A file has to be handed over, open."""
        if len(files) > 1 or not all(is_text(value[name], PATH_CAP) for name in ("word", "path", "spelt")):
            raise Refused("a name that is none")
        wanted = Wanted(
            word=value["word"], path=value["path"], spelt=value["spelt"],
            file=identity(files[0]) if files else None,
        )  # fmt: skip
        found = []
        for each in (*sessions(BASE), *sessions(self._base)):
            # A name alone does not tell who has mounted what: only where it is mounted, which all can see.
            said = each.to_dict() if files else {**each.to_dict(), "images": []}
            if each.owner not in (None, self._user) and meant(wanted, said) != set():
                found.append({"session": each.id, "owner": each.owner})
        return {"done": True, "owners": found}

    def _own(self) -> list[Any]:
        return [each for each in sessions(self._base) if each.owner == self._user]


def _identities(said: Any, count: int) -> list[tuple[int, int, int] | None]:
    """What the user says that lies at his images' paths: he may name them otherwise later."""
    if not isinstance(said, list) or len(said) not in (0, count):
        raise Refused("images and what they are do not fit")
    for each in said:
        if each is not None and not (
            len(each) == 3 and all(type(n) is int and 0 <= n < 1 << 64 for n in each)
        ):
            raise Refused("an image that is none")
    return [None if each is None else tuple(each) for each in said]


def _one(message: Any) -> tuple[str, Any]:
    """A message has one name."""
    ((kind, value),) = message.items()
    return kind, value


if __name__ == "__main__":
    sys.exit(main())
