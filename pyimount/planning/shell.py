"""A plan as a commented shell script: for reading before anything runs, and for pasting where that works."""

import re
import shlex
from collections.abc import Iterator, Mapping

from pyimount.layers import Layer, Scan, VolumeLayer
from pyimount.planning.steps import (
    DEVICE,
    ActivateVolumeGroup,
    AssembleArray,
    AttachFlash,
    AttachLoop,
    Carve,
    ConnectNbd,
    ExposeRaw,
    ExposeShadows,
    ExposeUnlocked,
    MakeDirectory,
    MapVolume,
    MountPlan,
    Names,
    OpenEncrypted,
    Refusal,
    RunImageMounter,
    Step,
)

_VARIABLES: Mapping[str, str] = {
    "MakeDirectory": "DIR",
    "ExposeRaw": "RAW",
    "AttachLoop": "LOOP",
    "ConnectNbd": "NBD",
    "RunImageMounter": "IMAGE",
    "OpenEncrypted": "PLAIN",
    "AssembleArray": "ARRAY",
    "MapVolume": "MAPPED",
    "ExposeShadows": "SHADOWS",
    "ExposeUnlocked": "UNLOCKED",
    "ActivateVolumeGroup": "LOGICAL",
    "AttachFlash": "FLASH",
}
_VARIABLE = re.compile("\0([A-Z]+[0-9]+)\0")
_PLAIN_AT: Mapping[type[Step], str] = {
    OpenEncrypted: "/dev/mapper/{mark}",
    MapVolume: "/dev/mapper/{mark}",
    AssembleArray: "/dev/md/{mark}",
}


def script(plan: MountPlan, scan: Scan | None = None) -> Iterator[str]:
    """The lines of the script; ``scan`` lets the comments say what each step is for.

    Nothing in it that comes from an image is anything but a quoted word or a comment.
    """
    yield "#!/bin/sh"
    yield f"# What mounting does as root; session {printable(plan.session)}. pyimount makes the system calls"
    yield "# itself where it can; these commands stand for them."
    for image in plan.images:
        yield f"# image: {printable(image)}"
    yield "set -eu"
    # A NUL is in no path, and so in nothing that could be taken for a variable.
    variables = {step.id: f"\0{_variable(step)}\0" for step in plan.steps if step.yields}
    names = Names(plan.session, variables)
    about: int | None = None
    for step in plan.steps:
        if step.layer is not None and step.layer != about:
            about = step.layer
            yield ""
            yield f"# {_said(scan, about)}"
        yield from _lines(step, names)
    if plan.refused:
        yield ""
        yield "# Not mounted:"
    for refusal in plan.refused:
        yield f"# {_refusal(refusal)}"
    if plan.uncarved:
        yield ""
        yield "# Not carved:"
    for refusal in plan.uncarved:
        yield f"# {_refusal(refusal)}"


def printable(text: str) -> str:
    r"""A text on one line, safe for a terminal: what is not printable as ``\xNN`` or ``\uNNNN``."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def quoted(word: str) -> str:
    """A word as a shell reads it back, variables among it as such; nothing in it acts on a terminal."""
    made = []
    for number, piece in enumerate(_VARIABLE.split(word)):
        if number % 2:
            made.append(f'"${piece}"')
        elif piece.isprintable():
            made.append(shlex.quote(piece) if piece else "")
        else:
            escaped = "".join(map(_escaped, piece))
            made.append(f"$'{escaped}'")
    return "".join(made) or "''"


def _escaped(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if char.isprintable():
        return char
    # By bytes, whatever the shell takes for a character.
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))


def _variable(step: Step) -> str:
    return f"{_VARIABLES.get(type(step).__name__, 'AT')}{step.id}"


def _lines(step: Step, names: Names) -> Iterator[str]:
    argv = step.argv(names)
    variable = _variable(step)
    command = " ".join(map(quoted, argv))
    if isinstance(step, AttachLoop):
        yield f"{variable}=$({command})"
    elif isinstance(step, MakeDirectory):
        yield f"{variable}={quoted(argv[-1])}"
        yield f'{" ".join(map(quoted, argv[:-1]))} "${variable}"'
    elif isinstance(step, ConnectNbd):
        yield f"{variable}=/dev/nbd0  # the first that is free"
        yield " ".join(f'"${variable}"' if word == DEVICE else quoted(word) for word in argv)
    elif isinstance(step, MapVolume):
        table = " ".join(map(quoted, step.table_text(names).splitlines()))
        yield f"printf '%s\\n' {table} | {command}"
    elif isinstance(step, ExposeRaw):
        yield "# Our own server, without root; it gets the report, and the keys, from pyimount."
        yield command
        yield f"{variable}={quoted(names(step.at))}"
    elif isinstance(step, AttachFlash):
        yield command
        yield f"cat {quoted(names(step.device))} > /dev/mtd0"
        yield f"{variable}=mtd0"
    elif isinstance(step, Carve):
        yield f"mkdir --parents {quoted(step.at)}"
        yield f"# As nobody, who is handed the device and the folder.\n{command}"
    elif isinstance(step, RunImageMounter | ExposeShadows | ExposeUnlocked):
        if isinstance(step, ExposeUnlocked):
            yield "# The key comes from standard input, or from a file in memory."
        yield command
        yield f"{variable}={quoted(names(step.at))}"
    elif isinstance(step, ActivateVolumeGroup):
        yield command
        uuid = f"LVM-{step.group}{step.volume}".replace("-", "").replace("LVM", "LVM-", 1)
        yield f"{variable}=/dev/mapper/$(dmsetup info --columns --noheadings -o name -S uuid={quoted(uuid)})"
    else:
        if isinstance(step, OpenEncrypted):
            yield "# The key comes from standard input."
        yield command
    place = _PLAIN_AT.get(type(step))
    if place is not None:
        yield f"{variable}={quoted(place.format(mark=names.mark(step.id)))}"


def _said(scan: Scan | None, number: int) -> str:
    layer: Layer | None = None
    if scan is not None:
        layers: tuple[Layer, ...] = scan.disks + scan.volumes
        layer = next((each for each in layers if each.id == number), None)
    if layer is None:
        return f"layer {number}"
    if not isinstance(layer, VolumeLayer):
        return f"disk {printable(layer.paths[0])}"
    words = [f"volume {printable(layer.index)}", printable(layer.type or "not recognised")]
    if layer.label:
        words.append(f'"{printable(layer.label[:80])}"')
    if layer.last_mountpoint:
        words.append(f"last on {printable(layer.last_mountpoint[:80])}")
    return ", ".join(words)


def _refusal(refusal: Refusal) -> str:
    said = f"{refusal.index or 'disk'}: {refusal.code}: {refusal.reason}"
    return printable(f"{said} ({refusal.remedy})" if refusal.remedy else said)
