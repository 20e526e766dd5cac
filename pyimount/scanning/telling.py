"""One image, or a few that belong together, from what a message asks for to the line that tells of it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pyimount.keys import Keyring
from pyimount.problems import Code
from pyimount.reports.lines import line, options_hash
from pyimount.scanning.detecting import detect
from pyimount.scanning.hints import hints_of
from pyimount.scanning.naming import images_in
from pyimount.sources.budget import Budget
from pyimount.sources.segments import Segments
from pyimount.sources.stamp import stamp
from pyimount.sources.urls import remember

_HINTS = ("offset", "size", "sector_size", "vstype", "fstypes", "free")
_OTHERS = ("keys", "header", "try_veracrypt", "allow", "budget", "search", "align")


def as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``detect`` as JSON values: only those that say something.

    Raises TypeError for what is no argument of it, or none for many images, ValueError as ``detect`` does.
    """
    unknown = sorted(options.keys() - {*_HINTS, *_OTHERS})
    if unknown:
        raise TypeError(f"no argument for many images: {', '.join(unknown)}")
    told = hints_of(**{name: options[name] for name in _HINTS if name in options})
    made: dict[str, Any] = {name: getattr(told, name) for name in _HINTS}
    for name in ("vstype", "fstypes"):
        if isinstance(made[name], Mapping):
            made[name] = dict(made[name])
    keys, header, budget = options.get("keys"), options.get("header"), options.get("budget")
    if keys:
        made["keys"] = (keys if isinstance(keys, Keyring) else Keyring(keys)).reveal()
    made["header"] = None if header is None else os.fspath(header)
    made["allow"] = [os.fspath(folder) for folder in options.get("allow", ())]
    made["budget"] = None if budget is None else {name: getattr(budget, name) for name in budget.fields}
    made |= {name: bool(options.get(name)) for name in ("try_veracrypt", "search")}
    made["align"] = options.get("align")
    if made["align"] is not None and made["align"] < 1:
        raise ValueError(f"a search looks at every byte at the most, not at every {made['align']}")
    return {name: value for name, value in made.items() if value not in (None, False, [], {})}


def line_of(
    path: str, images: Sequence[Mapping[str, Any]] | None, told: Mapping[str, Any], urls: Mapping[str, str]
) -> tuple[int, str, bool]:
    """The exit status and the line of what ``path`` stands for; and whether memory was lacking for it.

    ``images``: its Segments as JSON values, where they have been looked for; ``told``: as ``as_json`` gives
    it, and ``strict`` besides; ``urls``: what stands behind paths that are shown of URLs.
    """
    remember(urls)
    arguments = dict(told)
    strict = arguments.pop("strict", False)
    if "keys" in arguments:
        arguments["keys"] = Keyring.revealed(arguments["keys"])
    if "budget" in arguments:
        arguments["budget"] = Budget(**arguments["budget"])
    found = images_in([path]) if images is None else [segments_of(each) for each in images]
    size, mtime = stamp(each for segments in found for each in segments.paths)
    scan = detect(found, **arguments)
    report = scan.to_dict(strict=strict)
    lacked = any(problem.code is Code.OUT_OF_MEMORY for _, problem in scan.all_problems())
    return report["exit_status"], line(path, size, mtime, options_hash(told), report=report), lacked


def segments_as_json(segments: Segments) -> dict[str, Any]:
    """The files of one image as JSON values."""
    return {
        "paths": [*segments.paths],
        "missing": [*segments.missing],
        "split": segments.split,
        "holes": [*segments.holes],
    }


def segments_of(told: Mapping[str, Any]) -> Segments:
    """The files of one image from what ``segments_as_json`` gave."""
    return Segments(
        tuple(told["paths"]), tuple(told["missing"]), split=told["split"], holes=tuple(told["holes"])
    )
