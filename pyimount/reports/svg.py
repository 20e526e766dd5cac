"""The picture of a scan as SVG: no script, nothing fetched, every word of an image escaped.

Each box is reached by Tab, and says its facts when pointed at (``title``) and when read out (``aria-label``).
"""

from collections.abc import Callable, Iterable, Iterator
from html import escape
from unicodedata import east_asian_width

from pyimount.layers import Scan
from pyimount.reports import facts
from pyimount.reports.picture import TABLE_ROW, Box, Picture, picture
from pyimount.wording import printable

NAMESPACE = "http://www.w3.org/2000/svg"

_NARROW, _WIDE = frozenset(" .,:;'|!()[]/-fijlrtI"), frozenset("mwMW@%…")
_CHARACTER = 7.4
"""How wide most characters are, in units of the picture, in the widest of the usual fonts."""
_BOLD = 1.13
_FEWEST = 4
"""Of a line that has no room, so many characters have to be shown for it to say anything."""
_MARK = 14.0
_MARGIN = 2.0
_APART = 40.0
"""What lies between the pictures of an image and of one within it."""

_LIGHT = {
    "paper": "#ffffff", "ink": "#1b1b1b", "edge": "#4a4a4a", "hatch": "#8a8a8a", "used": "#1f4e79",
    "disk": "#e3e3e3", "strip": "#f2f2f2", "table": "#e8e8e8", "gap": "#ffffff", "meta": "#e3e3e3",
    "files": "#cfe3f7", "group": "#e4d7f5", "crypto": "#fbe3b5", "other": "#d5eed8", "unknown": "#ffffff",
    "several": "#efe6d8", "wrong": "#b00020", "focus": "#d0006f",
}  # fmt: skip
_DARK = {
    "paper": "#121212", "ink": "#f2f2f2", "edge": "#b5b5b5", "hatch": "#777777", "used": "#8fc1f0",
    "disk": "#3a3a3a", "strip": "#262626", "table": "#333333", "gap": "#121212", "meta": "#3a3a3a",
    "files": "#173a5c", "group": "#43305f", "crypto": "#5a4310", "other": "#1d4a26", "unknown": "#121212",
    "several": "#4a3f2e", "wrong": "#ff8a80", "focus": "#ff80c8",
}  # fmt: skip
_LINES = ("#b0006d", "#00707a", "#8a5a00", "#3f51b5", "#5d7a00", "#a03000")
_LINES_DARK = ("#ff7fcb", "#5fd6e0", "#f0b95a", "#a9b6ff", "#bfe05f", "#ff9d78")


def _colours(of: dict[str, str], lines: Iterable[str]) -> str:
    named = [*of.items(), *((f"line{number}", colour) for number, colour in enumerate(lines))]
    return "".join(f"--p-{name}:{colour};" for name, colour in named)


COLOURS = (
    f".pyimount{{{_colours(_LIGHT, _LINES)}}}"
    f"@media (prefers-color-scheme:dark){{.pyimount{{{_colours(_DARK, _LINES_DARK)}}}}}"
    f"@media print{{.pyimount{{{_colours(_LIGHT, _LINES)}}}}}"
)
"""The colours as variables of CSS: light, dark, and light on paper."""

_BOXES = tuple(
    name for name in _LIGHT if name not in ("paper", "ink", "edge", "hatch", "used", "wrong", "focus")
)

STYLE = (
    COLOURS
    + ".pyimount .b{stroke:var(--p-edge);stroke-width:1}"
    + "".join(f".pyimount .k-{name}{{fill:var(--p-{name})}}" for name in _BOXES)
    + "".join(f".pyimount .l{n}{{stroke:var(--p-line{n});fill:none}}" for n in range(len(_LINES)))
    + "".join(f".pyimount .d{n}{{fill:var(--p-line{n})}}" for n in range(len(_LINES)))
    + ".pyimount .k-unknown{stroke-dasharray:4 3}"
    ".pyimount .h{stroke:var(--p-hatch);stroke-width:1.5}"
    ".pyimount .u{fill:var(--p-used)}"
    ".pyimount .i{stroke:var(--p-edge);fill:none}"
    ".pyimount .w{fill:var(--p-wrong)}.pyimount .wt{fill:var(--p-paper)}"
    ".pyimount .ms{stroke:var(--p-ink);fill:none;stroke-width:1.5}.pyimount .m{fill:var(--p-ink)}"
    ".pyimount text{font:12px system-ui,sans-serif;fill:var(--p-ink);unicode-bidi:isolate;white-space:pre}"
    ".pyimount .t1{font-weight:600}"
    ".pyimount .box:focus{outline:none}"
    ".pyimount .box:focus .b{stroke:var(--p-focus);stroke-width:4}"
    ".pyimount .box:hover .b{stroke:var(--p-focus);stroke-width:2}"
    ".pyimount,.pyimount *{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
)
"""What the classes of a picture look like."""


