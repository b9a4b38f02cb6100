"""Model cards: a template filled with facts about a model, every number with its source."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCardData

from ..configuration_sam_hq import SamHQConfig, SamHQEfficientNetConfig, SamHQTinyVitConfig, SamHQVisionConfig
from ..modeling_sam_hq import SamHQModel

_THIS_DIRECTORY = "path/to/this/directory"  # where no repository is named
_TEMPLATE = Path(__file__).with_name("model_card_template.md")

_SOURCE = "as published by the authors (arXiv 2306.01567 and the README of their repository)"
_FOUR_SETS = f"Mean of DIS, COIFT, HRSOD and ThinObject, box prompts from the ground truth, {_SOURCE}:"
_COCO = f"COCO with boxes of FocalNet-DINO, {_SOURCE}:"
_TRAINED_FACTS = ("title", "summary", "made", "data", "results", "limits")
_CODE_IS_HERE = (
    "This directory carries its code: transformers 5.21 or newer, torch and Pillow are enough. Read the code first: "
    "`trust_remote_code=True` runs it. With the package `sam-hq` installed and imported, that package's code is used."
)
_CODE_IS_IN_PACKAGE = "The package `sam-hq` gives the results of the SAM-HQ authors."
_PACKAGE_REGISTERS = "Importing `sam_hq` registers its own classes with the Auto classes."
_BUILTIN_IS_FAULTY = (
    "The class `SamHQModel` that is built into transformers reads this directory too, but its mask decoder is faulty "
    "(4.57.6 and 5.0 to 5.24) and gives other masks."
)
_SCORES_OF_SAM = (
    "The predicted score estimates the overlap of SAM's mask with the object; it does not know of the refinement by "
    "the HQ output."
)
_SCORES_OF_SUM = "The predicted score estimates the overlap of the sum of SAM's and the HQ mask with the object."
_KINDS = {SamHQVisionConfig: "ViT", SamHQTinyVitConfig: "TinyViT", SamHQEfficientNetConfig: "EfficientNet-Lite"}
_BUILTIN_WITHOUT_ENCODER = "The class `SamHQModel` that is built into transformers has no {kind} and refuses it."


@dataclass(frozen=True)
class PublishedModel:
    """Facts about one of the authors' checkpoints.

    Args:
        title: Of the card.
        repository: The Hub repository or directory that the snippets name.
        checkpoint: The authors' file.
        four_sets: mIoU and mBIoU of SAM and of HQ-SAM, None where not published.
        coco_ap: COCO AP of SAM (or MobileSAM) and of HQ-SAM.
    """

    title: str
    repository: str
    checkpoint: str
    four_sets: tuple[str, str] | None
    coco_ap: tuple[str, str]


PUBLISHED_MODELS = {
    "vit_b": PublishedModel(
        "SAM-HQ, ViT-B",
        "syscv-community/sam-hq-vit-base",
        "sam_hq_vit_b.pth",
        ("70.6 / 62.3", "86.3 / 78.1"),
        ("44.4", "46.7"),
    ),
    "vit_l": PublishedModel(
        "SAM-HQ, ViT-L",
        "syscv-community/sam-hq-vit-large",
        "sam_hq_vit_l.pth",
        ("79.5 / 71.1", "89.1 / 81.8"),
        ("48.5", "49.5"),
    ),
    "vit_h": PublishedModel(
        "SAM-HQ, ViT-H",
        "syscv-community/sam-hq-vit-huge",
        "sam_hq_vit_h.pth",
        ("75.6 / 68.3", "89.3 / 81.5"),
        ("48.9", "49.9"),
    ),
    "vit_tiny": PublishedModel(
        "Light HQ-SAM, TinyViT", "path/to/sam-hq-vit-tiny", "sam_hq_vit_tiny.pth", None, ("44.3", "45.0")
    ),
}


def model_card(
    variant: str,
    config: SamHQConfig,
    checkpoint: str,
    plain_sam: bool = False,
    repository: str | None = None,
    with_code: bool = False,
) -> str:
    """Return the text of a converted checkpoint's model card, front matter included.

    Args:
        variant: A key of `PUBLISHED_MODELS`, or another word for a model of no published size.
        config: The model's configuration.
        checkpoint: The name of the file it was converted from.
        plain_sam: The file was plain SAM's, so the HQ parts are untrained.
        repository: The Hub repository that the snippets name, instead of the published one.
        with_code: The directory carries its code, so the snippets do without this package.
    """
    published = PUBLISHED_MODELS.get(variant)
    untrained = " (HQ parts untrained)" if plain_sam else ""
    return _filled(
        config,
        with_code,
        title=(published.title if published else "SAM-HQ") + untrained,
        summary=_summary(plain_sam),
        checkpoint=f"`{checkpoint}`",
        repository=repository or (published.repository if published else _THIS_DIRECTORY),
        origin=_origin(checkpoint, plain_sam),
        results_title="Published results",
        results=_results(published, plain_sam),
    )


def saved_model_card(config: SamHQConfig, source: str, repository: str | None = None, with_code: bool = False) -> str:
    """Return the text of a card for a model that was trained or tuned elsewhere, of which nothing more is known.

    Args:
        config: The model's configuration.
        source: The name of the directory it was saved in.
        repository: The Hub repository that the snippets name.
        with_code: The directory carries its code, so the snippets do without this package.
    """
    return _filled(
        config,
        with_code,
        title=f"SAM-HQ, {source}",
        summary=_summary(plain_sam=False),
        checkpoint=f"`{source}`",
        repository=repository or _THIS_DIRECTORY,
        origin=f"Saved from the directory `{source}`. Say here what it was trained on, and how.",
        results_title="Results",
        results="None are stated. `sam-hq evaluate` measures them.",
    )


def trained_model_card(
    config: SamHQConfig, facts: Mapping[str, Any], repository: str | None = None, with_code: bool = False
) -> str:
    """Return the text of the card of a model that was trained with this package.

    Args:
        config: The model's configuration.
        facts: Title, summary, made (paragraphs), data (rows of name, use, images, licence), limits
            (paragraphs), and results: each with dataset, prompts, command, scores (mIoU and mBIoU by the name of what
            was scored) and model, the name among these that stands for the model in the card's metadata.
        repository: The Hub repository or directory that the snippets name; the embedded checkpoint if None.
        with_code: The directory carries its code, so the snippets do without this package.

    Raises:
        ValueError: If a fact is missing.
    """
    missing = [name for name in _TRAINED_FACTS if name not in facts]
    if missing:
        raise ValueError(f"the facts of the model card lack {', '.join(missing)}")
    text = _filled(
        config,
        with_code,
        title=facts["title"],
        summary=facts["summary"],
        checkpoint="nothing: trained with this package",
        repository=repository or (_THIS_DIRECTORY if with_code else None),
        origin="\n\n".join([*facts["made"], _data_table(facts["data"])]),
        results_title="Results",
        results="\n\n".join(_measured(result) for result in facts["results"]),
        limits="\n\n".join(facts["limits"]) + "\n\n",
        scores=_SCORES_OF_SUM,
    )
    return text.replace("\n---\n", f"\n{_model_index(facts)}---\n", 1)


def parameter_count(config: SamHQConfig) -> int:
    """Return the number of trainable parameters of a model.

    Args:
        config: The model's configuration.
    """
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in SamHQModel(config).parameters())


def _filled(
    config: SamHQConfig,
    with_code: bool,
    repository: str | None,
    limits: str = "",
    scores: str = _SCORES_OF_SAM,
    **parts: str,
) -> str:
    kind = _KINDS[type(config.vision_config)]
    builtin_note = _BUILTIN_IS_FAULTY if kind == "ViT" else _BUILTIN_WITHOUT_ENCODER.format(kind=kind)
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        encoder=_encoder(config),
        parameters=f"{parameter_count(config) / 1e6:.1f} M",
        image_size=config.vision_config.image_size,
        code_note=_CODE_IS_HERE if with_code else f"{_CODE_IS_IN_PACKAGE} {builtin_note} {_PACKAGE_REGISTERS}",
        tags="\n- custom_code" if with_code else "",
        imports="" if with_code else "\nimport sam_hq\n",
        trust=", trust_remote_code=True" if with_code else "",
        model="sam_hq.EMBEDDED_CHECKPOINT" if repository is None else f'"{repository}"',
        limits=limits,
        scores=scores,
        **parts,
    )


def _data_table(rows: list[Mapping[str, Any]]) -> str:
    lines = [f"| {row['name']} | {row['use']} | {row['images']} | {row['licence']} |" for row in rows]
    return "\n".join(["| data | used as | images | licence |", "|---|---|---|---|", *lines])


def _measured(result: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {iou:.3f} | {boundary_iou:.3f} |" for name, (iou, boundary_iou) in result["scores"].items()]
    table = "\n".join(["| | mIoU | mBIoU |", "|---|---|---|", *rows])
    return f"{result['dataset']}; prompts: {result['prompts']}. Measured by `{result['command']}`:\n\n{table}"


def _model_index(facts: Mapping[str, Any]) -> str:
    """The measured numbers as the Hub reads them, in YAML."""
    results = []
    for result in facts["results"]:
        values = zip(("mIoU", "mBIoU"), result["scores"][result["model"]], strict=True)
        results += [
            EvalResult(
                task_type="mask-generation",
                dataset_type="custom",
                dataset_name=f"{result['dataset']}; prompts: {result['prompts']}",
                dataset_config=f"{result['dataset']}; {result['prompts']}",  # results of one configuration are merged
                metric_type=name.lower(),
                metric_name=name,
                metric_value=value,
            )
            for name, value in values
        ]
    if not results:
        return ""
    return ModelCardData(model_name=facts["title"], eval_results=results, ignore_metadata_errors=False).to_yaml() + "\n"


def _summary(plain_sam: bool) -> str:
    if plain_sam:
        return (
            "**The masks of this model are noise until its HQ parts are trained.** It holds the weights of plain SAM "
            "in a SAM-HQ model; the HQ output token and the fusion of early and final features are randomly "
            "initialised, as the start of a training."
        )
    return (
        "Segment Anything in High Quality: SAM with a learned HQ output token and a fusion of early and final encoder "
        "features, for masks with accurate borders and thin parts. It takes the same prompts as SAM."
    )


def _encoder(config: SamHQConfig) -> str:
    vision = config.vision_config
    kind = _KINDS[type(vision)]
    if kind != "ViT":
        blocks = vision.depths if kind == "TinyViT" else vision.num_hidden_layers
        widths, depths = ("-".join(map(str, values)) for values in (vision.hidden_sizes, blocks))
        return f"{kind}, widths {widths}, depths {depths}"
    return f"ViT, width {vision.hidden_size}, {vision.num_hidden_layers} layers, {vision.num_attention_heads} heads"


def _origin(checkpoint: str, plain_sam: bool) -> str:
    if plain_sam:
        return f"Converted from `{checkpoint}`, a checkpoint of plain SAM, by `sam-hq convert`."
    return (
        f"Converted from the SAM-HQ authors' format (`{checkpoint}`) by `sam-hq convert`, weight by weight and without "
        "change. The authors train the HQ parts on HQSeg-44K with SAM frozen (arXiv 2306.01567)."
    )


def _results(published: PublishedModel | None, plain_sam: bool) -> str:
    if published is None or plain_sam:
        return "None: this is not one of the authors' trained SAM-HQ checkpoints."
    baseline = "MobileSAM" if published.four_sets is None else "SAM"
    parts = [
        f"Of the authors' checkpoint `{published.checkpoint}`; not measured again here, and not true of other weights."
    ]
    if published.four_sets:
        before, after = published.four_sets
        parts.append(f"{_FOUR_SETS}\n\n| | mIoU / mBIoU |\n|---|---|\n| SAM | {before} |\n| SAM-HQ | {after} |")
    before, after = published.coco_ap
    parts.append(f"{_COCO}\n\n| | AP |\n|---|---|\n| {baseline} | {before} |\n| SAM-HQ | {after} |")
    return "\n\n".join(parts)
