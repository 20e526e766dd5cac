"""Render the reference manual, which is the docstrings, and the pages beside this file: make.py FOLDER."""

import html
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc
from pdoc import render, render_helpers

PAGES = ("migration", "mounting")
MODULES = (
    "pyimount",
    "pyimount.imagemounter",
    "pyimount.exceptions",
    "pyimount.dependencies",
    "pyimount.mounting",
    "pyimount.problems",
)
"""What programs may import; all else may change without notice."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ max-width: 50em; margin: 2em auto; padding: 0 1em; font: 1em/1.5 system-ui, sans-serif }}
code {{ background: #f2f2f2; padding: .1em .3em }}
pre {{ background: #f2f2f2; padding: 1em; overflow-x: auto }}
table {{ border-collapse: collapse }}
td, th {{ border: 1px solid #ccc; padding: .3em .6em; text-align: left; vertical-align: top }}
</style>
</head>
<body>
<p><a href="pyimount.html">Reference</a></p>
{body}
</body>
</html>
"""


def load(module: str) -> None:
    """Import a module with all that it would only load when it is first used."""
    made = import_module(module)
    for name in getattr(made, "__all__", ()):
        setattr(made, name, getattr(made, name))


def main(folder: Path) -> None:
    """Write everything into a folder."""
    for module in MODULES:
        load(module)
    # A type that contains itself is written out as it stands.
    warnings.filterwarnings("ignore", message=r"(?s).*Import of Json failed")
    render.configure(docformat="restructuredtext", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=folder)
    for page in PAGES:
        text = Path(__file__).with_name(f"{page}.md").read_text(encoding="utf-8")
        title = text.partition("\n")[0].lstrip("# ")
        body = render_helpers.to_html(text)
        made = PAGE.format(title=html.escape(title), body=body)
        (folder / f"{page}.html").write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
