"""The boundary between construct declarations and hostile bytes.

A parser declares its structures with ``layout(lambda: Struct(...))`` and reads them with
``read_struct``; nothing else in the project meets construct's errors.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from construct import Construct, ConstructError

from pyimount.formats.declarations import NotThisFormat
from pyimount.formats.fixed import FixedStruct, fixed_struct
from pyimount.sources.view import View

STRUCT_CAP = 64 << 10
"""No declared structure is larger than this, in bytes."""


class Layout:
    """A construct declaration of fixed size, built when it is first needed.

    Built at import, a hundred formats' declarations would cost more than importing construct.
    """

    __slots__ = ("_build", "_construct", "_fixed", "_size")

    def __init__(self, build: Callable[[], Construct]) -> None:
        self._build = build
        self._construct: Construct | None = None
        self._fixed: FixedStruct | None = None
        self._size = 0

    @property
    def construct(self) -> Construct:
        """The construct object; tests build images with it."""
        if self._construct is None:
            made = self._build()
            self._size = made.sizeof()
            if self._size > STRUCT_CAP:
                raise ValueError(f"a structure of {self._size} bytes is declared, {STRUCT_CAP} are allowed")
            self._fixed = fixed_struct(made)
            self._construct = made
        return self._construct

    @property
    def size(self) -> int:
        """Size of the structure in bytes."""
        if self._construct is None:
            self.construct  # noqa: B018  (builds it, and so knows)
        return self._size

    def parse(self, data: bytes, offset: int = 0) -> Any:
        """The fields at ``offset`` of ``data``, which must not end before them; raises NotThisFormat."""
        declared = self.construct
        fields = None if self._fixed is None else self._fixed.read(data, offset)
        if fields is not None:
            return fields
        try:
            return _fields(declared.parse(data[offset : offset + self._size]))
        except ConstructError as error:
            raise NotThisFormat(str(error)) from error


def layout(build: Callable[[], Construct]) -> Layout:
    """Declare a structure of fixed size; ``build`` is called once, on first use."""
    return Layout(build)


def _fields(parsed: Any) -> Any:
    # An attribute of construct's Container costs 20 times what one of a plain object does.
    return SimpleNamespace(**parsed) if isinstance(parsed, dict) else parsed


def parse_struct(data: bytes, declared: Layout, offset: int = 0) -> Any:
    """Parse ``declared`` from ``data`` at ``offset``; returns an object with its fields.

    Raises NotThisFormat when the bytes are too few or do not fit the declaration.
    """
    size = declared.size
    if not 0 <= offset <= len(data) - size:
        there = len(data[offset : offset + size])
        raise NotThisFormat(f"{size} bytes wanted at {offset}, {there} there")
    return declared.parse(data, offset)


def read_struct(view: View, declared: Layout, offset: int) -> Any:
    """Read and parse ``declared`` at ``offset`` of ``view``; returns an object with its fields.

    Raises NotThisFormat when the bytes do not fit the declaration, ShortRead when the layer ends
    before them.
    """
    return declared.parse(view.read(offset, declared.size))
