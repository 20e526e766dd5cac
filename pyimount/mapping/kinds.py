"""Which module maps what: by a group's type, an encrypted volume's type, a recipe's kind.

The modules are loaded when a group or a volume of theirs is there.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import cast

from pyimount.formats import Details
from pyimount.keys import Key
from pyimount.mapping.assembly import Assembly, Member, Unlocked
from pyimount.mapping.errors import OutOfMemory, UnlockError, WrongKey
from pyimount.problems import Code, Problem
from pyimount.records import EMPTY
from pyimount.sources.budget import Meter
from pyimount.sources.errors import OpenError, ReadError
from pyimount.sources.source import Source

ASSEMBLED: Mapping[str, str] = {
    "ddf": "ddf",
    "isw": "imsm",
    "ldm": "ldm",
    "lvm2": "lvm2",
    "md": "md",
    "vinum": "vinum",
    "vmfs_lvm": "vmfs_lvm",
}
"""The module that assembles groups of a type, and opens what it made."""

OPENED: Mapping[str, str] = {
    "BitLocker": "bitlocker",
    "crypto_LUKS": "luks",
    "cs_fvault2": "corestorage",
    "veracrypt": "veracrypt",
}
"""The module that opens encrypted volumes of a type."""


NAMED: Mapping[str, str] = {"btrfs": "btrfs_devices", "lvm2": "lvm2"}
"""The module that knows which members a group of a type names that may not name it themselves."""


def _module(name: str) -> ModuleType:
    return import_module(f"pyimount.mapping.{name}")


def assemble(kind: str, members: Sequence[Member]) -> Assembly | None:
    """What the members of a group of this type make up; None for types that nothing here assembles."""
    name = ASSEMBLED.get(kind)
    return None if name is None else cast("Assembly", _module(name).assemble(members))


def members_named(kind: str, members: Sequence[Member]) -> Mapping[str, str]:
    """The UUIDs of all members that a group says it has, with their names there.

    None for types all whose members know their group themselves.
    """
    name = NAMED.get(kind)
    return EMPTY if name is None else cast("Mapping[str, str]", _module(name).members_named(members))


def shadow_copies(source: Source, member: int, others: Sequence[tuple[int, str, Source]] = ()) -> Assembly:
    """The shadow copies of the volume in ``source``, of layer ``member``.

    ``others``: volumes that keep stores for another's copies, by the id and the index of their layer.
    """
    module = _module("vss")
    keeping = [module.StoreVolume(*each) for each in others]
    return cast("Assembly", module.shadow_copies(source, member, keeping))


def open_mapped(kind: str, parameters: Details, inputs: Sequence[Source]) -> Source:
    """The bytes of an assembled volume; raises OpenError for a kind that nothing here opens."""
    if kind not in ASSEMBLED.values() and kind != "vss":
        raise OpenError(f"nothing opens recipes of kind {kind}")
    return cast("Source", _module(kind).open_mapped(parameters, inputs))


def disagreement(source: Source) -> Problem | None:
    """What is said of an assembled volume whose members do not have the same first bytes, if they should."""
    from pyimount.mapping.raid import COMPARED, agrees

    try:
        if agrees(source):
            return None
    except ReadError:
        # What cannot be read is said where it is read.
        return None
    message = (
        f"its members do not agree on the first {COMPARED} bytes of what they hold: they are of two machines,"
        " were imaged at different times, or were not in step; what is read is what the first of them has"
    )
    return Problem(Code.COPIES_DIFFER, message)


def unlock(
    kind: str, source: Source, keys: Sequence[Key], header: Source | None = None, *, meter: Meter
) -> tuple[Unlocked | None, tuple[Problem, ...]]:
    """Open an encrypted volume with the first of the keys that fits; without any, where it needs none.

    Returns what was opened, or None and why not: ``locked`` is the parser's to say, so without keys
    there is no problem here. ``header``: a detached one. ``meter``: what deriving
    keys is charged to. Raises BudgetError as the source does.
    """
    name = OPENED.get(kind)
    if name is None:
        return None, ()
    module = _module(name)
    options: dict[str, object] = {"meter": meter}
    if header is not None:
        options["header"] = header
    refused: list[Problem] = []
    wrong = unknown = False
    tried = 0
    # A suspended BitLocker volume, or one whose key is empty, needs no key.
    candidates: tuple[Key | None, ...] = tuple(keys) or ((None,) if name == "bitlocker" else ())
    for key in candidates:
        try:
            return cast("Unlocked", module.unlock(source, key, **options)), ()
        except WrongKey as error:
            wrong = True
            tried += error.tried
        except (UnlockError, ReadError) as error:
            problem = (
                error.problem if isinstance(error, UnlockError) else Problem(Code.READ_ERROR, str(error))
            )
            unknown = unknown or isinstance(error, OutOfMemory)
            if problem not in refused:
                refused.append(problem)
    # Where one could not be tried here, nobody knows whether a right one is among them.
    if wrong and keys and not unknown:
        refused.append(WrongKey(tried).problem)
    return None, tuple(refused)


def reopen(
    kind: str,
    source: Source,
    parameters: Details,
    keys: Sequence[Key],
    header: Source | None = None,
    *,
    meter: Meter,
) -> Source:
    """The plain bytes of a volume that was opened before, from its recipe and a key that opens it.

    Raises OpenError when none of the keys does.
    """
    if kind not in OPENED.values():
        raise OpenError(f"nothing opens recipes of kind {kind}")
    module = _module(kind)
    options: dict[str, object] = {"meter": meter}
    if header is not None:
        options["header"] = header
    why = "it needs a key"
    for key in tuple(keys) or ((None,) if kind == "bitlocker" else ()):
        try:
            return cast("Source", module.reopen(source, parameters, key, **options))
        except UnlockError as error:
            why = str(error)
    raise OpenError(why)
