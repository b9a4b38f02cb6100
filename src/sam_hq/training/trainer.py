"""The training loop, on accelerate: one CPU, one GPU or many; resumes exactly where it was interrupted.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.3. Differs: a checkpoint is written aside and renamed,
the tuned SAM parts are saved with the HQ parts, and one process is enough.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.utils.data import DataLoader, Subset

from ..atomic_writing import new_file
from ..evaluation import PromptedModel, evaluate
from .batches import TrainingBatches
from .parts import parameter_groups, select_parameters, with_lora
from .run_state import Progress, RunningMean, SwappedWeights
from .settings import TrainingSettings
from .step import TrainingStep

STATE_FOLDER = "state_{step:07d}"


class Trainer:
    """Trains a SAM-HQ model.

    Args:
        model: A `SamHQModel`; any start point will do.
        processor: Its processor, for validation and saved beside the weights.
        images: Training images, a sequence of (image (H, W, 3) uint8, masks (n, H, W) bool).
        output_dir: Gets `state_*` (to resume from), `best` and `last` (checkpoints) and `log.jsonl`.
        settings: The run's settings.
        validation: A `sam_hq.segmentation_data.MaskedImages`, or None for no validation.
        report: Called with a line for people at every logged step.

    Raises:
        ImportError: `trainable="lora"` without peft.
        ValueError: Settings that make no sense.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        images: Sequence[tuple[np.ndarray, np.ndarray]],
        output_dir: str | Path,
        settings: TrainingSettings,
        validation: Any = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.settings, self.processor, self.validation, self.report = settings, processor, validation, report
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(
            mixed_precision=settings.precision,
            gradient_accumulation_steps=settings.accumulation,
            log_with=list(settings.trackers) or None,
            project_dir=self.output_dir,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        if settings.trainable == "lora":
            model = with_lora(model, settings.lora_rank, seed=settings.seed)
        else:
            select_parameters(model, settings.trainable)
        step_module = TrainingStep(model, settings)
        optimizer = torch.optim.AdamW(
            parameter_groups(step_module, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.99)
        )
        self.progress = Progress()
        self.step_module, self.optimizer = self.accelerator.prepare(step_module, optimizer)
        self.accelerator.register_for_checkpointing(self.progress)
        self.mean = RunningMean(self._own(), settings.ema_decay) if settings.ema_decay else None
        if self.mean is not None:
            self.accelerator.register_for_checkpointing(self.mean)
        size = self._own().plain_model.config.vision_config.image_size
        self.batches = TrainingBatches(
            images,
            settings.steps * settings.accumulation * self.accelerator.num_processes,
            settings.batch_size,
            settings.objects,
            size,
            settings.seed,
            settings.prompt_shares,
            settings.smallest_crop,
        )

    def _own(self) -> TrainingStep:
        return self.accelerator.unwrap_model(self.step_module)

    def resume(self) -> int:
        """Load the newest state of `output_dir`, if there is one; returns the step that training goes on from."""
        states = self._states()
        if states:
            self.accelerator.load_state(str(states[-1]), load_kwargs={"weights_only": False})
        return self.progress.step

    def _states(self) -> list[Path]:
        return sorted(path for path in self.output_dir.glob("state_*") if path.suffix != ".partial")

    def train(self, stop_after: int | None = None) -> dict[str, float]:
        """Train to the last step.

        Args:
            stop_after: Stop, with the state saved, after this step; to spread a run over several calls.

        Returns:
            The last validation's `miou` and `mbiou`; empty without validation.
        """
        settings, accelerator = self.settings, self.accelerator
        last = min(settings.steps, stop_after if stop_after is not None else settings.steps)
        if settings.trackers:
            accelerator.init_trackers("sam_hq", config=_plain(settings))
        self.step_module.train()
        sums: dict[str, list[float]] = {}
        quality: dict[str, float] = {}
        loader = iter(self._loader(last))
        while self.progress.step < last:
            for key, value in self._update(loader).items():
                sums.setdefault(key, []).append(value)
            self.progress.step += 1
            step = self.progress.step
            if step % settings.log_every == 0 or step == last:
                self._log(step, {key: float(np.mean(values)) for key, values in sums.items()})
                sums = {}
            if step % settings.validate_every == 0 or step == last:
                quality = self.validate()
                self._keep(step, quality)
        if settings.trackers:
            accelerator.end_training()
        return quality

    def _loader(self, last: int) -> DataLoader:
        """The batches of this process that are still to come: micro-batch k of all belongs to process k mod n."""
        count = self.accelerator.num_processes
        per_step = self.settings.accumulation * count
        first = self.progress.step * per_step + self.accelerator.process_index
        chosen = range(first, last * per_step, count)
        prefetch: dict[str, Any] = {"prefetch_factor": 4} if self.settings.workers else {}
        return DataLoader(Subset(self.batches, chosen), batch_size=None, num_workers=self.settings.workers, **prefetch)

    def _update(self, loader: Any) -> dict[str, float]:
        settings, accelerator = self.settings, self.accelerator
        step, rank = self.progress.step, accelerator.process_index
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.rate_factor(step)
        # Dropout, point sampling and the like follow from the step alone, whatever happened before.
        torch.manual_seed((settings.seed * 1_000_003 + step) * 4099 + rank)
        measures: dict[str, float] = {}
        for _ in range(settings.accumulation):
            batch = {name: _moved(value, accelerator.device) for name, value in next(loader).items()}
            with accelerator.accumulate(self.step_module):
                with accelerator.autocast():
                    loss, parts = self.step_module(batch)
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"the loss of step {step} is {loss.item()}; lower learning_rate")
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.step_module.parameters(), settings.clip_norm)
                    parts["gradient_norm"] = float(norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            measures.update(parts, loss=loss.item())
        if self.mean is not None:
            self.mean.update(self._own())
        return measures

    def _log(self, step: int, measures: dict[str, float]) -> None:
        self.accelerator.log(measures, step=step)
        if self.accelerator.is_main_process:
            with (self.output_dir / "log.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, **measures}) + "\n")
            if self.report is not None:
                named = " ".join(f"{key} {value:.3f}" for key, value in measures.items())
                self.report(f"step {step}/{self.settings.steps}: {named}")

    def validate(self) -> dict[str, float]:
        """Box-prompted mIoU and mean boundary IoU of what would be saved; empty without validation data."""
        if self.validation is None or not self.accelerator.is_main_process:
            return {}
        with self._saved_weights() as model:
            model.eval()
            predictor = PromptedModel(model, self.processor)
            report = evaluate(predictor, self.validation, ("box",))
        self.step_module.train()
        branch = "sam" if self.settings.trainable == "sam" else "sum"
        miou, mbiou, _ = report.means()["box", branch]
        return {"miou": miou, "mbiou": mbiou}

    def _saved_weights(self) -> SwappedWeights:
        return SwappedWeights(self._own(), None if self.mean is None else self.mean.mean)

    def _keep(self, step: int, quality: dict[str, float]) -> None:
        """Save the state, the last checkpoint, and the best one; drop states that are too old."""
        accelerator = self.accelerator
        if quality:
            self._log(step, {f"validation_{key}": value for key, value in quality.items()})
        accelerator.wait_for_everyone()
        target = self.output_dir / STATE_FOLDER.format(step=step)
        aside = target.with_suffix(".partial")
        improved = quality.get("miou", 0.0) + quality.get("mbiou", 0.0) > self.progress.best if quality else False
        if improved:
            self.progress.best = quality["miou"] + quality["mbiou"]
        accelerator.save_state(str(aside), safe_serialization=False)
        if accelerator.is_main_process:
            shutil.rmtree(target, ignore_errors=True)
            aside.rename(target)
            for old in self._states()[: -self.settings.keep_checkpoints]:
                shutil.rmtree(old)
            self.save(self.output_dir / "last", step, quality)
            if improved:
                self.save(self.output_dir / "best", step, quality)
        accelerator.wait_for_everyone()

    def save(self, folder: Path, step: int, quality: dict[str, float]) -> None:
        """Write a checkpoint that `from_pretrained` loads, LoRA merged into it, with the settings beside it."""
        with self._saved_weights() as model:
            model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        with new_file(folder / "training.json") as aside:
            aside.write_text(json.dumps({"step": step, **quality, "settings": _plain(self.settings)}, indent=2))


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value


def _plain(settings: TrainingSettings) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()}
