"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from .parts import TRAINABLE

PRECISIONS = ("no", "bf16", "fp16")


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
        warmup: Updates until the peak.
        decay_share: Share of the steps, at the end, in which the rate falls linearly to 0.
        weight_decay: Of matrices and kernels.
        clip_norm: Largest norm of the gradient.
        ema_decay: Decay of the running mean of the weights that is validated and saved; 0 takes the weights themselves.
        num_points: Points per mask in the loss.
        prompt_shares: Share of every kind of prompt; None is the default mixture.
        smallest_crop: Shortest crop as a share of the image; 1 trains on whole images.
        precision: `no` (float32), `bf16` or `fp16`.
        gradient_checkpointing: Whether activations are computed again instead of kept. The batch norms of a TinyViT
            that trains in full then update their statistics twice per pass; losses and gradients stay the same.
        lora_rank: Rank of the updates with `trainable="lora"`.
        validate_every: Updates between validations, which are also the checkpoints' interval.
        log_every: Updates between lines of the log.
        keep_checkpoints: States that are kept to resume from.
        workers: Processes that prepare batches.
        trackers: Names of accelerate's trackers, such as `tensorboard`.
        seed: Seed of everything random.

    Raises:
        ValueError: A value that makes no sense.
    """

    trainable: str = "hq"
    steps: int = 1000
    batch_size: int = 4
    objects: int = 4
    accumulation: int = 1
    learning_rate: float = 1e-3
    warmup: int = 50
    decay_share: float = 0.3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.0
    num_points: int = 112 * 112
    prompt_shares: dict[str, float] | None = None
    smallest_crop: float = 0.55
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
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        for name in ("steps", "batch_size", "objects", "accumulation", "num_points", "validate_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        for name in ("decay_share", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.prompt_shares is not None and abs(sum(self.prompt_shares.values()) - 1) > 1e-6:
            raise ValueError(f"prompt_shares must add up to 1, got {sum(self.prompt_shares.values())}")

    def rate_factor(self, step: int) -> float:
        """The learning rate of an update as a share of the peak: a ramp, a plateau, a linear fall."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        left = self.steps - step
        falling = max(1, round(self.decay_share * self.steps))
        return min(1.0, max(0.0, left / falling))
