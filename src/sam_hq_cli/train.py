"""`sam-hq train`: train a model."""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sam_hq_cli.model_loading import quiet_transformers

DESCRIPTION = """\
Train SAM-HQ on folders of images and masks, label maps, or COCO instances.

The default trains the HQ parts with SAM frozen, as the paper does. A run that was interrupted resumes with the same
command; OUTPUT/best holds the best checkpoint by validation, OUTPUT/last the newest."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `train`."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser("train", help="train a model", description=DESCRIPTION, formatter_class=formatter)
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="DIR_OR_JSON",
        help="image + mask pairs, label maps, or COCO; several are joined",
    )
    parser.add_argument("--images", metavar="DIR", help="images of a COCO file")
    parser.add_argument("--output", required=True, metavar="DIR", help="where states and checkpoints go")
    parser.add_argument(
        "--model",
        metavar="DIR_OR_ID_OR_PTH",
        help="the start point: SAM-HQ, transformers' SAM, or an authors' file of either (default: the embedded model)",
    )
    parser.add_argument("--config", metavar="FILE", help="train from scratch the model that this config.json describes")
    parser.add_argument(
        "--encoder-weights",
        metavar="PTH",
        help="ImageNet weights of EfficientNet-Lite (lite0 to lite2): the encoder, under the start point's decoder",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        help="train a TinyViT or EfficientNet for inputs of another size than the start point's",
    )
    parser.add_argument("--validation", metavar="DIR_OR_JSON", help="image + mask pairs or COCO to validate on")
    parser.add_argument("--validation-images", metavar="DIR", help="images of a COCO file to validate on")
    parser.add_argument("--on-bad", choices=("skip", "raise"), default="skip", help="what to do with unusable data")
    _add_settings(parser)


# Option, type and help; names and defaults are those of `sam_hq.training.settings.TrainingSettings`.
NUMBERS: tuple[tuple[str, type, str], ...] = (
    ("steps", int, "updates of the weights (1000)"),
    ("batch_size", int, "images per process and forward pass (4)"),
    ("objects", int, "objects per image (4)"),
    ("accumulation", int, "forward passes per update (1)"),
    ("learning_rate", float, "peak of the learning rate (0.001)"),
    ("encoder_learning_rate", float, "the same for the encoder's stages (as --learning-rate)"),
    ("warmup", int, "updates until the peak (50)"),
    ("decay_share", float, "share of the steps, at the end, in which the rate falls to 0 (0.3)"),
    ("weight_decay", float, "of matrices and kernels (0.05)"),
    ("clip_norm", float, "largest norm of the gradient (1)"),
    ("ema_decay", float, "decay of the running mean of the weights that is validated and saved; 0: no mean (0)"),
    ("num_points", int, "points per mask in the loss (12544)"),
    ("smallest_crop", float, "shortest crop as a share of the image; 1: no crops (0.55)"),
    ("damage_share", float, "share of the images that are blurred, made noisy or compressed as JPEG (0)"),
    ("lora_rank", int, "rank of the updates with --trainable lora (8)"),
    ("validate_every", int, "updates between validations and checkpoints (250)"),
    ("log_every", int, "updates between lines of the log (10)"),
    ("keep_checkpoints", int, "states that are kept to resume from (2)"),
    ("workers", int, "processes that prepare batches (0)"),
    ("seed", int, "seed of everything random (0)"),
)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Options that become fields of `TrainingSettings` of the same name; those left out keep their defaults there."""
    group = parser.add_argument_group("settings", "defaults in parentheses")
    group.add_argument(
        "--trainable",
        choices=("hq", "decoder", "sam", "all", "lora"),
        help="what is trained: the HQ parts, the whole decoder, SAM's own parts, everything, or low-rank updates (hq)",
    )
    for name, kind, text in NUMBERS:
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    group.add_argument(
        "--scale-jitter",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="instead of crops, smallest and largest longer side of an image as shares of the model's input; the "
        "paper's: 0.1 2.0 (none)",
    )
    group.add_argument(
        "--whole-images", action="store_true", default=None, help="no crops, flips or other colours (off)"
    )
    group.add_argument(
        "--embedding-cache",
        metavar="DIR",
        help="keep a frozen encoder's embeddings here; means --whole-images (none)",
    )
    group.add_argument("--precision", choices=("no", "bf16", "fp16"), help="mixed precision; no: float32 (no)")
    group.add_argument(
        "--gradient-checkpointing",
        action="store_true",
        default=None,
        help="compute activations again instead of keeping them: slower, less memory (off)",
    )
    group.add_argument("--trackers", nargs="+", metavar="NAME", help="of accelerate, such as tensorboard, wandb (none)")
    group.add_argument(
        "--prompt-shares",
        nargs="+",
        metavar="KIND=SHARE",
        help="of box, points, box_points, mask and clicks, adding up to 1 (a mixture of all)",
    )


