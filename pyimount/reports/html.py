"""The report of a scan as one HTML file: the picture, the tree, all facts in a table, how it came about.

No script, and nothing is asked of anywhere, which the file itself forbids (``Content-Security-Policy``).
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape

from pyimount.layers import DiskLayer, ImageWithin, Layer, Scan, VolumeLayer
from pyimount.problems import Problem
from pyimount.reports import facts, svg
from pyimount.reports.picture import Box
from pyimount.reports.tree import kind_word
from pyimount.wording import printable, size_text

_PAGE = (
    "*{box-sizing:border-box}"
    "html{color-scheme:light dark}"
    "body{margin:0 auto;padding:1rem;max-width:150rem;font:1rem/1.45 system-ui,sans-serif;"
    "background:var(--p-paper);color:var(--p-ink)}"
    "h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:1.6rem 0 .5rem}"
    "h1,h2,td,dt,dd,summary,li{overflow-wrap:anywhere}"
    "a{color:inherit}"
    ".skip{position:absolute;left:-999rem}.skip:focus{position:static}"
    ".scroll{overflow-x:auto;max-width:100%}"
    ".scroll+.scroll,.scroll+details{margin-top:.5rem}"
    ".scroll>svg{display:block;width:100%;min-width:60rem}"
    ":focus-visible{outline:3px solid var(--p-focus);outline-offset:2px}"
    "pre{font:.85rem/1.4 ui-monospace,monospace;margin:0;padding:.5rem;border:1px solid var(--p-edge)}"
    "table{border-collapse:collapse;font-size:.9rem;width:100%;min-width:60rem}"
    "th,td{text-align:left;vertical-align:top;padding:.25rem .5rem;border:1px solid var(--p-edge)}"
    "td:nth-child(2){min-width:6.5em}td:nth-child(3){min-width:8em}td:nth-child(8){min-width:12em}"
    "td.n{text-align:right;white-space:nowrap;overflow-wrap:normal}"
    "thead th,tbody th{background:var(--p-strip)}"
    "tbody th{white-space:nowrap}"
    "tr:target>*{outline:3px solid var(--p-focus)}"
    ".wrong{color:var(--p-wrong)}"
    "dl{display:grid;grid-template-columns:fit-content(40%) minmax(0,1fr);gap:.1rem .8rem;margin:.3rem 0}"
    "dt{font-weight:600}dd{margin:0}"
    "dl.facts{display:block;columns:26rem auto;column-gap:1.5rem;padding-left:1.1rem;font-size:.9rem}"
    ".facts>div{display:grid;grid-template-columns:fit-content(50%) minmax(0,1fr);gap:.6rem;"
    "break-inside:avoid}"
    "details:has(:target)>summary{outline:3px solid var(--p-focus)}"
    "ul.key{display:flex;flex-wrap:wrap;gap:.3rem 1rem;padding:0;margin:.5rem 0;"
    "list-style:none;font-size:.9rem}"
    ".key svg{width:1.6rem;height:1rem;vertical-align:-.15rem;margin-right:.3rem}"
    "@media screen and (min-width:110rem){.pair{display:grid;grid-template-columns:3fr 2fr;gap:1rem}}"
    ".pair>section{min-width:0}"
    "@media (max-width:40rem){dl{grid-template-columns:minmax(0,1fr)}dd{margin:0 0 .3rem}}"
    "@media print{html{color-scheme:light}body{padding:0 1px;max-width:none;font-size:9pt}"
    ".scroll{overflow:visible}table,.scroll>svg{min-width:0}"
    "pre{font-size:7pt;white-space:pre-wrap;overflow-wrap:anywhere}"
    "table{font-size:8pt}th,td{padding:.1rem .3rem}tbody th{white-space:normal;overflow-wrap:anywhere}"
    "td:nth-child(2){min-width:5em}td:nth-child(3),td:nth-child(8){min-width:0}"
    "h2,summary{break-after:avoid}dl.facts{columns:2;font-size:8pt}"
    "tr{break-inside:avoid}.skip{display:none}details::details-content{content-visibility:visible;display:block}}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_HEADS = ("index", "kind", "label", "begins at", "size", "used", "free", "UUID", "problems", "facts")


def document(
    scan: Scan, *, run: Mapping[str, str], compared: Iterable[tuple[str, str, str]] | None = None
) -> str:
    """The whole file. ``run``: how it came about, a word for each fact.

    ``compared``: hashes that were compared with the data, or computed of it: of which disk, its name, and its
    value with what came of it; None where that was not asked for.
    """
    title = _title(scan)
    body = "".join(
        (
            '<a class="skip" href="#table">Skip the picture</a>',
            f"<header><h1><bdi>{title}</bdi></h1><p>{_summary(scan)}</p></header><main>",
            _problems(scan),
            f'<div class="pair"><section><h2>Picture</h2>{_key()}',
            _scrolled("Picture", svg.inline(scan, link=_row(""))),
            "</section>",
            "<section><h2>Tree</h2>",
            _scrolled("Tree", f"<pre>{escape(text_tree(scan))}</pre>"),
            "</section></div>",
            '<section><h2 id="table">Table</h2>',
            _scrolled("Table", _table(scan, "")),
            "</section>",
            f"<section><h2>All facts</h2>{_all_facts(scan, '')}</section>",
            *(_within(image, f"w{number}") for number, image in enumerate(scan.images_within(), 1)),
            _hashes(scan) if compared is None else _compared(compared),
            "<section><h2>This report</h2>",
            _pairs(run.items()),
            "</section>",
            "</main>",
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en" class="pyimount"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{svg.STYLE}{_PAGE}</style></head><body>{body}</body></html>\n"
    )


def _within(image: ImageWithin, name: str) -> str:
    """An image in the files of a volume: its picture, table and facts; ``name``: what its ids begin with."""
    address = escape(printable(image.address))
    problems = _problems(image.scan, f"{name}-")
    return (
        f'<section><h2 id="{name}"><bdi>Within: {address}</bdi></h2>{problems}'
        + _scrolled(f"Picture of {address}", svg.inline(image.scan, link=_row(f"{name}-"), name=name))
        + _scrolled(f"Table of {address}", _table(image.scan, f"{name}-"))
        + _all_facts(image.scan, f"{name}-")
        + "</section>"
    )


def notebook(scan: Scan) -> str:
    """The picture and the tree, for a notebook: an element with its style."""
    wrong = "".join(f"<li>{_problem(problem)}</li>" for problem in scan.problems)
    return (
        f"<div><style>{svg.STYLE}.pyimount{{background:var(--p-paper);max-width:100%}}</style>{svg.inline(scan)}"
        f"<pre>{escape(text_tree(scan))}</pre>{f'<ul>{wrong}</ul>' if wrong else ''}</div>"
    )


def text_tree(scan: Scan) -> str:
    """What ``detect`` prints, without colours."""
    from rich.console import Console

    from pyimount.reports.tree import TreeReport

    written = io.StringIO()
    console = Console(file=written, color_system=None, force_terminal=False, highlight=False, width=1 << 12)
    report = TreeReport()
    for tree in report.trees(scan):
        console.print(tree)
    for line in report.of_all(scan):
        console.print(line)
    return "\n".join(printable(line.rstrip()) for line in written.getvalue().splitlines())


def _scrolled(name: str, content: str) -> str:
    """What may be wider than the window, and is moved within it, by keys too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{content}</div>'


