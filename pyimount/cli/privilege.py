"""The ways from a command to root: this process, or the helper that sudo or pkexec starts.

What acts is loaded when it is used: the commands have to tell of themselves on every machine.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pyimount.execution.asking import AskingExecutor, Helper
    from pyimount.execution.plan_executor import Executor, Observer
    from pyimount.execution.wanted import Wanted


def is_root() -> bool:
    """Whether this process may mount."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def sudo_user() -> str | None:
    """Who called sudo, where this is root by it; None where it is not, or root did."""
    from pyimount.execution.callers import name_of, owner

    number = owner().uid
    return name_of(number) if is_root() and number else None


class Standing(Protocol):
    """What stands, as JSON values (``execution.sessions``), and how it is taken down."""

    def sessions(self) -> list[dict[str, Any]]:
        """The sessions, the oldest first; those that cannot be read have ``damaged``."""

    def undo(
        self, session: str, only: Collection[int] | None, *, lazy: bool, discard: bool = False
    ) -> dict[str, Any]:
        """Take a session down, or these steps of it, and what was written with ``discard``.

        What was done and what is left.
        """

    def preview(self, session: str, only: Collection[int] | None) -> list[Sequence[str]]:
        """The commands that this stands for."""

    def whose(self, wanted: "Wanted") -> list[dict[str, Any]]:
        """The sessions of others that have this: their names, and whose they are."""


class _Nobody:
    """Where root has mounted nothing: only what this user mounted without root stands."""

    def sessions(self) -> list[dict[str, Any]]:
        return []

    def undo(
        self,
        session: str,
        only: Collection[int] | None,  # noqa: ARG002
        *,
        lazy: bool,  # noqa: ARG002
        discard: bool = False,  # noqa: ARG002
    ) -> dict[str, Any]:
        raise KeyError(session)

    def preview(self, session: str, only: Collection[int] | None) -> list[Sequence[str]]:  # noqa: ARG002
        raise KeyError(session)

    def whose(self, wanted: "Wanted") -> list[dict[str, Any]]:  # noqa: ARG002
        return []


class _WithUsers:
    """Those of another, and the mounts that a user made without root."""

    def __init__(self, other: Standing) -> None:
        from pyimount.execution.user_mounts import user_mounts

        self._other = other
        self._mounts = {each["session"]: each for each in user_mounts()}

    def sessions(self) -> list[dict[str, Any]]:
        return [*self._mounts.values(), *self._other.sessions()]

    def undo(
        self, session: str, only: Collection[int] | None, *, lazy: bool, discard: bool = False
    ) -> dict[str, Any]:
        from pyimount.execution.user_mounts import take_down

        if session in self._mounts:
            return take_down(self._mounts[session], lazy=lazy)
        return self._other.undo(session, only, lazy=lazy, discard=discard)

    def preview(self, session: str, only: Collection[int] | None) -> list[Sequence[str]]:
        from pyimount.execution.user_mounts import argv_of

        if session in self._mounts:
            return [argv_of(self._mounts[session], lazy=False)]
        return self._other.preview(session, only)

    def whose(self, wanted: "Wanted") -> list[dict[str, Any]]:
        return self._other.whose(wanted)


class _Own:
    """Root's: all that there are."""

    def __init__(self) -> None:
        self._bases: dict[str, str] = {}

    def sessions(self) -> list[dict[str, Any]]:
        from pyimount.execution.ledger import BASE, USERS_BASE
        from pyimount.execution.sessions import sessions

        found = {base: sessions(base) for base in (BASE, USERS_BASE)}
        self._bases = {each.id: base for base, those in found.items() for each in those}
        return [each.to_dict() for those in found.values() for each in those]

    def undo(
        self, session: str, only: Collection[int] | None, *, lazy: bool, discard: bool = False
    ) -> dict[str, Any]:
        from pyimount.execution.undoing import undo_session

        base = self._bases[session]
        return undo_session(session, base=base, lazy=lazy, only=only, discard=discard).to_dict()

    def preview(self, session: str, only: Collection[int] | None) -> list[Sequence[str]]:
        from pyimount.execution.undoing import would_undo

        return [argv for _, argv in would_undo(session, base=self._bases[session], only=only)]

    def whose(self, wanted: "Wanted") -> list[dict[str, Any]]:  # noqa: ARG002
        return []  # There are no others.


class _Asked:
    """Those that the helper made for this user."""

    def __init__(self, helper: "Helper") -> None:
        self._helper = helper

    def sessions(self) -> list[dict[str, Any]]:
        return list(self._helper.ask("list", None)["sessions"])

    def undo(
        self,
        session: str,
        only: Collection[int] | None,
        *,
        lazy: bool,
        discard: bool = False,  # noqa: ARG002  (root keeps no cache for a user)
    ) -> dict[str, Any]:
        steps = None if only is None else sorted(only)
        return self._helper.ask("undo", {"session": session, "only": steps, "lazy": lazy})

    def preview(self, session: str, only: Collection[int] | None) -> list[Sequence[str]]:
        steps = None if only is None else sorted(only)
        return list(self._helper.ask("preview", {"session": session, "only": steps})["commands"])

    def whose(self, wanted: "Wanted") -> list[dict[str, Any]]:
        said = {"word": wanted.word, "path": wanted.path, "spelt": wanted.spelt}
        try:
            file = os.open(wanted.word, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return list(self._helper.ask("whose", said)["owners"])
        try:
            return list(self._helper.ask("whose", said, [file])["owners"])
        finally:
            os.close(file)


@contextmanager
def standing() -> Iterator[Standing]:
    """What stands, of this user. Raises StepFailed when there is no way to root, LedgerError."""
    if is_root():
        from pyimount.confinement.users import tidy

        try:
            yield _WithUsers(_Own())
        finally:
            tidy()  # what a scan left that was killed
        return
    from pyimount.execution.ledger import BASE, USERS_BASE

    if not os.path.exists(USERS_BASE) and not os.path.exists(BASE):
        yield _WithUsers(_Nobody())  # root has mounted nothing: nothing needs to be asked
        return
    from pyimount.execution.asking import Helper

    with Helper() as helper:
        yield _WithUsers(_Asked(helper))


@contextmanager
def executor(observe: "Observer | None" = None) -> Iterator["Executor | AskingExecutor"]:
    """Who carries out a plan. Raises StepFailed when there is no way to root."""
    from pyimount.execution.asking import AskingExecutor
    from pyimount.execution.plan_executor import Executor, nobody

    if is_root():
        yield Executor(observe=observe or nobody)
    else:
        with AskingExecutor(observe=observe or nobody) as asking:
            yield asking