def drawing(scan: Scan) -> str:
    """The picture as a file of its own; the images in the files of volumes follow, each beneath a line."""
    parts = [scan, *(image.scan for image in scan.images_within())]
    style = f"<style>{STYLE}.pyimount{{background:var(--p-paper)}}</style>"
    width, height, inner = 0.0, 0.0, []
    for number, part in enumerate(parts):
        shown = picture(part)
        width = max(width, shown.width)
        if number:
            inner.append(f'<path class="i" d="M0 {_n(height + _APART / 2)}H{_n(shown.width)}"/>')
            height += _APART
        size = f'y="{_n(height)}" width="{_n(shown.width + 4)}" height="{_n(shown.height + 4)}"'
        name = f"w{number}" if number else ""
        inner.append(f"<svg {size} {_opening(part, shown, name)}{_inner(shown, None, name)}</svg>")
        height += shown.height + 4
    heading = f'role="group" aria-labelledby="heading"><title id="heading">{_heading(scan)}</title>'
    place = f'width="{_n(width + 4)}" height="{_n(height)}" viewBox="0 0 {_n(width + 4)} {_n(height)}"'
    opening = f'<svg xmlns="{NAMESPACE}" class="pyimount" {place} {heading}'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{opening}{style}{"".join(inner)}</svg>\n'


def inline(scan: Scan, *, link: Callable[[Box], str | None] | None = None, name: str = "") -> str:
    """The same as an element of HTML, without its style. ``link``: what a box leads to, within the document.

    ``name``: what the names within are made from, so that several may stand in one document.
    """
    shown = picture(scan)
    return f"<svg {_opening(scan, shown, name)}{_inner(shown, link, name)}</svg>"


def _opening(scan: Scan, shown: Picture, name: str = "") -> str:
    view = f"{_n(-_MARGIN)} {_n(-_MARGIN)} {_n(shown.width + 4)} {_n(shown.height + 4)}"
    return (
        f'class="pyimount" viewBox="{view}" '
        f'role="group" aria-labelledby="p{name}-title"><title id="p{name}-title">{_heading(scan)}</title>'
    )


def _heading(scan: Scan) -> str:
    names = ", ".join(facts.name(disk) for disk in scan.disks[:4])
    more = f" and {len(scan.disks) - 4} more" if len(scan.disks) > 4 else ""
    return escape(f"Picture of {names}{more}")


def _inner(shown: Picture, link: Callable[[Box], str | None] | None, name: str = "") -> str:
    hatch = (
        f'<defs><pattern id="p{name}-hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><path class="h" d="M0 0V7"/></pattern></defs>'
    )
    parts = [hatch]
    parts += [_element(box, link, name) for box in shown.boxes]
    # A box has a name of its own; what is written on it is for the eye.
    parts.append('<g aria-hidden="true" pointer-events="none">')
    for box in shown.boxes:
        parts += _words(box)
    parts += [*_lines(shown), "</g>"]
    return "".join(parts)


def _element(box: Box, link: Callable[[Box], str | None] | None, name: str) -> str:
    told = facts.told(box)
    label = escape("; ".join(told), quote=True)
    title = f"<title>{escape(chr(10).join(told))}</title>"
    target = link(box) if link is not None else None
    inside = title + "".join(_drawn(box, name))
    if target is not None:
        return f'<a class="box" href="{escape(target, quote=True)}" aria-label="{label}">{inside}</a>'
    return f'<g class="box" tabindex="0" role="img" aria-label="{label}">{inside}</g>'


def _drawn(box: Box, name: str) -> Iterator[str]:
    place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'
    yield f'<rect class="b k-{box.kind}" {place}/>'
    if box.kind == "gap":
        yield f'<rect {place} fill="url(#p{name}-hatch)"/>'
    if box.used is not None:
        yield (
            f'<rect class="u" x="{_n(box.x + 1)}" y="{_n(box.y + box.height - 7)}" '
            f'width="{_n(max(0.0, box.width - 2) * box.used)}" height="6"/>'
            f'<rect class="i" x="{_n(box.x)}" y="{_n(box.y + box.height - 7)}" '
            f'width="{_n(box.width)}" height="7"/>'
        )
    for number, draw in enumerate(_shown_marks(box)):
        yield draw(box.x + box.width - (number + 1) * _MARK, box.y + 2)
    if not box.to_scale:
        yield _wave(box)


