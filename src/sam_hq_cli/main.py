"""Entry point of the command `sam-hq`.

A sub-command is one file of this package, listed in `COMMANDS`, with two functions:

* `add_parser(subparsers)` adds its parser, `subparsers.add_parser(NAME, help=…)`, and its arguments. It runs for
  every call of `sam-hq`, `--help` included, so the file's top imports only the standard library.
* `run(args)` does the work and imports what it needs. It returns the exit status, or None for 0. Bad input is raised
  as ValueError, TypeError or OSError: the user sees one line, `sam-hq: error: …`, and the status is 2.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

COMMANDS = ("segment", "annotate", "generate", "convert", "train", "evaluate", "export", "demo")


def version() -> str:
    """Return the installed version of the distribution `sam-hq`."""
    try:
        return importlib.metadata.version("sam-hq")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `sam-hq` with every sub-command that is installed."""
    parser = argparse.ArgumentParser(prog="sam-hq", description="Segment Anything in High Quality.")
    parser.add_argument("--version", action="version", version=f"sam-hq {version()}")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh", "tcsh"),
        help='print the completion of a shell: eval "$(sam-hq --print-completion bash)"',
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        if importlib.util.find_spec(f"sam_hq_cli.{name}") is None:
            continue
        command = importlib.import_module(f"sam_hq_cli.{name}")
        known = set(subparsers.choices)
        command.add_parser(subparsers)
        for added in set(subparsers.choices) - known:
            own = subparsers.choices[added]
            own.set_defaults(run=lambda args, command=command: command.run(args), refuse=own.error)
    return parser


class _PrintCompletion(argparse.Action):
    """Prints what makes a shell complete our words, and ends."""

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: Any, values: Any, _option: str | None = None
    ) -> None:
        """Print and exit."""
        try:
            import shtab
        except ImportError:
            parser.error("--print-completion needs shtab: pip install 'sam-hq[completion]'")
        print(shtab.complete(parser, values))
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 bad input, 130 interrupted.

    Args:
        argv: The words after `sam-hq`; those of the process if None.
    """
    from sam_hq_cli.prompt_arguments import expanded

    words = list(sys.argv[1:] if argv is None else argv)
    args, unknown = build_parser().parse_known_args(expanded(words) if words[:1] == ["segment"] else words)
    if unknown:
        args.refuse(f"unknown arguments: {' '.join(unknown)}")  # with the usage of the sub-command
    for name, value in vars(args).items():
        if value == "" or (isinstance(value, list) and "" in value):  # as of a variable of the shell that is not set
            args.refuse(f"argument {name.replace('_', '-')} is empty")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names that are not UTF-8
    return exit_status(lambda: args.run(args))


def exit_status(run: Callable[[], int | None], program: str = "sam-hq") -> int:
    """Run something, and say its errors and warnings on a line each.

    Args:
        run: Returns its exit status, or None.
        program: What says them.

    Returns:
        The status; 2 after an error, 130 where it was interrupted.
    """

    def show_warning(message: Warning | str, *_: object) -> None:
        text = one_line(message) if isinstance(message, Warning) else message
        print(f"{program}: warning: {text}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning  # type: ignore[assignment]  # it takes the rest as *_
            return run() or 0
    except (ValueError, TypeError, OSError) as error:
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130


def one_line(error: BaseException | Warning) -> str:
    """Return an error's message on one line, or its type where it has no message.

    Args:
        error: The system's own errors are said in words, with the path that they are about.
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        path = os.fspath(error.filename) if isinstance(error.filename, os.PathLike) else error.filename
        if isinstance(error, FileNotFoundError):
            return f"there is no file or folder {path!r}"
        return f"cannot use {path!r}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
