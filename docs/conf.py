"""The documentation site: `make docs` builds it with Sphinx, warnings being errors."""

import argparse
import re
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
myst_enable_extensions = ["colon_fence", "deflist"]
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

smartquotes = False  # two dashes of an option are two dashes

html_theme = "furo"
html_title = "sam-hq"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
html_theme_options = {"source_repository": "", "top_of_page_buttons": []}
html_show_sphinx = False
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]


def command_reference(parser: argparse.ArgumentParser) -> str:
    """The description, the usage and the arguments of a parser, as paragraphs and lists that fit any page."""
    formatter = parser._get_formatter()
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    parts = [*paragraphs(parser.description), f"```text\n{usage}\n```"]
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if shown:
            parts += [f"**{group.title}**", *paragraphs(group.description)]
        for action in shown:
            (meaning,) = paragraphs(formatter._expand_help(action) if action.help else None) or ["–"]
            parts.append(f"`{formatter._format_action_invocation(action)}`\n: {meaning}")
    return "\n\n".join([*parts, *paragraphs(parser.epilog)])


def paragraphs(text: str | None) -> list[str]:
    """The paragraphs of a help text in Markdown: code stays code, other signs mean themselves."""
    pieces = [re.split(r"(`[^`]+`)", " ".join(each.split())) for each in (text or "").split("\n\n") if each.strip()]
    return [
        "".join(piece if piece[:1] == "`" else re.sub(r"([*_<>\[\]{}#|~$\\])", r"\\\1", piece) for piece in each)
        for each in pieces
    ]


def write_command_pages(app: Sphinx) -> None:
    """Write the page of the command line from the parsers."""
    parser = command_line.build_parser()
    (subparsers,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    commands = [f"`sam-hq {each.dest}`\n: {each.help}" for each in subparsers._choices_actions]
    parts = ["# The command line", *commands, "`sam-hq COMMAND --help` prints what follows."]
    parts += [f"## sam-hq {name}\n\n{command_reference(each)}" for name, each in subparsers.choices.items()]
    (Path(app.srcdir) / "command_line.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Let Sphinx call what is needed before it reads the pages."""
    app.connect("builder-inited", write_command_pages)
