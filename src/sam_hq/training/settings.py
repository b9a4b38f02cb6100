"""The settings of a training run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sam_hq_numpy.number_limits import check_choice, check_flag, check_number, check_whole

from .augmentation import Augmentation
from .parts import FROZEN_ENCODER, TRAINABLE
from .prompts import PROMPT_SHARES

PRECISIONS = ("no", "bf16", "fp16")
LEAST_WHOLE = {
    0: ("warmup", "workers", "seed"),
    1: (
        "steps",
        "batch_size",
        "objects",
        "accumulation",
        "lora_rank",
        "validate_every",
        "log_every",
        "keep_checkpoints",
    ),
    2: ("num_points",),  # some around the object, some where the mask is uncertain
}


@dataclass
class TrainingSettings:
    """How a model is trained.

    Args:
        trainable: `hq`, `decoder`, `sam`, `all` or `lora`, see `select_parameters`.
        steps: Updates of the weights.
        batch_size: Images per process and forward pass.
        objects: Objects per image.
        accumulation: Forward passes per update.
        learning_rate: Peak of the learning rate.
        encoder_learning_rate: The same for the vision encoder's stages, which a pretrained encoder wants lower; None
            for `learning_rate`.
        warmup: Updates until the peak.
        decay_share: Share of the steps, at the end, in which the rate falls linearly to 0.
        weight_decay: Of matrices and kernels.
        clip_norm: Largest norm of the gradient.
        ema_decay: Decay of the running mean of the weights that is validated and saved; 0 takes the weights themselves.
        num_points: Points per mask in the loss.
        prompt_shares: Share of every kind of prompt; None is the default mixture.
        smallest_crop: Shortest crop as a share of the image; 1 takes no crops.
        damage_share: Share of the images that are blurred, made noisy or compressed as JPEG.
        scale_jitter: Instead of crops, the smallest and the largest longer side of an image as shares of the model's
            input, such as (0.1, 2.0) of the paper.
        whole_images: Whether images are taken as they are: neither cropped nor scaled, mirrored or changed in colour.
        embedding_cache: Folder in which a frozen encoder's embeddings are kept, so that it sees every image once;
            means `whole_images`.
        precision: `no` (float32), `bf16` or `fp16`.
        gradient_checkpointing: Whether activations are computed again instead of kept. The batch norms of a TinyViT
            or EfficientNet that trains in full then update their statistics twice per pass; losses and gradients stay
            the same.
        lora_rank: Rank of the updates with `trainable="lora"`.
        validate_every: Updates between validations, which are also the checkpoints' interval.
        log_every: Updates between lines of the log.
        keep_checkpoints: States that are kept to resume from.
        workers: Processes that prepare batches.
        trackers: Names of accelerate's trackers, such as `tensorboard`.
        seed: Seed of everything random.

    Raises:
        TypeError: A value of the wrong type.
        ValueError: A value that makes no sense.
    """

    trainable: str = "hq"
    steps: int = 1000
    batch_size: int = 4
    objects: int = 4
    accumulation: int = 1
    learning_rate: float = 1e-3
    encoder_learning_rate: float | None = None
    warmup: int = 50
    decay_share: float = 0.3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.0
    num_points: int = 112 * 112
    prompt_shares: dict[str, float] | None = None
    smallest_crop: float = 0.55
    damage_share: float = 0.0
    scale_jitter: tuple[float, float] | None = None
    whole_images: bool = False
    embedding_cache: str | Path | None = None
    precision: str = "no"
    gradient_checkpointing: bool = False
    lora_rank: int = 8
    validate_every: int = 250
    log_every: int = 10
    keep_checkpoints: int = 2
    workers: int = 0
    trackers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("trainable", TRAINABLE), ("precision", PRECISIONS)):
            check_choice(name, getattr(self, name), known)
        for least, names in LEAST_WHOLE.items():
            for name in names:
                check_whole(name, getattr(self, name), at_least=least)
        for name in ("learning_rate", "encoder_learning_rate", "clip_norm"):
            check_number(name, getattr(self, name), above=0, optional=name == "encoder_learning_rate")
        check_number("weight_decay", self.weight_decay, at_least=0)
        for name in ("decay_share", "ema_decay", "damage_share"):
            check_number(name, getattr(self, name), at_least=0, at_most=1)
        check_number("smallest_crop", self.smallest_crop, above=0, at_most=1)
        for name in ("whole_images", "gradient_checkpointing"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.trackers, list | tuple):
            raise TypeError(f"trackers must be a list of names, got {self.trackers!r}")
        self._check_prompts()
        self._check_augmentation()

    def _check_prompts(self) -> None:
        shares = self.prompt_shares
        if shares is None:
            return
        if not isinstance(shares, dict):
            raise TypeError(f"prompt_shares must be a dictionary of kinds and shares, got {shares!r}")
        if unknown := sorted(set(shares) - set(PROMPT_SHARES)):
            raise ValueError(f"prompt_shares names {unknown}; there are {list(PROMPT_SHARES)}")
        for kind, share in shares.items():
            check_number(f"prompt_shares[{kind!r}]", share)
        if not abs(sum(shares.values()) - 1) <= 1e-6 or min(shares.values()) < 0:
            raise ValueError(f"prompt_shares must not be negative and add up to 1, got {shares}")

    def _check_augmentation(self) -> None:
        if self.embedding_cache is not None:
            if not isinstance(self.embedding_cache, str | Path) or not str(self.embedding_cache):
                raise TypeError(f"embedding_cache must be the path of a folder, got {self.embedding_cache!r}")
            if self.trainable not in FROZEN_ENCODER:
                raise ValueError(f"embedding_cache needs a frozen encoder, but trainable is {self.trainable!r}")
            self.whole_images = True
        for name in ("damage_share", "scale_jitter"):
            if getattr(self, name) and self.whole_images:
                option = "embedding_cache" if self.embedding_cache is not None else "whole_images"
                raise ValueError(f"{option} takes images as they are, so {name} cannot be had with it")
        if self.scale_jitter is not None:
            pair = list(self.scale_jitter) if isinstance(self.scale_jitter, list | tuple) else []
            if len(pair) != 2:
                raise ValueError(f"scale_jitter must be two shares, got {self.scale_jitter!r}")
            for share in pair:
                check_number("scale_jitter", share)
            low, high = pair
            if not 0 < low <= high:
                raise ValueError(f"scale_jitter must be two shares, the smaller first, got {self.scale_jitter}")

    @property
    def encoder_rate(self) -> float:
        """The encoder's learning rate as a share of the others'."""
        return 1.0 if self.encoder_learning_rate is None else self.encoder_learning_rate / self.learning_rate

    @property
    def augmentation(self) -> Augmentation:
        """How training images are changed."""
        return Augmentation(self.smallest_crop, self.scale_jitter, self.whole_images, self.damage_share)

    def plain(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        # Paths and numbers of numpy are no JSON, and a run would fail when it first saves.
        plain = json.dumps(asdict(self), default=lambda value: str(value) if isinstance(value, Path) else value.item())
        return json.loads(plain)

    def rate_factor(self, step: int) -> float:
        """The learning rate of an update as a share of the peak: a ramp, a plateau, a linear fall."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        left = self.steps - step
        falling = max(1, round(self.decay_share * self.steps))
        return min(1.0, max(0.0, left / falling))
