"""The training loop, on accelerate: one CPU, one GPU or many; resumes exactly where it was interrupted.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.3. Differs: a checkpoint is written aside and renamed,
the tuned SAM parts are saved with the HQ parts, and one process is enough.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast, gather_object
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Subset

from ..evaluation.segmentation_data import BadDataReport
from ..images.processor_fit import check_processor_fits
from .batches import TrainingBatches
from .parts import parameter_groups, trainable_model
from .resume_settings import MODEL, changed_settings, resume_settings, settings_of
from .run_folder import RunFolder
from .run_report import RunReport, check_trackers, tracked_settings
from .run_state import Progress, RunningMean, SwappedWeights
from .settings import TrainingSettings
from .step import TrainingStep
from .validation import validation_quality


class Trainer:
    """Trains a SAM-HQ model.

    Args:
        model: A `SamHQModel`; any start point will do.
        processor: Its processor, for validation and saved beside the weights.
        images: Training images, a sequence of (image (H, W, 3) uint8, masks (n, H, W) bool).
        output_dir: Gets `state_*` (to resume from), `best` and `last` (checkpoints, the same ones without
            validation) and `log.jsonl`.
        settings: The run's settings.
        validation: A `sam_hq.evaluation.segmentation_data.MaskedImages`, or None for no validation.
        report: Called with a line for people at every logged step.
        progress: Called after every update with ("training", updates done, all), and after every photo of a
            validation with ("validation", photos done, all).

    Attributes:
        skipped: Bad training and validation data met so far; of all processes when `train` has ended.

    Raises:
        ImportError: `trainable="lora"` without peft.
        ValueError: Settings that make no sense, a tracker that is not installed, a processor for another size of images
            than the model's, or validation data without a usable mask.
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
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        check_processor_fits(model.config, processor.image_processor)
        check_trackers(settings.trackers)
        if validation is not None and not any(len(masks) for _, masks in validation):
            raise ValueError(f"the validation data have no usable mask; {validation.report}")
        self.settings, self.processor, self.validation = settings, processor, validation
        self.folder, self.progress = RunFolder(output_dir), Progress()
        self.resume_settings = resume_settings(settings, images, validation, model)
        self.accelerator = Accelerator(
            mixed_precision=settings.precision,
            gradient_accumulation_steps=settings.accumulation,
            log_with=list(settings.trackers) or None,
            project_dir=self.folder.path,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.say = RunReport(report, progress, self.accelerator.is_main_process)
        self.skipped = self.say.skipped
        trained = trainable_model(
            model, settings.trainable, settings.lora_rank, settings.seed, settings.gradient_checkpointing
        )
        if settings.trainable != "sam":  # the loss on the HQ mask alone makes it good by itself, whatever it was before
            model.config.hq_token_trained_alone = True
        step_module = TrainingStep(trained, settings)
        groups = parameter_groups(step_module, settings.weight_decay, settings.encoder_rate)
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.99))
        self.step_module, self.optimizer = self.accelerator.prepare(step_module, optimizer)
        self.mean = RunningMean(self.unwrapped_step(), settings.ema_decay) if settings.ema_decay else None
        for carried in (self.progress, *([] if self.mean is None else [self.mean])):
            self.accelerator.register_for_checkpointing(carried)
        options = processor.image_processor
        self.batches = TrainingBatches(
            images,
            settings.steps * settings.accumulation * self.accelerator.num_processes,
            settings.batch_size,
            settings.objects,
            model.config.vision_config.image_size,
            settings.seed,
            settings.prompt_shares,
            settings.augmentation,
            (options.image_mean, options.image_std),
            keyed=settings.embedding_cache is not None,
        )

    def unwrapped_step(self) -> TrainingStep:
        """The step, with the model in it, without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.step_module)

    def resume(self) -> int:
        """Load the newest state of `output_dir`, if there is one.

        Returns:
            The step that training resumes from.

        Raises:
            ValueError: The state is damaged, of another model, or of settings that cannot resume from it.

        Warns:
            UserWarning: The run began with other weights than those of the model given now.
        """
        if states := self.folder.states():
            newest, now = states[-1], self.resume_settings
            before = settings_of(newest)
            if before.get(MODEL, now[MODEL]) != now[MODEL]:
                warnings.warn(
                    f"the run in {str(newest)!r} began with other weights than those given now, which are ignored: "
                    "it resumes with its own; name a new output folder to train the ones given",
                    stacklevel=2,
                )
            if changed := changed_settings(newest, now):
                self.say.line(f"changed since {newest.name}: {', '.join(changed)}")
            try:
                self.folder.check_state(newest)
                self.accelerator.load_state(str(newest))
            except (RuntimeError, ValueError, KeyError, EOFError, OSError, UnpicklingError, SafetensorError) as error:
                raise ValueError(f"cannot resume from {str(newest)!r}, is it of another model? {error}") from error
            self.accelerator.step = 0  # states are saved between updates, whatever their accumulation
            if before.get("validation_images") != now["validation_images"]:
                self.progress.best = -math.inf  # scores on other photos do not compare
        if self.accelerator.is_main_process:
            self.folder.cut_log(self.progress.step)
        return self.progress.step

    def train(self, stop_after: int | None = None) -> dict[str, float]:
        """Train to the last step.

        Args:
            stop_after: Stop, with the state saved, after this step; to spread a run over several calls.

        Returns:
            The last validation's `miou` and `mbiou`; empty without validation, or where no step was left.

        Raises:
            FloatingPointError: The loss or the gradient is not finite.
            ValueError: No object is found in the images, or in validation data.
        """
        settings, accelerator = self.settings, self.accelerator
        last = min(settings.steps, stop_after if stop_after is not None else settings.steps)
        if settings.trackers:
            accelerator.init_trackers("sam_hq", config=tracked_settings(settings.plain()))
        self.step_module.train()
        gathered: dict[str, list[float]] = {}
        quality: dict[str, float] = {}
        loader = iter(self._loader(last))
        while self.progress.step < last:
            for key, value in self._update(loader).items():
                gathered.setdefault(key, []).append(value)
            self.progress.step += 1
            step = self.progress.step
            self.say.progress("training", step, settings.steps)
            if step % settings.log_every == 0 or step == last:
                self._log(step, {key: float(np.mean(values)) for key, values in gathered.items()})
                gathered = {}
            if step % settings.validate_every == 0 or step == last:
                self._share_buffers()
                quality = self.validate()
                self._keep(step, quality)
        if settings.trackers:
            accelerator.end_training()
        self.say.skip(gather_object([(name, reason) for reason, names in self.skipped.cases.items() for name in names]))
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
            group["lr"] = settings.learning_rate * group.get("rate_share", 1.0) * settings.rate_factor(step)
        # Dropout, point sampling and the like follow from the step alone, whatever happened before.
        torch.manual_seed((settings.seed * 1_000_003 + step) * 4099 + rank)
        measures: dict[str, list[float]] = {}
        for _ in range(settings.accumulation):
            batch = {name: _moved(value, accelerator.device) for name, value in next(loader).items()}
            self.say.skip(batch.pop("skipped"))
            with accelerator.accumulate(self.step_module):
                with accelerator.autocast():
                    loss, parts = self.step_module(batch)
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"the loss of step {step} is {loss.item()}; lower learning_rate")
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    parts["gradient_norm"] = self._clipped_norm(step)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
            for key, value in {**parts, "loss": loss.item()}.items():
                measures.setdefault(key, []).append(value)
        if self.mean is not None:
            self.mean.update(self.unwrapped_step())
        return {key: float(np.mean(values)) for key, values in measures.items()}

    def _clipped_norm(self, step: int) -> float:
        norm = float(self.accelerator.clip_grad_norm_(self.step_module.parameters(), self.settings.clip_norm))
        # In float16 such updates are skipped, and the loss is scaled down.
        if not math.isfinite(norm) and self.settings.precision != "fp16":
            raise FloatingPointError(f"the gradient of step {step} is {norm}; lower learning_rate")
        return norm

    def _log(self, step: int, measures: dict[str, float]) -> None:
        self.accelerator.log(measures, step=step)
        if self.accelerator.is_main_process:
            self.folder.log(step, measures)
        named = " ".join(f"{key} {value:.3f}" for key, value in measures.items())
        self.say.line(f"step {step}/{self.settings.steps}: {named}")

    def _share_buffers(self) -> None:
        """Give all processes what the main one will save: batch norms' statistics are of each one's own batches."""
        own = self.unwrapped_step()
        parameters = {name for name, _ in own.named_parameters()}
        states = [own.state_dict()] if self.mean is None else [own.state_dict(), self.mean.mean]
        for state in states:
            for name in sorted(state.keys() - parameters):
                state[name].copy_(broadcast(state[name].clone()))

    def validate(self) -> dict[str, float]:
        """Score what would be saved, prompted with boxes; all processes take part.

        Returns:
            `miou` and `mbiou` of what is trained, and with the HQ parts `sam_miou` and `sam_mbiou` of SAM's mask alone;
            empty without validation data.
        """
        if self.validation is None:
            return {}
        accelerator = self.accelerator
        branches = {"sam": ""} if self.settings.trainable == "sam" else {"sum": "", "sam": "sam_"}
        with self._saved_weights() as model:
            quality = validation_quality(
                model.eval(),
                self.processor,
                self.validation,
                branches,
                accelerator.process_index,
                accelerator.num_processes,
                lambda done, count: self.say.progress("validation", done, count),
            )
        self.step_module.train()
        self.say.skip(self.validation.report.take_new())
        return quality

    @property
    def left_out(self) -> BadDataReport:
        """The former name of `skipped`, kept for one release."""
        warnings.warn("left_out is now called skipped; the old name will be removed", FutureWarning, stacklevel=2)
        return self.skipped

    def _saved_weights(self) -> SwappedWeights:
        return SwappedWeights(self.unwrapped_step(), None if self.mean is None else self.mean.mean)

    def _keep(self, step: int, quality: dict[str, float]) -> None:
        """Save the last checkpoint, the best one, and then the state; drop states that are too old."""
        accelerator = self.accelerator
        if quality:
            self._log(step, {f"validation_{key}": value for key, value in quality.items()})
        accelerator.wait_for_everyone()
        improved = bool(quality) and quality["miou"] + quality["mbiou"] > self.progress.best
        if improved:
            self.progress.best = quality["miou"] + quality["mbiou"]
        if accelerator.is_main_process:
            about = {"step": step, **quality, "settings": self.settings.plain()}
            with self._saved_weights() as model:
                # Without a validation the last is the best that is known.
                for name in ("last", "best") if improved or not quality else ("last",):
                    self.folder.save_checkpoint(name, model, self.processor, about)
        accelerator.save_state(str(self.folder.new_state(step)), safe_serialization=False)
        accelerator.wait_for_everyone()  # before others' random states are all there, it is not whole
        if accelerator.is_main_process:
            self.folder.finish_state(step, self.resume_settings, self.settings.keep_checkpoints)
        accelerator.wait_for_everyone()


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
