"""The scan as HTML for a notebook: nested lists, every word escaped, no script, nothing fetched."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from pyimount.problems import Problem
from pyimount.wording import printable, size_text

_PROBLEM = "color:#b58900"


def page(scan: Any) -> str:
    """The tree of every disk of a ``Scan``, and what is wrong with the call as a whole."""
    disks = "".join(_item(scan, disk) for disk in scan.disks)
    return f"<ul>{disks}{''.join(_problems(scan.problems))}</ul>"


def _item(scan: Any, layer: Any) -> str:
    shown = [child for child in scan.children(layer) if child.flag == "alloc" and not child.hidden]
    within = "".join((*_problems(layer.problems), *(_item(scan, child) for child in shown)))
    return f"<li>{_line(layer)}{f'<ul>{within}</ul>' if within else ''}</li>"


def _line(layer: Any) -> str:
    size = size_text(layer.size)
    if "paths" in layer.fields:
        words = [
            f"<b>{_safe(layer.paths[0])}</b>",
            size,
            _safe(layer.container.get("type")),
            _safe(layer.pttype),
        ]
    else:
        kind = " ".join(filter(None, (layer.type, layer.pttype))) or "not recognised"
        label = f"\u201c{_safe(layer.label)}\u201d" if layer.label else ""
        words = [f"<b>{_safe(layer.index)}</b>", size, _safe(kind), label, _safe(layer.uuid)]
    return " ".join(filter(None, words))


def _problems(problems: Iterable[Problem]) -> Iterator[str]:
    for problem in problems:
        yield f'<li style="{_PROBLEM}">{_safe(problem.code)}: {_safe(problem.message)}</li>'


def _safe(value: object) -> str:
    return "" if value is None else escape(printable(str(value)))
