"""Frozen records: what dataclasses give, without the code that dataclasses compile at import.

Thirty frozen dataclasses were measured to cost more at start than all the parsers together
(4 ms for one of forty fields), and a command that is started once for every image pays that
each time. Type checkers treat a Record as they treat a frozen dataclass (PEP 681).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeAlias, dataclass_transform

EMPTY: Mapping[str, Any] = MappingProxyType({})
"""The default of a field that is a mapping: empty, and not to be changed."""

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
"""What ``details`` are made of: only what JSON has, so that a report survives the way there and back."""

Details: TypeAlias = Mapping[str, Json]


class _Signature:
    """What ``inspect.signature`` and ``help`` show of a record: its fields, made when they ask."""

    def __get__(self, record: object, kind: type["Record"]) -> Any:
        from inspect import Parameter, Signature

        if record is not None:
            raise AttributeError("__signature__")
        by_name = kind._positional == ()
        parameters = [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY if by_name else Parameter.POSITIONAL_OR_KEYWORD,
                default=getattr(kind, name) if hasattr(kind, name) else Parameter.empty,
                annotation=kind._kinds[name],
            )
            for name in kind.fields
        ]
        # A field without a default may follow one that has one, in a subclass.
        needed = [each for each in parameters if each.default is Parameter.empty]
        return Signature([*needed, *(each for each in parameters if each not in needed)])


@dataclass_transform(frozen_default=True)
class Record:
    """Base of immutable values with named fields: a subclass's annotations are its fields.

    A field's default is the class attribute of its name. Records compare by type and fields,
    and pickle. ``class R(Record, kw_only=True)`` takes its fields by name only.
    """

    fields: ClassVar[tuple[str, ...]] = ()
    """The names of the fields, in the order of their declaration."""

    _names: ClassVar[frozenset[str]] = frozenset()
    _required: ClassVar[frozenset[str]] = frozenset()
    _positional: ClassVar[tuple[str, ...]] = ()
    _kinds: ClassVar[Mapping[str, Any]] = EMPTY

    __signature__ = _Signature()

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        super().__init_subclass__()
        declared = cls.__annotations__ if "__annotations__" in cls.__dict__ else {}
        own = tuple(name for name, kind in declared.items() if "ClassVar" not in str(kind))
        cls.fields = (*cls.fields, *own)
        cls._names = frozenset(cls.fields)
        cls._required = frozenset(name for name in cls.fields if not hasattr(cls, name))
        cls._positional = () if kw_only else cls.fields
        cls._kinds = {**cls._kinds, **declared}

    def __init__(self, *values: Any, **named: Any) -> None:
        if values:
            if len(values) > len(self._positional):
                raise TypeError(f"{type(self).__name__} takes {len(self._positional)} values by position")
            for name, value in zip(self._positional, values, strict=False):
                if name in named:
                    raise TypeError(f"{type(self).__name__} got two values for {name}")
                named[name] = value
        if not self._names.issuperset(named):
            raise TypeError(f"{type(self).__name__} has no field {', '.join(named.keys() - self._names)}")
        if not self._required <= named.keys():
            raise TypeError(f"{type(self).__name__} lacks {', '.join(self._required - named.keys())}")
        self.__dict__.update(named)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.fields if name in self.__dict__)
        return f"{type(self).__name__}({said})"

    def __getstate__(self) -> dict[str, Any]:
        # Without what a cached property keeps beside the fields; EMPTY itself does not pickle.
        state = {name: value for name, value in self.__dict__.items() if name in self._names}
        return {name: {} if value is EMPTY else value for name, value in state.items()}

    def replaced(self, **changes: Any) -> Self:
        """A copy with these fields changed."""
        made = object.__new__(type(self))
        fields = made.__dict__
        fields.update(self.__dict__)
        fields.update(changes)
        if not self._names.issuperset(fields):
            # There is no such field, or a cached property keeps something beside the fields.
            return type(self)(**{**self.__getstate__(), **changes})
        return made
