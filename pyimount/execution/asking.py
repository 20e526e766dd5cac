"""A user's way to root: the helper is started through sudo or pkexec, and asked step by step.

What the user may read is opened here, with the user's own rights, and handed over as open files. What serves
layers as files is started here too, with no other rights than the user's.
"""

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

from pyimount.confinement.messages import FILES_CAP, MessageError, receive, send
from pyimount.confinement.own_modules import command
from pyimount.execution.errors import StepFailed, ToolMissing
from pyimount.execution.ledger import USERS_BASE
from pyimount.execution.plan_executor import Failure, Observer, Outcome, nobody
from pyimount.execution.protocol import HELPER, greeting, mismatch
from pyimount.execution.scanned_files import open_scanned
from pyimount.execution.servers import Server, serve_as_user
from pyimount.execution.tools import SEARCH_PATH
from pyimount.execution.wanted import identity
from pyimount.planning.steps import (
    AttachLoop,
    ExposeRaw,
    ExposeUnlocked,
    MountPlan,
    Names,
    OpenEncrypted,
    Result,
    Step,
)
from pyimount.records import EMPTY
from pyimount.sources.identity import FileIdentity

_WAYS = (("sudo", "--"), ("pkexec",))
_ANSWERS_WITHIN = 180.0
"""Seconds for one step: a key may take a minute."""


_NO_KEYS: Mapping[int, Any] = {}


