"""How a user's pyimount and root's helper know that they speak of the same things.

Where the helper is installed by itself, the two may be of different versions: each says first which protocol
it speaks, and which steps it knows; and each looks at what the other said.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from pyimount.planning import steps
from pyimount.version import __version__

MESSAGES = 1
"""To be raised with every change to the messages; what steps are made of is reckoned in by itself."""

HELPER = "/usr/local/libexec/pyimount-helper"
"""Where the helper is installed: the one path that sudo or polkit has to allow."""


def _protocol() -> str:
    kinds = sorted(
        (name, each.fields)
        for name, each in vars(steps).items()
        if isinstance(each, type) and issubclass(each, steps.Step)
    )
    return f"{MESSAGES}-{hashlib.sha256(repr(kinds).encode()).hexdigest()[:8]}"


PROTOCOL = _protocol()
"""The number of the messages, and a digest of what each kind of step has."""


def greeting() -> dict[str, Any]:
    """What each side says of itself."""
    return {"protocol": PROTOCOL, "version": __version__}


def mismatch(said: object, who: str) -> str | None:
    """Why this greeting, of ``who``, cannot be worked with, in one line; None where it can."""
    theirs = said if isinstance(said, Mapping) else {}
    protocol, version = theirs.get("protocol"), theirs.get("version")
    if protocol == PROTOCOL:
        return None
    named = f"protocol {protocol[:40]!r}" if isinstance(protocol, str) else "no protocol that is known"
    of = f" (version {version[:40]!r})" if isinstance(version, str) else ""
    return f"{who}{of} speaks {named}, and not {PROTOCOL!r} as version {__version__} does"
