"""The documentation builds without a warning, and no link in it or in the repository's pages leads nowhere."""

import argparse
import html
import os
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest
from markdown_blocks import FENCE, pages
from site_links import faults

from conftest import REPOSITORY
from sam_hq_cli.main import build_parser

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`[^`\n]+`")
OTHER_PAGES = [REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "tests/parity/README.md")]
PAGES = sorted({*pages(), *OTHER_PAGES, *(REPOSITORY / "model_cards").glob("*.md")})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = ["sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", str(folder / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", *command, str(REPOSITORY / "docs"), str(folder / "html")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_link_of_the_site_leads_somewhere(site):
    assert faults(site) == []


def test_the_api_is_there(site):
    model = (site / "api" / "model.html").read_text(encoding="utf-8")
    for wanted in ("sam_hq.modeling_sam_hq.SamHQModel.forward", "Normalised, padded images", "Raises"):
        assert wanted in model


def test_every_option_of_every_command_is_on_the_page_of_the_command_line(site):
    page = html.unescape(re.sub(r"<[^>]+>", "", (site / "command_line.html").read_text(encoding="utf-8")))
    (subparsers,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    for name, parser in subparsers.choices.items():
        assert f"sam-hq {name}" in page
        arguments = [action for action in parser._actions if action.help != argparse.SUPPRESS]
        assert not [option for action in arguments for option in action.option_strings if option not in page]


@pytest.mark.parametrize("name", ["architecture", "coming_from", "command_line", "export", "troubleshooting", "why"])
def test_words_fit_a_phone(site, chromium, name):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto((site / f"{name}.html").as_uri())
    page.wait_for_load_state()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = (
        "[...document.querySelectorAll('article :is(table, pre)')].filter(each => each.scrollWidth > each.clientWidth)"
    )
    assert page.evaluate(f"{wide}.map(each => each.innerText.slice(0, 60))") == []
    page.close()


def test_the_check_of_links_finds_what_is_broken(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#there"></a><a href="b.html#gone"></a><p id="top"></p>')
    (tmp_path / "b.html").write_text(
        '<p id="there"></p><a href="a.html#top"></a><a href="#nowhere"></a><a href="c.html"></a><img src="d.png">'
        '<script src="https://example.org/x.js"></script><a href="https://example.org"></a>'
    )
    assert faults(tmp_path) == [
        "a.html: b.html#gone: there is no such anchor",
        "b.html: #nowhere: there is no such anchor",
        "b.html: c.html is not there",
        "b.html: d.png is not there",
        "b.html: https://example.org/x.js is fetched from the network",
    ]


def heading_anchors(text):
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), flags=re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_between_files_work_in_the_repository_too(page):
    text = CODE_SPAN.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / unquote(name)).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in heading_anchors(file.read_text(encoding="utf-8")), f"{page.name}: {target}"