def _title(scan: Scan) -> str:
    names = ", ".join(facts.name(disk) for disk in scan.disks[:3])
    more = f" and {len(scan.disks) - 3} more" if len(scan.disks) > 3 else ""
    return escape(f"Disk report: {names}{more}")


def _summary(scan: Scan) -> str:
    locked = sum(volume.locked is True for volume in scan.volumes)
    problems = sum(1 for _ in scan.all_problems())
    images = sum(1 for _ in scan.images_within())
    counts = [
        _count(len(scan.disks), "disk"),
        _count(sum(volume.flag == "alloc" and not volume.hidden for volume in scan.volumes), "volume"),
        f"{locked} locked",
        _count(problems, "problem"),
        *([_count(images, "disk image") + " in their files"] if images else []),
    ]
    return escape(", ".join(counts) + ".")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _problems(scan: Scan, at: str = "") -> str:
    """All that is wrong, with links to the rows; ``at``: what the ids of these begin with."""
    found = list(scan.all_problems())
    looked = ((scan.by_id(number), within) for number, within in scan.within.items())
    found += ((volume, problem) for volume, within in looked for problem in within.problems)
    if not found:
        return ""
    lines = "".join(
        f'<li>{_where(layer, at)}<span class="wrong">{_problem(problem)}</span></li>'
        for layer, problem in found
    )
    head = "h3" if at else "h2"
    return f"<section><{head}>Problems</{head}><ul>{lines}</ul></section>"


def _where(layer: Layer | None, at: str) -> str:
    return "" if layer is None else f'<a href="#{at}v{layer.id}"><bdi>{escape(facts.name(layer))}</bdi></a> '


def _problem(problem: Problem) -> str:
    times = f" ({problem.count} times)" if problem.count > 1 else ""
    return f"<strong>{escape(problem.code)}</strong>: <bdi>{escape(printable(problem.message))}</bdi>{times}"


def _row(at: str) -> Callable[[Box], str | None]:
    return lambda box: f"#{at}v{box.layers[0].id}" if box.layers else None


def _key() -> str:
    """What the colours and marks of the picture mean."""
    kinds = (
        ("files", "file system"), ("group", "member of an array or group"), ("crypto", "encrypted"),
        ("other", "swap and others"), ("unknown", "not recognised"), ("meta", "tables"),
        ("several", "several, too small to show"),
    )  # fmt: skip
    entries = [
        _sample(f'<rect class="b k-{kind}" x="1" y="1" width="22" height="13"/>', word)
        for kind, word in kinds
    ]
    hatched = '<path class="h" d="M2 14L12 1M9 14L19 1M16 14L23 5"/>'
    drawn = (
        ('<rect class="b k-gap" x="1" y="1" width="22" height="13"/>' + hatched, "gap"),
        ('<path class="u" d="M1 4h14v7h-14z"/><path class="i" d="M1 4h22v7h-22z"/>', "used (file system)"),
        ('<path class="ms" d="M1 7q2 4 4 0t4 0q2 4 4 0t4 0"/>', "wider than to scale"),
        (svg.lock_mark(5, 1), "locked"),
        (svg.problem_mark(5, 1), "has a problem"),
    )  # fmt: skip
    entries += [_sample(shape, word) for shape, word in drawn]
    entries.append("Each disk has a scale of its own; lines join the members of an array.")
    return f'<ul class="key">{"".join(f"<li>{entry}</li>" for entry in entries)}</ul>'