def _shown_marks(box: Box) -> list[Callable[[float, float], str]]:
    return list(_marks(box))[: int(box.width // _MARK)]


def _marks(box: Box) -> Iterator[Callable[[float, float], str]]:
    if any(layer.problems for layer in box.layers) and box.kind != "strip":
        yield problem_mark
    if any(getattr(layer, "locked", None) for layer in box.layers):
        yield lock_mark
    elif any(getattr(layer, "locked", None) is False for layer in box.layers):
        yield _open_lock


def problem_mark(x: float, y: float) -> str:
    """The mark of a layer that something is wrong with; its upper left corner is at x, y."""
    return (
        f'<path class="w" d="M{_n(x + 6)} {_n(y)}l6 11h-12z"/>'
        f'<path class="wt" d="M{_n(x + 5.3)} {_n(y + 3.5)}h1.4v4h-1.4zm0 5h1.4v1.3h-1.4z"/>'
    )


def lock_mark(x: float, y: float, shackle: str = "v-2a3 3 0 0 1 6 0v2") -> str:
    """The mark of a layer that needs a key."""
    return (
        f'<path class="m" d="M{_n(x + 1)} {_n(y + 5)}h10v7h-10z"/>'
        f'<path class="ms" d="M{_n(x + 3)} {_n(y + 5)}{shackle}"/>'
    )


def _open_lock(x: float, y: float) -> str:
    return lock_mark(x, y, "v-2a3 3 0 0 1 6 0")


def _wave(box: Box) -> str:
    """The mark of a box that is wider than to scale: its upper edge is a wave."""
    steps = max(1, int(min(box.width, 24) // 8))
    return f'<path class="ms" d="M{_n(box.x + 1)} {_n(box.y + 1.5)}{"q2 4 4 0t4 0" * steps}"/>'


def _words(box: Box) -> Iterator[str]:
    if box.kind == "gap" or not box.layers:
        return
    width = box.width - len(_shown_marks(box)) * _MARK
    layer = box.layer
    if layer is None:
        first, second = [f"{len(box.layers)} more", f"{len(box.layers)}"], "in the table"
    elif box.kind == "strip":
        first, second = [f"{printable(str(layer.pttype))} table"], ""
    else:
        first, second = [facts.name(layer), printable(layer.index or "")], facts.second_line(layer)
    top = 13.0 if box.height == TABLE_ROW else 15.0
    if box.kind == "meta" and width < 60:
        return
    # Where not the whole of it has room its index alone may have.
    shown = next((line for line in first if line and fitting(line, width - 6, bold=True) == line), None)
    lines = (
        (fitting(first[0], width - 6, bold=True) if shown is None else shown, top, "t1"),
        (fitting(second, box.width - 6), 29.0, "t2"),
    )
    written = [
        f'<text class="{kind}" x="4" y="{_n(y)}">{escape(line)}</text>' for line, y, kind in lines if line
    ]
    if written:
        # An svg within another cuts off what is wider than it: fonts differ.
        place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'
        yield f"<svg {place}>{''.join(written)}</svg>"


def fitting(text: str, width: float, *, bold: bool = False) -> str:
    """As much of a line as fits into so many units of the picture; nothing where that would say nothing."""
    text = printable(text)
    widths = [_width(char) * (_BOLD if bold else 1.0) for char in text]
    if sum(widths) <= width:
        return text
    room, count = width - _width("…"), 0
    while count < len(text) and room >= widths[count]:
        room -= widths[count]
        count += 1
    return text[:count].rstrip() + "…" if count >= _FEWEST else ""


def _width(char: str) -> float:
    if char in _NARROW:
        return _CHARACTER * 0.62
    return _CHARACTER * (2 if east_asian_width(char) in "WF" else 1.5 if char in _WIDE else 1)


def _lines(shown: Picture) -> Iterator[str]:
    """A bow from each member of an array to the next."""
    for first, second, number in shown.lines:
        colour = number % len(_LINES)
        ends = []
        for box in (shown.boxes[first], shown.boxes[second]):
            inset = min(box.width / 2, 40.0 + 9 * (number % 12))
            ends.append((box.x + box.width - inset, box.y + box.height - 10))
        (x1, y1), (x2, y2) = ends
        bow = f"M{_n(x1)} {_n(y1)}C{_n(x1 + 26)} {_n(y1)} {_n(x2 + 26)} {_n(y2)} {_n(x2)} {_n(y2)}"
        yield (
            f'<path class="l{colour}" stroke-width="2.5" d="{bow}"/>'
            f'<circle class="d{colour}" cx="{_n(x1)}" cy="{_n(y1)}" r="4"/>'
            f'<circle class="d{colour}" cx="{_n(x2)}" cy="{_n(y2)}" r="4"/>'
        )


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
