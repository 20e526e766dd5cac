"""Devices that the kernel makes of others: logical and unlocked volumes, arrays, network block devices."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pyimount.execution import folders, holding, tools
from pyimount.execution.errors import Held, Refused, StepFailed, ToolFailed, WrongKey
from pyimount.execution.ledger import Entry, Made
from pyimount.execution.scanned_files import open_scanned
from pyimount.execution.step_acts import Act, Given, soon
from pyimount.planning.steps import (
    DEVICE,
    AssembleArray,
    ConnectNbd,
    MapVolume,
    Names,
    OpenEncrypted,
    Place,
    Result,
    Step,
)

_BLOCK = "/sys/block"
_APPEARS_WITHIN = 10.0
_GONE_WITHIN = 5.0
_BAD_KEY = 2
"""What cryptsetup ends with when the key is a wrong one."""


class _MapVolume(Act[MapVolume]):
    """A logical volume by a table of our own; named and marked as ours."""

    def perform(self, step: MapVolume, names: Names, given: Given) -> Made:
        for line in step.table:
            if not line.target.isidentifier() or any("\n" in str(one) for one in line.arguments):
                raise Refused(f"{tools.printable(line.target)!r} is no line of a device-mapper table")
        data = step.table_text(names).encode()
        tools.run(step.argv(names), data=data, pass_fds=given.hold)
        return _mapped(names.mark(step.id))

    def undo(self, entry: Entry, step: MapVolume, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        _unmap(names.mark(step.id), ("dmsetup", "remove", "--retry"))


class _OpenEncrypted(Act[OpenEncrypted]):
    """An unlocked volume. Each key is tried; none is ever in an argument or a file."""

    def perform(self, step: OpenEncrypted, names: Names, given: Given) -> Made:
        header = None if step.header is None else open_scanned(names(step.header), given.files, given.opened)
        try:
            return self._tried(step, names, given, header)
        finally:
            if header is not None:
                os.close(header)

    def _tried(self, step: OpenEncrypted, names: Names, given: Given, header: int | None) -> Made:
        tried = 0
        for kind, secret in map(_key, given.keys):
            tried += 1
            if not secret:
                continue  # cryptsetup takes no empty one.
            try:
                _open_with(step, names, given, (kind, secret), header)
            except ToolFailed as error:
                if error.status != _BAD_KEY:
                    raise
                continue
            return _mapped(names.mark(step.id))
        if not tried:
            raise WrongKey(f"volume {step.key} is locked, and there is no key for it", "--keys")
        said = "the key does not open" if tried == 1 else f"none of the {tried} keys opens"
        raise WrongKey(f"{said} volume {step.key}", "--keys")

    def undo(self, entry: Entry, step: OpenEncrypted, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        _unmap(names.mark(step.id), ("cryptsetup", "close"))


def _key(told: tuple[str, bytes] | Mapping[str, Any]) -> tuple[str, bytes]:
    if isinstance(told, Mapping):
        return told["kind"], bytes.fromhex(told["secret"])
    return told


def _open_with(
    step: OpenEncrypted, names: Names, given: Given, key: tuple[str, bytes], header: int | None
) -> None:
    """Run cryptsetup with one key; ``header``: the open detached header, which it gets in place of a path."""
    kind, secret = key
    argv, held = list(step.argv(names)), list(given.hold)
    if header is not None:
        argv = [_header_at(header) if one.startswith("--header=") else one for one in argv]
        held.append(header)
    if kind not in ("m", "k"):
        tools.run(argv, data=secret, timeout=300.0, pass_fds=held)
        return
    # The volume's own key is read from a path of its own: that of a file which is only in memory.
    memory = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        data = bytes.fromhex(secret.decode("ascii")) if kind == "k" else secret
        os.write(memory, data)
        argv.remove("--key-file=-")
        argv.insert(2, f"--volume-key-file=/proc/self/fd/{memory}")
        tools.run(argv, timeout=300.0, pass_fds=(memory, *held))
    except ValueError as error:
        raise WrongKey(f"the full volume encryption key of volume {step.key} is not hexadecimal") from error
    finally:
        os.close(memory)


def _header_at(header: int) -> str:
    return f"--header={folders.through(header)}"


def _mapped(name: str) -> Made:
    path = f"/dev/mapper/{name}"
    if not soon(lambda: os.path.exists(path), _APPEARS_WITHIN):
        raise StepFailed(f"{path} does not appear")
    return Made(path, {"name": name, "uuid": _dm_uuid(name)})


def _dm_uuid(name: str) -> str | None:
    """The device-mapper UUID of the mapping of this name; None when there is none."""
    for block in _blocks("dm-"):
        if _read(f"{_BLOCK}/{block}/dm/name") == name:
            return _read(f"{_BLOCK}/{block}/dm/uuid")
    return None


def _blocks(prefix: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(_BLOCK) if name.startswith(prefix))
    except FileNotFoundError:
        return []


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _has_size(block: str) -> bool:
    return _read(f"{_BLOCK}/{block}/size") not in ("", "0")


def _unmap(name: str, command: tuple[str, ...]) -> None:
    uuid = _dm_uuid(name)
    if uuid is None:
        return
    # dmsetup gives it ours, cryptsetup one that ends in the name; a name alone proves nothing.
    if uuid != name and not (uuid.startswith("CRYPT-") and uuid.endswith(f"-{name}")):
        return
    try:
        tools.run((*command, name))
    except ToolFailed as error:
        who = holding.by(f"/dev/mapper/{name}")
        raise Held(f"/dev/mapper/{name} is in use{who}" if who else str(error)) from error
    if not soon(lambda: _dm_uuid(name) is None, _GONE_WITHIN):
        raise Held(f"/dev/mapper/{name} does not go")


class _AssembleArray(Act[AssembleArray]):
    """An array, which is known as ours by its members: our own devices and no others."""

    def perform(self, step: AssembleArray, names: Names, given: Given) -> Made:  # noqa: ARG002
        for place in step.devices:
            if not isinstance(place, Result):
                raise Refused(f"{place} was not made in this session")
        try:
            tools.run(step.argv(names))
        except ToolFailed as error:
            # It warns by its status of what it assembles all the same.
            if not _arrays(step.devices, names):
                # Two arrays of one UUID it does not have at a time, whatever their members.
                again = "already active" in str(error)
                raise StepFailed(str(error), "--backend user" if again else None) from error
        found = _arrays(step.devices, names)
        if not found:
            raise StepFailed("mdadm made no array of these members")
        device = f"/dev/{found[0]}"
        if not soon(lambda: os.path.exists(device), _APPEARS_WITHIN) or _read(
            f"{_BLOCK}/{found[0]}/size"
        ) in ("", "0"):
            raise StepFailed(f"the array {found[0]} does not start")
        return Made(device, {"members": [names(member) for member in step.devices]})

    def undo(self, entry: Entry, step: AssembleArray, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        # An array within a container goes before it, whichever has the lower number.
        before: list[str] = []
        while (standing := _arrays(step.devices, names)) and standing != before:
            before = standing
            for name in standing:
                with contextlib.suppress(ToolFailed):
                    tools.run(("mdadm", "--stop", f"/dev/{name}"))
        for name in standing:
            if who := holding.by(f"/dev/{name}"):
                raise Held(f"/dev/{name} is in use{who}")
        if not soon(lambda: not _arrays(step.devices, names), _GONE_WITHIN):
            raise Held(f"{', '.join(_arrays(step.devices, names))} does not go")
        # Where no udev runs, mdadm makes its link itself, and leaves it behind.
        link = f"/dev/md/{names.mark(step.id)}"
        if os.path.islink(link):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)


def _arrays(devices: Sequence[Place], names: Names) -> list[str]:
    """The md arrays that have members, all of them ours."""
    ours = {os.path.basename(os.path.realpath(names(device))) for device in devices}
    found = []
    for block in _blocks("md"):
        members = set()
        with contextlib.suppress(FileNotFoundError):
            members = set(os.listdir(f"{_BLOCK}/{block}/slaves"))
        if members and members <= ours:
            found.append(block)
    return found


class _ConnectNbd(Act[ConnectNbd]):
    """A network block device, known as ours by the process that serves it, which has our mark."""

    def perform(self, step: ConnectNbd, names: Names, given: Given) -> Made:  # noqa: ARG002
        if not names(step.image).startswith("/"):
            raise Refused(f"{names(step.image)} is no path")
        mark = names.mark(step.id)
        last = "there is none"
        for block in _blocks("nbd"):
            if os.path.exists(f"{_BLOCK}/{block}/pid") or _has_size(block):
                continue
            argv = [f"/dev/{block}" if one == DEVICE else one for one in step.argv(names)]
            try:
                tools.start_daemon((argv[0], f"--description={mark}", "--fork", *argv[1:]))
            except ToolFailed as error:
                last = str(error)
                continue
            if not soon(partial(_has_size, block), _APPEARS_WITHIN):
                raise StepFailed(f"/dev/{block} does not come up")
            return Made(f"/dev/{block}", {"pid": tools.marked("qemu-nbd", f"--description={mark}")})
        raise StepFailed(f"no network block device is free: {last}", "modprobe nbd")

    def undo(self, entry: Entry, step: ConnectNbd, names: Names, *, lazy: bool) -> None:  # noqa: ARG002
        argument = f"--description={names.mark(step.id)}"
        for pid in tools.marked("qemu-nbd", argument):
            served = next((one for one in tools.arguments(pid) if one.startswith("/dev/nbd")), "")
            who = holding.by(served, besides=pid) if served else ""
            if who:
                raise Held(f"{served} is in use{who}")
            tools.end(pid, argument)
        if not soon(lambda: not tools.marked("qemu-nbd", argument), _GONE_WITHIN):
            raise Held("qemu-nbd does not end")


ACTS: Mapping[type[Step], Act[Any]] = {
    MapVolume: _MapVolume(),
    OpenEncrypted: _OpenEncrypted(),
    AssembleArray: _AssembleArray(),
    ConnectNbd: _ConnectNbd(),
}
"""How each of these steps is done."""
