"""The tables of the pages that are made of the code: ``python -m docs.tables`` writes them into docs/*.md.

A page says where one stands: between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from docs import manpages
from pyimount import problems
from pyimount.cli import formats

PAGES = Path(__file__).resolve().parent


def codes() -> str:
    """Every code of a problem, with what it means, as the code says it."""
    (kind,) = (
        each
        for each in ast.parse(inspect.getsource(problems)).body
        if isinstance(each, ast.ClassDef) and each.name == "Code"
    )
    told = [
        (ast.literal_eval(member.value), ast.literal_eval(said.value))
        for member, said in zip(kind.body, kind.body[1:], strict=False)
        if isinstance(member, ast.Assign) and isinstance(said, ast.Expr)
    ]
    rows = ((f"`{code}`", " ".join(said.replace("``", "`").split())) for code, said in told)
    return _table(("code", "meaning"), rows)


def statuses() -> str:
    """Every exit status, as pyimount(1) has it."""
    section = (manpages.SOURCES / "pyimount.md").read_text(encoding="utf-8").partition("## Exit status\n")[2]
    items = re.findall(r"^- (`\d+`[^:]*): (.*)$", section.partition("\n## ")[0], re.MULTILINE)
    return _table(("status", "meaning"), items)


def recognised() -> str:
    """Every format: what it is, and what each of pyimount's ways into it gives."""
    rows = []
    for entry in formats.listing():
        is_volume = entry["what"] not in ("container", "partition table")
        rows.append(
            (
                entry["title"],
                entry["what"],
                " ".join(f"`{each}`" for each in entry["types"]),
                "yes" if entry["mapped"] else "",
                ", ".join(entry["files"]),
                " ".join(entry["mount"]) if is_volume else "",
            )
        )
    return _table(("format", "what", "types", "looked into", "files without root", "mounted by"), rows)


TABLES: Mapping[str, Callable[[], str]] = {"codes": codes, "statuses": statuses, "formats": recognised}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


_PLACE = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def filled(page: str) -> str:
    """A page with its tables as the code has them."""
    return _PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", page)


def main() -> None:
    """Fill all pages."""
    for path in sorted(PAGES.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if filled(page) != page:
            path.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