class Helper:
    """A running helper; use it in a ``with`` block. Raises StepFailed when root is refused."""

    def __init__(self, way: Sequence[str] | None = None) -> None:
        self._way = tuple(way) if way is not None else _way()
        self._folder = tempfile.mkdtemp(prefix="pyimount-", dir=os.environ.get("XDG_RUNTIME_DIR"))
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        path = os.path.join(self._folder, "helper")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen(1)
            listening.settimeout(0.2)
            line = (*self._way, *_helper(), path)
            # sudo asks for a password on the terminal, whatever our standard input is.
            self._process = subprocess.Popen(line, cwd="/")  # noqa: S603
            while self._socket is None:
                try:
                    self._socket, _ = listening.accept()
                except TimeoutError:
                    if self._process.poll() is not None:
                        self._clear()
                        name = os.path.basename(self._way[0])
                        raise StepFailed(f"this needs root, and {name} did not give it") from None
        self._socket.settimeout(_ANSWERS_WITHIN)
        try:
            self._greet()
        except StepFailed:
            self._clear()
            raise
        return self

    def _greet(self) -> None:
        """Say which protocol is spoken here, and hear which is there. Raises StepFailed."""
        remedy = "sudo pyimount install-helper, with the pyimount that is to be used"
        try:
            said = self.ask("greeting", greeting())
        except StepFailed as error:
            raise StepFailed(str(error), remedy) from error
        why = mismatch(said, "root's helper")
        if why is not None:
            raise StepFailed(why, remedy)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, kind: str, value: Any, files: Sequence[int] = ()) -> dict[str, Any]:
        """Send one message; returns the answer. Raises StepFailed for a refusal, and when the helper ends."""
        answer, handed = self.ask_for_files(kind, value, files)
        for file in handed:
            os.close(file)
        return answer

    def ask_for_files(
        self, kind: str, value: Any, files: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        """As ``ask``; also the open files that came with the answer, which the caller closes."""
        if self._socket is None:
            raise StepFailed("the helper does not run")
        try:
            send(self._socket, {kind: value}, files)
            answer, handed = receive(self._socket)
        except MessageError as error:
            raise StepFailed(f"the helper ended: {error}") from error
        if "refused" in answer:
            raise StepFailed(f"root refuses: {answer['refused']}", answer.get("remedy"))
        return dict(answer), handed


def installed_helper() -> bool:
    """Whether the helper is installed by itself: root's, and only root's to write."""
    try:
        is_ = os.stat(HELPER, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(is_.st_mode) and is_.st_uid == 0 and not is_.st_mode & 0o022


def _helper() -> tuple[str, ...]:
    """The helper's command line: the installed one's, else that of this very package."""
    return (HELPER,) if installed_helper() else command("pyimount.execution.helper")


def _way() -> tuple[str, ...]:
    for way in _WAYS:
        path = shutil.which(way[0], path=":".join(SEARCH_PATH))
        if path is not None:
            return (path, *way[1:])
    raise ToolMissing("this needs root, and neither sudo nor pkexec is installed", "run it as root")


class AskingExecutor:
    """Carries out plans through the helper, which it starts when it is first needed; close it at the end.

    Takes what ``Executor`` takes.
    """

    def __init__(self, *, observe: Observer = nobody, way: Sequence[str] | None = None) -> None:
        self.base = USERS_BASE
        self._observe = observe
        self._way = way
        self._stack = ExitStack()
        self._helper: Helper | None = None
        self._begun: str | None = None
        self._places: dict[int, str] = {}
        self._unshown: dict[Result, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(
        self,
        plan: MountPlan,
        scan: Mapping[str, Any] = EMPTY,
        keys: Mapping[int, Any] = _NO_KEYS,
        *,
        files: Mapping[str, FileIdentity] = EMPTY,
    ) -> Outcome:
        """Carry out a plan; raises StepFailed without a way to root, and for files that were not scanned."""
        if not plan.steps:
            return Outcome(session=plan.session, plan=plan, places=dict(self._places))
        if self._helper is None:
            self._helper = self._stack.enter_context(Helper(self._way))
        if self._begun is None:
            lying = [identity(path) for path in plan.images]
            begin = {"session": plan.session, "images": list(plan.images), "lying": lying}
            said = self._helper.ask("begin", begin)
            if "failed" in said:
                raise StepFailed(str(said["failed"]), said.get("remedy"))
            _hand_over(self._helper, _paths(plan), files)
            self._begun = plan.session
        failures: dict[int, Failure] = {}
        for step in plan.steps:
            failure = self._lacking(step, failures)
            if failure is None and isinstance(step, ExposeRaw):
                serve = partial(
                    serve_as_user,
                    files=step.files, scan=scan, scanned=files, mark=Names(plan.session).mark(step.id),
                    keys=keys.get(step.id, ()),
                )  # fmt: skip
                failure = self._shown(self._helper, step, serve)
            elif failure is None:
                failure = self._one(self._helper, step, keys.get(step.id))
            if failure is not None:
                failures[step.id] = failure
        return Outcome(
            session=plan.session, plan=plan, places=dict(self._places), failures=tuple(failures.values())
        )

    def _one(self, helper: Helper, step: Step, keys: Any) -> Failure | None:
        try:
            self._observe("intended", step)
            if keys:
                helper.ask("keys", {"step": step.id, "keys": _told(step, keys)})
            return self._done(step, helper.ask("step", step.to_dict()))
        except StepFailed as error:
            return Failure(step=step, reason=str(error), remedy=error.remedy)

    def _shown(self, helper: Helper, step: ExposeRaw, serve: Callable[[int], Server]) -> Failure | None:
        """Root mounts /dev/fuse and hands it over; it is served from here."""
        try:
            self._observe("intended", step)
            answer, handed = helper.ask_for_files("step", step.to_dict())
            try:
                failure = self._done(step, answer)
                if failure is None:
                    if len(handed) != 1:
                        raise StepFailed("root handed over nothing to serve")
                    failed = serve(handed[0]).failed
                    self._unshown |= {Result(step.id, name): reason for name, reason in failed.items()}
            finally:
                for file in handed:
                    os.close(file)
        except StepFailed as error:
            self._places.pop(step.id, None)
            return Failure(step=step, reason=str(error), remedy=error.remedy)
        return failure

    def _lacking(self, step: Step, failures: Mapping[int, Failure]) -> Failure | None:
        for value in (getattr(step, name) for name in step.fields):
            if isinstance(value, Result) and value in self._unshown:
                return Failure(step=step, reason=self._unshown[value], because=value.step)
        first = next((failures[need] for need in step.needs() if need in failures), None)
        if first is None:
            return None
        cause = first.step.id if first.because is None else first.because
        return Failure(step=step, reason=first.reason, remedy=first.remedy, because=cause)

    def _done(self, step: Step, answer: Mapping[str, Any]) -> Failure | None:
        if "failed" in answer:
            return Failure(step=step, reason=str(answer["failed"]), remedy=answer.get("remedy"))
        if answer.get("place"):
            self._places[step.id] = str(answer["place"])
        self._observe("done", step)
        return None


def _told(step: Step, keys: Any) -> Any:
    if isinstance(step, OpenEncrypted | ExposeUnlocked):
        return [(kind, secret.hex()) for kind, secret in keys]
    return keys


def _paths(plan: MountPlan) -> list[str]:
    """The files that the steps name."""
    found: dict[str, None] = {}
    for step in plan.steps:
        if isinstance(step, AttachLoop) and isinstance(step.backing, str):
            found[step.backing] = None
        if isinstance(step, OpenEncrypted) and isinstance(step.header, str):
            found[step.header] = None
    return list(found)


def _hand_over(helper: Helper, paths: Iterable[str], scanned: Mapping[str, FileIdentity]) -> None:
    """Open files with the user's own rights, and hand them to root."""
    pending = list(paths)
    while pending:
        some, pending = pending[:FILES_CAP], pending[FILES_CAP:]
        with ExitStack() as stack:
            files: list[int] = []
            for path in some:
                files.append(open_scanned(path, scanned))
                stack.callback(os.close, files[-1])
            helper.ask("files", some, files)
