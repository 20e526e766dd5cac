"""Sizes and offsets that no file can have: they are damage, and are not reported as figures."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pyimount.formats import Json
from pyimount.layers import Recipe
from pyimount.problems import Code, Problem
from pyimount.sources.source import LAST

_FIGURES = frozenset(("size", "offset", "disk_offset", "fs_size", "free", "block_size"))


def plausible(facts: dict[str, Any]) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The facts of a layer without figures beyond 2^63-1, and what is to be said of those, if there are any.

    What details say under the same names counts as well. A slice at such a place has no bytes.
    """
    recipe = facts.get("recipe")
    nowhere = isinstance(recipe, Recipe) and recipe.kind == "slice" and _wrong_in(recipe.parameters)
    if not nowhere and not _has_wrong(facts):
        return facts, ()
    wrong: list[str] = []
    kept = {name: _kept(name, value, wrong) for name, value in facts.items()}
    if nowhere:
        kept["recipe"] = Recipe("none")
    if not wrong:
        return kept, ()
    message = f"no file is so large: {', '.join(dict.fromkeys(wrong))}"
    return kept, (Problem(Code.DAMAGED, message),)


def _has_wrong(facts: Mapping[str, Any]) -> bool:
    """Whether there is anything to leave out; nearly always there is not, and every layer is asked."""
    for name, value in facts.items():
        if value is None or type(value) is str:
            continue
        if isinstance(value, int):
            if name in _FIGURES and not 0 <= value <= LAST:
                return True
        elif isinstance(value, list):
            if any(_has_wrong({name: each}) for each in value if not isinstance(each, str)):
                return True
        elif isinstance(value, dict | MappingProxyType) and value and _has_wrong(value):
            return True
    return False


def _wrong_in(parameters: Mapping[str, Json]) -> bool:
    return any(isinstance(value, int) and not 0 <= value <= LAST for value in parameters.values())


def _kept(name: str, value: Any, wrong: list[str]) -> Any:
    if isinstance(value, int) and name in _FIGURES and not 0 <= value <= LAST:
        wrong.append(f"{name} {value}")
        return None
    # Most have nothing to change, and are handed on as they are.
    if isinstance(value, Mapping) and value:
        made = {key: _kept(key, each, wrong) for key, each in value.items()}
        return made if any(made[key] is not value[key] for key in made) else value
    if isinstance(value, list) and value:
        changed = [_kept(name, each, wrong) for each in value]
        return changed if any(one is not other for one, other in zip(changed, value, strict=True)) else value
    return value
