"""The folder of a training run: states to resume from, checkpoints, and the log."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from sam_hq_numpy.atomic_writing import write_text

STATE_NAME = "state_{step:07d}"
SETTINGS_FILE = "settings.json"
_OLD = ".old.partial"


class RunFolder:
    """States and checkpoints appear whole or not at all, so that an interrupted run can always be resumed.

    Args:
        path: The folder; made if it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._recover()

    def _recover(self) -> None:
        """Finish what a kill between the two renames of `_replace` left, and remove what is half-written.

        Processes that start at once may all try: none writes before all are here.
        """
        for partial in (path for name in ("state_", "best", "last") for path in self.path.glob(f"{name}*.partial")):
            target = partial.with_name(partial.name.removesuffix(_OLD))
            if partial.name.endswith(_OLD) and not target.exists():
                with suppress(FileNotFoundError):
                    partial.rename(target)
            else:
                shutil.rmtree(partial, ignore_errors=True)

    def states(self) -> list[Path]:
        """The finished states, the newest last."""
        found = [path for path in self.path.glob("state_*") if path.name.removeprefix("state_").isdecimal()]
        return sorted(found, key=lambda path: int(path.name.removeprefix("state_")))

    def new_state(self, step: int) -> Path:
        """Where the state after a step is written to before `finish_state`."""
        return self.path / (STATE_NAME.format(step=step) + ".partial")

    @staticmethod
    def check_state(state: Path) -> None:
        """Refuse a state with files that would run code: accelerate loads objects of ours with pickle alone.

        Args:
            state: Its folder.

        Raises:
            UnpicklingError: A file holds more than numbers and tensors.
        """
        for path in state.glob("custom_checkpoint_*.pkl"):
            torch.load(path, map_location="cpu", weights_only=True)

    def finish_state(self, step: int, resume_settings: dict[str, Any], kept: int) -> None:
        """Give a written state its name, with what resumed runs compare, and drop all but the `kept` newest."""
        aside = self.new_state(step)
        (aside / SETTINGS_FILE).write_text(json.dumps(resume_settings))
        _replace(self.path / STATE_NAME.format(step=step), aside)
        for old in self.states()[:-kept]:
            shutil.rmtree(old)

    def save_checkpoint(self, name: str, model: Any, processor: Any, about: dict[str, Any]) -> None:
        """Write model and processor as `from_pretrained` reads them, and `training.json` with what is known about it.

        Args:
            name: Of the folder, such as `best`; an earlier one is replaced.
            model: The model.
            processor: Its processor.
            about: Contents of `training.json`.
        """
        aside = self.path / f"{name}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        model.save_pretrained(aside)
        processor.save_pretrained(aside)
        (aside / "training.json").write_text(json.dumps(about, indent=2))
        _replace(self.path / name, aside)

    def log(self, step: int, measures: dict[str, float]) -> None:
        """Add a line to the log."""
        with (self.path / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **measures}) + "\n")

    def cut_log(self, step: int) -> None:
        """Drop the log's lines of later steps, which will be taken again."""
        path = self.path / "log.jsonl"
        if not path.exists():
            return
        kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):  # the last line of a run that was killed while writing it
        return float("inf")


def _replace(target: Path, aside: Path) -> None:
    """Put a finished folder instead of an earlier one, if there is one."""
    old = target.with_name(f"{target.name}{_OLD}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    aside.rename(target)
    shutil.rmtree(old, ignore_errors=True)
