"""What a resumed run compares with the run it continues: settings, data, and the weights at the start."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from sam_hq_numpy.json_files import read_json_object

from ..photo_embeddings import sampled_digest
from .parts import FROZEN_ENCODER
from .run_folder import SETTINGS_FILE
from .settings import TrainingSettings

MODEL = "model"  # names the weights that a run began with


def resume_settings(settings: TrainingSettings, images: Any, validation: Any, model: Any) -> dict[str, Any]:
    """The settings and data of a run, as they are saved with its states.

    Args:
        settings: The run's settings.
        images: Training images.
        validation: Validation images, or None.
        model: The model that training starts with.
    """
    return {
        **settings.plain(),
        "training_images": _described(images),
        "validation_images": None if validation is None else _described(validation),
        MODEL: sampled_digest(model.state_dict())[:16],
    }


def settings_of(state: Path) -> dict[str, Any]:
    """The settings and data that a state was saved with; empty where it does not say.

    Args:
        state: Its folder.

    Raises:
        ValueError: The file is damaged.
    """
    path = state / SETTINGS_FILE
    return read_json_object(path) if path.exists() else {}


def changed_settings(state: Path, now: dict[str, Any]) -> list[str]:
    """What is set otherwise than in the run that a state is of, each with its value before and now.

    Args:
        state: Its folder.
        now: The settings and data of the run that resumes.

    Raises:
        ValueError: If one has changed that the state's weights depend on.
    """
    before = settings_of(state)
    if not before:
        return []
    idle = _idle_settings(now["trainable"])
    switches = ("ema_decay", "encoder_learning_rate")  # whether there is one decides, not its value
    for name in ("trainable", "lora_rank", *switches):
        was, wanted = before.get(name, now[name]), now[name]
        changed = was != wanted
        if name in switches:
            changed = _switched_on(name, {**now, **before}) != _switched_on(name, now)
        if changed and name not in idle:
            raise ValueError(
                f"cannot resume from {str(state)!r}: its {name} is {was}, but {wanted} is asked for; name a new "
                "output folder"
            )
    return [
        f"{name} {before.get(name)} -> {value}"
        for name, value in now.items()
        if before.get(name) != value and name != MODEL and name not in idle
    ]


def _switched_on(name: str, settings: dict[str, Any]) -> bool:
    """Whether there is a mean of the weights, or an encoder that trains at a rate of its own."""
    of_all = name == "encoder_learning_rate" and settings[name] == settings["learning_rate"]
    return bool(settings[name]) and not of_all


def _idle_settings(trainable: str) -> set[str]:
    """The settings that act on nothing that is trained."""
    return {
        *(["lora_rank"] if trainable != "lora" else []),
        *(["encoder_learning_rate"] if trainable in FROZEN_ENCODER else []),
    }


def _described(images: Any) -> str:
    """How many images there are, and what follows from their names and order."""
    names = [images.name(index) for index in range(len(images))] if hasattr(images, "name") else []
    return f"{len(images)} ({sha256(repr(names).encode()).hexdigest()[:8]})"
