"""What each release promised of its interface (docs/promise.md), and what a later one breaks of it.

``python -m tests.promise`` writes that of this version into ``tests/promised/``: a part of releasing it.
"""

import argparse
import inspect
import json
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import pyimount
from docs import manpages
from docs.make import MODULES
from pyimount.problems import Code
from pyimount.reports import SCHEMA_FILE

KEPT = Path(__file__).parent / "promised"

RETIRED: Mapping[str, str] = {}
"""What was taken away, as ``broken`` names it: the release that began to warn of it."""


def promised() -> dict[str, Any]:
    """All that this version promises."""
    return {
        "names": {module: sorted(set(_names(module))) for module in MODULES},
        "arguments": dict(_arguments()),
        "options": {name: dict(sorted(_options(each))) for name, each in manpages.commands().items()},
        "exit_statuses": {name: sorted(manpages.statuses(name)) for name in manpages.commands()},
        "codes": sorted(Code),
        "schema": json.loads(Path(SCHEMA_FILE).read_text(encoding="utf-8")),
    }


def _names(module: str) -> Iterator[str]:
    """The public names of a module, and those of each class there."""
    made = import_module(module)
    listed = getattr(made, "__all__", None)
    for name in listed or [each for each in vars(made) if not each.startswith("_")]:
        value = getattr(made, name)
        if listed is None and getattr(value, "__module__", None) != module:
            continue  # imported there for its own use
        yield name
        if inspect.isclass(value):
            # What Python's own classes hand down is Python's to promise.
            ours = [kind for kind in value.__mro__ if kind.__module__.startswith("pyimount")]
            members = {each for kind in ours for each in (*vars(kind), *inspect.get_annotations(kind))}
            yield from (f"{name}.{each}" for each in members if not each.startswith("_"))


def _arguments() -> Iterator[tuple[str, list[str]]]:
    """The names of the arguments of each public function and class."""
    for name in pyimount.__all__:
        value = getattr(pyimount, name)
        is_made = inspect.isclass(value) and not issubclass(value, Enum)
        if is_made or inspect.isfunction(value):
            yield name, list(inspect.signature(value).parameters)


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Every spelling of every option, each with the values that it takes, where these are listed."""
    for action in parser._actions:
        for each in action.option_strings:
            yield each, [str(choice) for choice in action.choices or ()]


def broken(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """What a release promised, and this one does not keep: what was added is no matter."""
    if where.endswith("schema"):
        yield from _schema_broken(before, now, where)
    elif isinstance(before, Mapping):
        for key, value in before.items():
            place = f"{where}/{key}".lstrip("/")
            if key in now:
                yield from broken(value, now[key], place)
            else:
                yield f"{place} is gone"
    else:
        yield from (f"{where}/{each} is gone" for each in before if each not in now)


def _schema_broken(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> Iterator[str]:
    """The same of a JSON Schema of what is written: a reader of old must be able to read what is new."""
    for kind in ("properties", "$defs"):
        for name, each in before.get(kind, {}).items():
            place = f"{where}/{name}"
            if name not in now.get(kind, {}):
                yield f"{place} is gone"
            else:
                yield from _schema_broken(each, now[kind][name], place)
    yield from (
        f"{where}/{name} may lack" for name in before.get("required", ()) if name not in now["required"]
    )
    for word in ("const", "$ref"):
        if before.get(word) != now.get(word):
            yield f"{where} was {before.get(word)}, and is {now.get(word)}"
    yield from (
        f"{where}: {each} is gone" for each in before.get("enum", ()) if each not in now.get("enum", ())
    )
    types, allowed = (_types(each.get("type")) for each in (now, before))
    if allowed and not (types and types <= allowed):
        was, may_be = (" or ".join(sorted(each)) or "anything" for each in (allowed, types))
        yield f"{where} was {was}, and may be {may_be}"
    for word in ("items", "additionalProperties"):
        if isinstance(before.get(word), Mapping):
            yield from _schema_broken(before[word], now.get(word) or {"required": ()}, where)


def _types(told: str | list[str] | None) -> set[str]:
    return {told} if isinstance(told, str) else set(told or ())


def main() -> None:
    """Write what this version promises."""
    KEPT.mkdir(exist_ok=True)
    text = json.dumps(promised(), indent=1, ensure_ascii=False) + "\n"
    (KEPT / f"{pyimount.__version__}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