def run(args: argparse.Namespace) -> int:
    """Train."""
    try:
        return _train(args)
    # An extra that is not installed: the message says how to get it. Numbers that are not: it says what to lower.
    except (ImportError, FloatingPointError) as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        if "DataLoader worker" in str(error):  # a whole traceback, whose last line is the message
            raise ValueError(str(error).strip().splitlines()[-1].partition(": ")[2]) from error
        raise


def _train(args: argparse.Namespace) -> int:
    from sam_hq.training.settings import TrainingSettings
    from sam_hq.training.trainer import Trainer
    from sam_hq_cli.labelled_data import open_images
    from sam_hq_cli.training_display import TrainingDisplay

    if args.model is not None and args.config is not None:
        raise ValueError("give --model (a start point) or --config (from scratch), not both")
    if args.validation_images is not None and args.validation is None:
        raise ValueError(f"--validation-images {args.validation_images!r} needs --validation, the COCO file")
    settings = TrainingSettings(**_given_settings(args))
    images = open_images(args.data, args.images, args.on_bad)
    validation = None
    if args.validation is not None:
        validation = open_images([args.validation], args.validation_images, args.on_bad, "val")
    quiet_transformers()
    model, processor = _start(args, settings.seed)
    if settings.trainable not in ("sam", "all") and (args.config is not None or args.encoder_weights is not None):
        warnings.warn(
            f"--trainable {settings.trainable} leaves the new encoder as it is, and the decoder cannot read that one "
            "yet; train with --trainable sam or all first",
            stacklevel=2,
        )
    display = TrainingDisplay()
    trainer = Trainer(
        model, processor, images, args.output, settings, validation, report=display.line, progress=display.progress
    )
    first = trainer.accelerator.is_main_process
    step = trainer.resume()
    if step and first:
        display.line(f"resumes from step {step}" if step < settings.steps else f"all {step} steps were done before")
    try:
        quality = trainer.train()
    finally:
        display.close()
    if first and trainer.skipped.cases:
        print(trainer.skipped)
    if first and quality:
        print("validation, prompted with boxes: " + ", ".join(f"{key} {value:.3f}" for key, value in quality.items()))
    return 0


def _start(args: argparse.Namespace, seed: int) -> tuple[Any, Any]:
    """The model that is trained and its processor, with the encoder and at the size that were asked for."""
    from sam_hq.hub.conversion import processor_for
    from sam_hq.training.encoder_weights import load_encoder_weights, with_encoder
    from sam_hq.training.resizing import resized
    from sam_hq_cli.training_start import load_start

    model, processor = load_start(args.model, seed) if args.config is None else _from_scratch(args.config, seed)
    if args.encoder_weights is not None and args.config is not None:
        load_encoder_weights(model, args.encoder_weights)
    elif args.encoder_weights is not None:
        model = with_encoder(model, args.encoder_weights, args.image_size, seed)
        processor = processor_for(model.config)
    if args.image_size is not None:
        model = resized(model, args.image_size)
        # The colours' mean and deviation, and whatever else is not the size, stay the start point's.
        fitting = processor_for(model.config).image_processor
        for name in ("size", "pad_size", "mask_size"):
            setattr(processor.image_processor, name, getattr(fitting, name))
    return model, processor


def _from_scratch(config_file: str, seed: int) -> tuple[Any, Any]:
    import sam_hq
    from sam_hq.hub.conversion import processor_for
    from sam_hq.training.initialisation import start_from_scratch
    from sam_hq_numpy.json_files import read_json_object

    config = sam_hq.SamHQConfig.from_dict(read_json_object(config_file))
    return start_from_scratch(sam_hq.SamHQModel(config), seed), processor_for(config)


def _given_settings(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import fields

    from sam_hq.training.settings import TrainingSettings

    names = [field.name for field in fields(TrainingSettings)]
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    for name in ("trackers", "scale_jitter"):
        if name in given:
            given[name] = tuple(given[name])
    if "prompt_shares" in given:
        given["prompt_shares"] = _pairs("--prompt-shares", "KIND=SHARE", given["prompt_shares"], float)
    return given


def _pairs(option: str, form: str, texts: Sequence[str], convert: Callable[[str], Any]) -> dict[str, Any]:
    """The pairs that were given as NAME=VALUE."""
    pairs = [text.partition("=") for text in texts]
    if repeated := sorted(name for name, count in Counter(name for name, _, _ in pairs).items() if count > 1):
        raise ValueError(f"{option} takes each kind once, got {list(texts)}: {', '.join(repeated)} more than once")
    try:
        return {name: convert(value) for name, _, value in pairs}
    except ValueError as error:
        raise ValueError(f"{option} takes {form} pairs, got {list(texts)}") from error
