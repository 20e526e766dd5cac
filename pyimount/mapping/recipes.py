"""Values in recipes. They are JSON that may have been stored, so each is looked at before it is used."""

from collections.abc import Mapping, Sequence

from pyimount.formats import Json
from pyimount.problems import Code, Problem
from pyimount.sources.errors import OpenError
from pyimount.sources.source import Source

SIZE_CAP = 1 << 62
"""Bytes; no volume comes near."""


class RecipeError(OpenError):
    """A volume that cannot be opened by its recipe; ``problem`` says why, and of what kind the reason is."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


def damaged(message: str) -> RecipeError:
    """What to raise for a recipe that is none."""
    return RecipeError(Code.DAMAGED, message)


def number_of(values: Mapping[str, Json], key: str, most: int = SIZE_CAP) -> int:
    """A number from 0 to ``most``; raises RecipeError where there is none."""
    value = values.get(key)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise damaged(f"the recipe has {value!r:.40} as its {key}")
    return value


def word_of(values: Mapping[str, Json], key: str) -> str:
    """A text; raises RecipeError where there is none."""
    value = values.get(key)
    if not isinstance(value, str):
        raise damaged(f"the recipe has no {key}")
    return value


def list_of(values: Mapping[str, Json], key: str, most: int) -> list[Json]:
    """A list of 1 to ``most`` entries; raises RecipeError where there is none."""
    value = values.get(key)
    if not isinstance(value, list) or not 0 < len(value) <= most:
        raise damaged(f"the recipe has no usable {key}")
    return value


def input_of(which: Json, inputs: Sequence[Source]) -> Source | None:
    """The input that a recipe means, None where it says that there is none; raises RecipeError for others."""
    if which is None:
        return None
    if not isinstance(which, int) or not 0 <= which < len(inputs):
        raise damaged(f"the recipe names member {which!r:.40} of {len(inputs)}")
    return inputs[which]


def is_write_mostly(device: Json) -> bool:
    """Whether a device of an array is one that is read only for want of others."""
    return isinstance(device, dict) and device.get("write_mostly") is True
