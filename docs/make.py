"""Build the site: the pages beside this file, a page of each command, and the reference: make.py FOLDER.

The reference is the docstrings, by pdoc; the rest is Markdown, by Sphinx.
"""

import shutil
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path

import pdoc
from pdoc import render
from sphinx.cmd.build import build_main

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from docs import manpages  # noqa: E402  (where it stands is only known now)

MODULES = (
    "pyimount",
    "pyimount.imagemounter",
    "pyimount.exceptions",
    "pyimount.dependencies",
    "pyimount.mounting",
    "pyimount.problems",
)
"""What programs may import; all else may change without notice."""


def load(module: str) -> None:
    """Import a module with all that it would only load when it is first used."""
    made = import_module(module)
    for name in getattr(made, "__all__", ()):
        setattr(made, name, getattr(made, name))


def write_reference(folder: Path) -> None:
    """Write the reference into a folder."""
    for module in MODULES:
        load(module)
    # A type that contains itself is written out as it stands.
    warnings.filterwarnings("ignore", message=r"(?s).*Import of Json failed")
    render.configure(docformat="restructuredtext", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=folder)


def write_sources(folder: Path) -> Path:
    """Put together what Sphinx reads: the pages, and the commands' as they are composed; returns where."""
    shutil.copy(TOP / "SECURITY.md", folder)
    pages = folder / "docs"
    (pages / "man").mkdir(parents=True)
    for path in (*TOP.glob("docs/*.md"), TOP / "docs" / "conf.py"):
        shutil.copy(path, pages)
    for name in manpages.commands():
        page = manpages.composed(name)
        if name == "pyimount":
            others = "\n".join(each for each in manpages.commands() if each.startswith("pyimount-"))
            page += f"\n```{{toctree}}\n:hidden:\n\n{others}\n```\n"
        (pages / "man" / f"{name}.md").write_text(page, encoding="utf-8")
    return pages


def main(folder: Path) -> int:
    """Write everything into a folder; returns the exit status: a warning of Sphinx's is a failure."""
    with tempfile.TemporaryDirectory(prefix="pyimount-docs-") as work:
        pages = write_sources(Path(work))
        status = build_main(
            ["-q", "-W", "--keep-going", "-b", "html", "-d", f"{work}/seen", str(pages), str(folder)]
        )
    write_reference(folder / "reference")
    return status


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
