"""Opening encrypted volumes during a scan: which keys are tried on what, and what is said of it."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyimount.formats import Identity, Usage
from pyimount.mapping.assembly import Unlocked
from pyimount.problems import NOT_DONE, Code
from pyimount.recognition.probing import Probe
from pyimount.sources.budget import Meter
from pyimount.sources.file import FileSource
from pyimount.sources.source import Source

if TYPE_CHECKING:
    from pyimount.keys import Keyring

_PROVEN = {"crypto_LUKS": "crypto_LUKS", "veracrypt": "crypto_TCRYPT"}
"""The type of what a key opened without a signature: libblkid's word, and udisks'."""

_NEEDS_NO_KEY = "BitLocker"
"""A suspended volume keeps its key beside the lock."""

_NOT_TRIED = NOT_DONE | {Code.BUDGET}
"""The codes of what says that a key was not tried to the end."""


class Unlocking:
    """The keys of one scan. Without any, only what needs none is opened.

    ``header``: a file with the header of a LUKS volume that has none of its own; it is used for
    volumes that are not recognised, and for LUKS volumes. Raises OpenError when it cannot be
    opened, and BadKey for a key that is not written as one.
    """

    def __init__(
        self,
        keys: "Keyring | Mapping[str | int, str] | None",
        header: str | os.PathLike[str] | FileSource | None = None,
        *,
        try_veracrypt: bool = False,
    ) -> None:
        self._keys = _keyring(keys) if keys else None
        self._header = FileSource(header) if isinstance(header, str | os.PathLike) else header
        self._try_veracrypt = try_veracrypt

    def close(self) -> None:
        """Close the header."""
        if self._header is not None:
            self._header.close()

    @property
    def expected(self) -> frozenset[str]:
        """The indexes and UUIDs of volumes for which keys were given one by one, in lower case."""
        return self._keys.expected if self._keys is not None else frozenset()

    def of(self, source: Source, found: Probe, index: str, meter: Meter) -> tuple[Unlocked | None, Probe]:
        """Try to open what was found; returns what was opened, and the Probe with what is to be said of it.

        ``meter``: what deriving keys is charged to.

        Raises BudgetError as the source does.
        """
        kind = self._kind(found)
        if kind is None or (self._keys is None and kind != _NEEDS_NO_KEY):
            return None, found
        from pyimount.mapping.kinds import unlock

        identity = found.identity
        keys = self._keys.for_volume(index, identity.uuid if identity else None) if self._keys else ()
        header = self._header if kind == "crypto_LUKS" else None
        unlocked, problems = unlock(kind, source, keys, header, meter=meter)
        if unlocked is None:
            if identity is None:
                # What is only tried, not known to be encrypted, did not have to open.
                problems = tuple(problem for problem in problems if problem.code in _NOT_TRIED)
            return None, found.replaced(problems=(*found.problems, *problems))
        if header is not None:
            parameters = {**unlocked.parameters, "header": os.path.abspath(header.path)}
            unlocked = unlocked.replaced(parameters=parameters)
        if identity is None:
            # No signature: that it opened is what shows what it is.
            proven = Identity(type=_PROVEN[kind], locked=False, details={"opened_by": dict(unlocked.details)})
            return unlocked, found.replaced(identity=proven, usage=Usage.CRYPTO)
        opened = identity.replaced(
            locked=False,
            details={**identity.details, "opened_by": dict(unlocked.details)},
            problems=tuple(problem for problem in identity.problems if problem.code is not Code.LOCKED),
        )
        return unlocked, found.replaced(identity=opened)

    def _kind(self, found: Probe) -> str | None:
        """What this volume may be opened as."""
        if found.identity is not None:
            return found.identity.type if found.identity.locked else None
        if found.table is not None:
            return None
        if self._header is not None:
            return "crypto_LUKS"
        return "veracrypt" if self._try_veracrypt else None


def _keyring(keys: "Keyring | Mapping[str | int, str]") -> "Keyring":
    from pyimount.keys import Keyring

    return keys if isinstance(keys, Keyring) else Keyring(keys)
