"""Every code block of the README and the documentation runs as printed, or says why it is not run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from markdown_blocks import RUN, SHORTENED, TEXT, blocks, commands, pages

from conftest import REPOSITORY
from sam_hq_cli.main import build_parser

PAGES = [str(page.relative_to(REPOSITORY)) for page in pages()]
BLOCKS = [block for page in pages() for block in blocks(page)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Exit status and output of each page; one process imports everything once and forks for each."""
    folder = tmp_path_factory.mktemp("pages")
    paths = [str(REPOSITORY / name) for name in ("src", "tests", "tests/support", "tests/documentation")]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("markdown_blocks.py")), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        page: (int((folder / f"{number}.status").read_text()), (folder / f"{number}.log").read_text())
        for number, page in enumerate(PAGES)
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(results, page):
    status, output = results[page]
    assert status == 0, output[-6000:]


def test_every_block_says_what_it_is():
    """A block without a language would be neither run nor excused."""
    assert not [block.place for block in BLOCKS if block.language not in (*RUN, *TEXT)]


def test_what_is_not_run_is_code_and_says_why():
    excused = [block for block in BLOCKS if block.reason is not None]
    assert not [block.place for block in excused if block.language not in RUN or len(block.reason) < 15]
    tested = {block: re.search(r"tests/\S+\.py", block.reason) for block in excused}
    assert all((REPOSITORY / found[0]).is_file() for found in tested.values() if found)
    # Few, and only for what a test cannot do, such as servers of other projects.
    assert sum(not found for found in tested.values()) <= 11, [block.place for block in excused]


def test_commands_that_are_not_run_are_commands():
    lines = [words for block in BLOCKS if block.reason and block.language == "bash" for words in commands(block.code)]
    ours = [words[1:] for words in lines if words[0] == "sam-hq"]
    assert ours
    for words in ours:
        build_parser().parse_args(words)  # exits where a command or an option is unknown


def test_what_is_shortened_is_still_printed_somewhere():
    code = "\n".join(block.code for block in BLOCKS)
    assert not [printed for printed in SHORTENED if printed not in code]


def test_targets_and_extras_that_pages_name_are_there():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (*pages(), REPOSITORY / "CONTRIBUTING.md"))
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, flags=re.MULTILINE)) <= targets
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = {extra for group in re.findall(r"(?:sam-hq|\.)\[([a-z,]+)\]", text) for extra in group.split(",")}
    assert named <= set(project["optional-dependencies"])
