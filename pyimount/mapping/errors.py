"""Why a volume stays locked: what the modules that open encrypted volumes raise.

None of these is ever raised with a key, or a part of one, in its message.
"""

from typing import ClassVar

from pyimount.problems import Code, Problem


class UnlockError(Exception):
    """Base of these errors; ``problem`` is what the report says of the volume."""

    code: ClassVar[Code] = Code.LOCKED

    @property
    def problem(self) -> Problem:
        """This error as a problem of the locked volume."""
        return Problem(self.code, str(self))


class WrongKey(UnlockError):  # noqa: N818  (an answer, not an error)
    """The key does not open this volume. ``tried``: how many keyslots or protectors it was tried on."""

    code = Code.WRONG_KEY

    def __init__(self, tried: int, message: str | None = None) -> None:
        slots = "1 keyslot" if tried == 1 else f"{tried} keyslots"
        super().__init__(message or f"the key does not open this volume; it was tried on {slots}")
        self.tried = tried


class Unsupported(UnlockError):  # noqa: N818
    """The volume uses what pyimount, or the library that it rests on, lacks; the message names it."""

    code = Code.UNSUPPORTED


class KdfTooCostly(UnlockError):  # noqa: N818
    """Deriving the key would take more memory or work than allowed, and was not attempted."""

    code = Code.BUDGET


class OutOfMemory(UnlockError):  # noqa: N818
    """This machine lacks the memory that deriving the key takes, so nobody knows whether the key is right."""

    code = Code.OUT_OF_MEMORY


class DamagedHeader(UnlockError):  # noqa: N818
    """The header contradicts itself, or lacks what is needed to open the volume."""

    code = Code.DAMAGED
