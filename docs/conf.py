"""How Sphinx builds the site; nothing in it is asked of another host."""

from pathlib import Path

from pyimount.version import __version__

project = "pyimount"
release = version = __version__
extensions = ["myst_parser"]
html_theme = "alabaster"
html_theme_options = {
    "description": "what is in a disk image, layer by layer",
    "page_width": "1120px",
    "code_font_size": "0.8em",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sphinx = False
html_show_copyright = False
# Two hyphens are two hyphens.
smartquotes = False
html_copy_source = False
myst_heading_anchors = 2
highlight_language = "none"
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = [Path(__file__).name]