def _sample(shape: str, word: str) -> str:
    return f'<svg aria-hidden="true" viewBox="0 0 24 15">{shape}</svg>{word}'


def _table(scan: Scan, at: str) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    rows = []
    for disk in scan.disks:
        rows.append(_disk_row(disk, at))
        rows.extend(_volume_row(volume, at) for volume in scan.walk(disk))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _disk_row(disk: DiskLayer, at: str) -> str:
    kind = " ".join(filter(None, (str(disk.container.get("type", "")), disk.pttype)))
    cells = (printable(kind), facts.name(disk), "", size_text(disk.size), "", "", disk.ptuuid)
    return _cells(disk, printable(disk.index or "disk"), cells, at)


def _volume_row(volume: VolumeLayer, at: str) -> str:
    start = "" if volume.disk_offset is None else str(volume.disk_offset)
    if not start and volume.offset is not None:
        start = f"+{volume.offset}"
    cells = (
        kind_word(volume) + ("" if volume.locked is None else " locked" if volume.locked else " opened"),
        volume.label or volume.name or volume.part_name,
        start,
        size_text(volume.size),
        "" if volume.used is None else size_text(volume.used),
        "" if volume.free is None else size_text(volume.free),
        volume.uuid or volume.part_uuid,
    )
    return _cells(volume, printable(volume.index), cells, at)


_NUMBER = ' class="n"'


def _cells(layer: Layer, index: str, cells: Iterable[str | None], at: str) -> str:
    made = "".join(
        f"<td{_NUMBER if 2 <= column <= 5 else ''}><bdi>{escape(printable(cell or ''))}</bdi></td>"
        for column, cell in enumerate(cells)
    )
    wrong = "".join(f'<div class="wrong">{_problem(problem)}</div>' for problem in layer.problems)
    count = len(facts.all_facts(layer))
    # What leads into a closed one opens it.
    told = f'<a href="#{at}f{layer.id}" aria-label="{count} facts of {escape(index, quote=True)}">{count}</a>'
    return (
        f'<tr id="{at}v{layer.id}"><th scope="row">{escape(index)}</th>{made}<td>{wrong}</td>'
        f"<td{_NUMBER}>{told}</td></tr>"
    )


def _all_facts(scan: Scan, at: str) -> str:
    """Every fact of each layer, closed on a screen, open on paper."""
    layers: list[Layer] = []
    for disk in scan.disks:
        layers += (disk, *scan.walk(disk))
    parts = []
    for layer in layers:
        own = facts.all_facts(layer)
        pairs = "".join(f"<div>{_pair(key, value)}</div>" for key, value in own)
        called = escape(printable(f"{facts.name(layer)}: {_count(len(own), 'fact')}"))
        told = f'<dl class="facts" id="{at}f{layer.id}">{pairs}</dl>'
        parts.append(f"<details><summary><bdi>{called}</bdi></summary>{told}</details>")
    return "".join(parts)


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(_pair(key, value) for key, value in pairs)}</dl>"


def _pair(key: str, value: str) -> str:
    return f"<dt>{escape(printable(key))}</dt><dd><bdi>{escape(printable(value))}</bdi></dd>"


def _hashes(scan: Scan) -> str:
    rows = [(disk, *pair) for disk in scan.disks for pair in stored_hashes(disk)]
    if not rows:
        return ""
    lines = "".join(
        f"<li><bdi>{escape(facts.name(disk))}</bdi>: {escape(key)} <code>{escape(value)}</code></li>"
        for disk, key, value in rows
    )
    return (
        "<section><h2>Hashes that the images store</h2>"
        f"<p>As stored: they were not compared with the data.</p><ul>{lines}</ul></section>"
    )


def _compared(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = "".join(
        f"<li><bdi>{escape(name)}</bdi>: {escape(printable(key))} {escape(printable(value))}</li>"
        for name, key, value in rows
    )
    return (
        "<section><h2>Hashes</h2><p>All of each disk was read for this report, and held against what its "
        f"image stores.</p><ul>{lines}</ul></section>"
    )


def stored_hashes(disk: DiskLayer) -> Iterator[tuple[str, str]]:
    """The digests that a container has of its data, as the container calls them."""
    for key, value in facts.all_facts(disk):
        words = key.lower().replace("-", "").replace("_", "")
        if any(digest in words for digest in ("md5", "sha1", "sha256", "sha512", "blake2")):
            yield key.removeprefix("container."), value
