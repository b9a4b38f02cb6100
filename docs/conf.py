"""The documentation site: `make docs` builds it with Sphinx, warnings being errors."""

import argparse
import os
from pathlib import Path

from sphinx.application import Sphinx

from sam_hq_cli import main as command_line

project = "sam-hq"
author = "the sam-hq contributors"
copyright = author
release = command_line.version()

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["photos/CREDITS.md"]
nitpick_ignore_regex = [("py:.*", ".*")]  # links to other projects' pages would need the network

# Headings of every level can be linked to; a link to one that is not there is a warning.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.header"]  # `make bench` writes headings into a page of its own levels

# Docstrings put code in single backticks: a link where it names something of ours, code where not.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
autodoc_inherit_docstrings = False  # those of other projects are not written for Sphinx
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source", "Differs"]

html_theme = "furo"
html_title = "sam-hq"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"source_repository": "", "top_of_page_buttons": []}
html_show_sphinx = False
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]


def write_command_pages(app: Sphinx) -> None:
    """Write the page of the command line from the parsers, as `sam-hq COMMAND --help` prints it."""
    os.environ["COLUMNS"] = "88"  # what fits a page beside its menu, whatever terminal builds it
    parser = command_line.build_parser()
    (subparsers,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    parts = ["# The command line", f"```text\n{parser.format_help()}```"]
    parts += [f"## sam-hq {name}\n\n```text\n{each.format_help()}```" for name, each in subparsers.choices.items()]
    (Path(app.srcdir) / "command_line.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Let Sphinx call what is needed before it reads the pages."""
    app.connect("builder-inited", write_command_pages)
