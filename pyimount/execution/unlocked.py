"""BitLocker volumes that another program opens: bdemount or dislocker.

A key gets there by standard input, or as a file that is only in memory; where a program wants one of a kind
in its arguments, it does not get it.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from pyimount.execution import foreign
from pyimount.execution.errors import Refused, ToolFailed, WrongKey
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.step_acts import Act, Given
from pyimount.planning.steps import ExposeUnlocked, Names, Result, Step

_FILES: Mapping[str, Mapping[str, str]] = {"bdemount": {"s": "-s"}, "dislocker-fuse": {"s": "-f"}}
"""The options for a key that stands in a file, by its kind."""
_ASKED: Mapping[str, Mapping[str, str]] = {"bdemount": {}, "dislocker-fuse": {"p": "-u"}}
"""Those for one that is asked for."""


class _ExposeUnlocked(Act[ExposeUnlocked]):
    def perform(self, step: ExposeUnlocked, names: Names, given: Given) -> Made:
        if not isinstance(step.device, Result) or step.tool not in _FILES:
            raise Refused(f"{step.tool} on {step.device}: was not made in this session, or is none")
        said = "there is no key of a kind that it gets"
        for kind, secret in (*map(_key, given.keys), ("", b"")):
            try:
                return self._open(step, names, kind, secret)
            except ToolFailed as error:
                said = str(error)
        raise WrongKey(f"volume {step.key} is not opened: {said}", "--keys")

    def _open(self, step: ExposeUnlocked, names: Names, kind: str, secret: bytes) -> Made:
        at = names(step.at)
        with ExitStack() as stack:
            if kind in _FILES[step.tool]:
                memory = os.memfd_create("key", os.MFD_CLOEXEC)
                stack.callback(os.close, memory)
                os.write(memory, secret)
                key = (_FILES[step.tool][kind], f"/proc/self/fd/{memory}")
                return foreign.start(step.argv_with(names, key), at, pass_fds=(memory,))
            if kind in _ASKED[step.tool]:
                return foreign.start(
                    step.argv_with(names, (_ASKED[step.tool][kind],)), at, data=secret + b"\n"
                )
            if kind:
                raise ToolFailed(f"{step.tool} gets no key of the kind {kind} here")
            # What is suspended has its key beside the lock.
            return foreign.start(step.argv(names), at)

    def undo(self, entry: Entry, step: ExposeUnlocked, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        foreign.end(step.tool, names(step.at), lazy=lazy)


def _key(told: tuple[str, bytes] | Mapping[str, Any]) -> tuple[str, bytes]:
    if isinstance(told, Mapping):
        return told["kind"], bytes.fromhex(told["secret"])
    return told


ACTS: Mapping[type[Step], Act[Any]] = {ExposeUnlocked: _ExposeUnlocked()}
"""How this step is done."""
