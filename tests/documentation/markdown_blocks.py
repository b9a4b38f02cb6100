"""The code blocks of the documentation, and a place to run them in.

Run as a script, it runs the blocks of each page as printed, in the order of the page and with one namespace: python
blocks as they are, shell blocks line by line: `sam-hq`, `python docs/examples/…` and what makes files. Each page
has a process and a folder of its own, in which names of models stand for small ones: a Hub id is a directory with one.

A block that is not run says why in a comment above it: `<!-- not run: REASON -->`.
"""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forked_work import run_forked

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = ("python", "bash")
TEXT = ("text", "json", "yaml", "bibtex", "console", "{toctree}", "{eval-rst}")
MAKE_FILES = ("mkdir", "cp", "mv", "printf")
NOT_RUN = re.compile(r"<!-- not run: (\S(?:(?! -->).)*) -->\s*\Z", re.DOTALL)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)

# What the pages print is run with smaller numbers where the printed ones take minutes or hours.
SHORTENED = {
    "--steps 500": "--steps 2",
    "--steps 20 --batch-size 4": "--steps 2 --batch-size 2 --num-points 64 --image-size 256",
    "--batch-size 4 --learning-rate 1e-3 --precision bf16": "--batch-size 2 --learning-rate 1e-3 --num-points 64",
    "--prompts box points-1 clicks-5": "--prompts points-1",
    "points_per_crop=16": "points_per_crop=4",
    "--output masks --overlay --embeddings": "--output masks --overlay --points-per-crop 8 --embeddings",
}
# Of the photos with ground truth the pages have these; tests/test_embedded_checkpoint.py evaluates on all.
MEASURED = ("dog", "kitten", "plier4", "polar_bear", "red_panda", "sheep")


@dataclass(frozen=True)
class Block:
    """A code block of a page: its language, code, the line where the code starts, and why it is not run."""

    page: Path
    language: str
    code: str
    line: int
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages() -> list[Path]:
    """The README, and the pages of the site."""
    skipped = {"command_line.md", "CREDITS.md"}
    written = (path for path in sorted((REPOSITORY / "docs").rglob("*.md")) if path.name not in skipped)
    return [REPOSITORY / "README.md", *written]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        reason = NOT_RUN.search(text[: match.start()])
        line = text.count("\n", 0, match.start("code")) + 1
        code = re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        language = match["language"].strip()
        found.append(Block(page, language, code, line, " ".join(reason[1].split()) if reason else None))
    return found


def command_lines(code: str) -> list[str]:
    """The lines of a shell block, joined where a backslash continues them."""
    return re.sub(r"\\\n", " ", code).splitlines()


def commands(code: str) -> list[list[str]]:
    """The words of each command of a shell block; comments are left out."""
    return [words for words in (shlex.split(line, comments=True) for line in command_lines(code)) if words]


def run_page(page: Path) -> None:
    """Run the blocks of a page in the current folder."""
    names: dict = {"__name__": "__page__"}
    for block in blocks(page):
        if block.reason is not None or block.language not in RUN:
            continue
        code = block.code
        for printed, shorter in SHORTENED.items():
            code = code.replace(printed, shorter)
        print(f"-- {block.place}", flush=True)
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + code, str(page), "exec"), names)
        else:
            for line in command_lines(code):
                run_command(line)


def run_command(line: str) -> None:
    """Run `sam-hq …`, `python docs/examples/….py …`, or a command that makes folders and files."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[0] in MAKE_FILES:
        subprocess.run(["bash", "-c", line], check=True)
        return
    if words[0] == "sam-hq":
        from sam_hq_cli.main import main

        if words[1] == "convert":  # what a page converts takes the place of what stands for it before
            shutil.rmtree(words[3], ignore_errors=True)
        if words[1] == "train":  # makes `best` itself
            shutil.rmtree(Path(words[words.index("--output") + 1]) / "best", ignore_errors=True)
        status = main(words[1:])
    elif words[0] == "python" and words[1].endswith(".py"):
        sys.argv = words[1:]
        try:
            runpy.run_path(words[1], run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code or 0
    else:
        raise ValueError(f"only sam-hq and scripts are run; say why this is not: {shlex.join(words)}")
    assert status == 0, f"{shlex.join(words)} ended with {status}"


def furnish(folder: Path) -> None:
    """Put into a folder what the pages take for granted."""
    import torch
    from stand_in import authors_weights, stand_in_model

    from sam_hq.hub.conversion import processor_for

    link_docs(folder / "docs")
    model = stand_in_model()
    for name in ("my-model", "syscv-community/sam-hq-vit-base", "run/best"):
        model.save_pretrained(folder / name)
        processor_for(model.config).save_pretrained(folder / name)
    torch.save(authors_weights(), folder / "sam_hq_vit_b.pth")


def link_docs(folder: Path) -> None:
    """Make a folder of links to the files of `docs`, with few of the photos that have ground truth."""
    docs, measured = REPOSITORY / "docs", Path("photos") / "realphoto_cc0"

    def left_out(parent: str, names: list[str]) -> list[str]:
        if Path(parent).parent != docs / measured:
            return []
        return [name for name in names if Path(name).stem.removesuffix("_0") not in MEASURED]

    shutil.copytree(docs, folder, copy_function=os.symlink, ignore=left_out)
    titles, *rows = (docs / measured / "manifest.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    manifest = folder / measured / "manifest.csv"
    manifest.unlink()
    manifest.write_text(titles + "".join(row for row in rows if row.split(".")[0] in MEASURED), encoding="utf-8")


def run_in_a_process_of_its_own(work: Callable[[], None], folder: Path, log: Path) -> int:
    """Fork, do the work there in a folder, and return the exit status; what it prints goes to `log`."""

    def there() -> None:
        os.chdir(folder)
        work()

    with log.open("w") as out:
        return run_forked(there, out)


def run_all(folder: Path) -> None:
    """Run all pages, each in a copy of the furnished folder, and note the exit status of each in `folder`."""
    # Imported once for all. Nothing is computed here: pools of threads would not survive the forks.
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import sam_hq

    furnished = folder / "furnished"
    furnished.mkdir()
    if run_in_a_process_of_its_own(lambda: furnish(furnished), furnished, folder / "furnished.log"):
        sys.exit((folder / "furnished.log").read_text())
    if not Path(sam_hq.EMBEDDED_CHECKPOINT).is_dir():
        sam_hq.EMBEDDED_CHECKPOINT = str(furnished / "my-model")
    for number, page in enumerate(pages()):
        own = folder / str(number)
        shutil.copytree(furnished, own, symlinks=True)
        status = run_in_a_process_of_its_own(lambda page=page: run_page(page), own, folder / f"{number}.log")
        (folder / f"{number}.status").write_text(str(status))
        shutil.rmtree(own)


if __name__ == "__main__":
    run_all(Path(sys.argv[1]))
