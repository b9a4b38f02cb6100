"""Processes in which neither transformers nor this package is imported yet.

One process imports the libraries below them, most of what a new process would spend its time on, and forks for each.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile

from forked_work import run_forked
from source_imports import SOURCE

BELOW = (
    *("torch._dynamo", "torch.distributed.tensor", "torch.nn.attention.flex_attention", "scipy.optimize"),
    *("accelerate", "huggingface_hub", "safetensors.torch", "tokenizers", "PIL.Image"),
)


class ImportProcesses:
    """Runs code, each in a process of its own; to be closed."""

    def __init__(self) -> None:
        environment = {"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"}
        self._parent = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, code: str) -> str:
        """What the code prints, warnings too; it fails where the code does."""
        self._parent.stdin.write(json.dumps(code) + "\n")
        self._parent.stdin.flush()
        status, printed = json.loads(self._parent.stdout.readline())
        assert status == 0, printed
        return printed

    def close(self) -> None:
        """End the process that forks."""
        self._parent.stdin.close()
        self._parent.wait()


def fork(code: str) -> tuple[int, str]:
    """Exit status of code in a fork of this process, and what it printed."""
    with tempfile.TemporaryFile("w+") as out:
        status = run_forked(lambda: exec(compile(code, "<code>", "exec"), {"__name__": "__main__"}), out)
        out.seek(0)
        return status, out.read()


if __name__ == "__main__":
    for name in BELOW:
        importlib.import_module(name)
    assert not {"transformers", "sam_hq"} & set(sys.modules)
    answers = os.fdopen(os.dup(1), "w")  # what children print does not get among them
    for line in sys.stdin:
        answers.write(json.dumps(fork(json.loads(line))) + "\n")
        answers.flush()
