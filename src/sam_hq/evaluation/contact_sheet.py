"""A contact sheet of an evaluation's best and worst cases."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sam_hq_numpy.atomic_writing import new_file

from .scoring import EvaluationReport, ObjectScore, PromptedModel, answers

TILE = 240
TRUTH_COLOR, MASK_COLOR, ERROR_COLOR = (40, 200, 80), (60, 120, 255), (255, 60, 60)


def write_contact_sheet(
    path: str | Path,
    predictor: PromptedModel,
    dataset: Any,
    report: EvaluationReport,
    prompt: str,
    count: int = 8,
    branch: str = "sum",
) -> None:
    """Draw the worst and the best objects: right pixels green, missed blue, wrong red.

    Args:
        path: The PNG file.
        predictor: The model that was evaluated; its masks are made again.
        dataset: The data that it was evaluated on.
        report: The scores.
        prompt: Which prompt's scores and masks.
        count: Objects of each kind.
        branch: Which branch's.

    Raises:
        ValueError: The report has no score of that prompt and branch.
    """
    ranked = sorted(
        (score for score in report.scores if (score.prompt, score.branch) == (prompt, branch)),
        key=lambda score: score.iou,
    )
    if not ranked:
        raise ValueError(f"the report has no scores for {prompt!r} and {branch!r}")
    shown = ranked[:count] + ranked[count:][-count:]
    numbers = {dataset.name(number): number for number in range(len(dataset))}
    tiles = [_tile(predictor, dataset, report, numbers[score.image], score) for score in shown]
    rows = -(-len(tiles) // count)
    sheet = Image.new("RGB", (count * TILE, rows * TILE), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % count * TILE, place // count * TILE))
    with new_file(path) as aside:
        sheet.save(aside)


def _tile(
    predictor: PromptedModel, dataset: Any, report: EvaluationReport, number: int, score: ObjectScore
) -> Image.Image:
    image, truths = dataset[number]
    predictor.embed(image)
    masks, _ = answers(predictor, truths, score.prompt, np.random.default_rng((report.settings.get("seed", 0), number)))
    mask, truth = masks[score.branch][score.index], truths[score.index]
    pixels = image.astype(np.float32)
    for region, color in ((mask & truth, TRUTH_COLOR), (truth & ~mask, MASK_COLOR), (mask & ~truth, ERROR_COLOR)):
        pixels[region] = 0.45 * pixels[region] + 0.55 * np.array(color)
    picture = Image.fromarray(pixels.astype(np.uint8))
    picture.thumbnail((TILE - 4, TILE - 20))
    tile = Image.new("RGB", (TILE, TILE), "white")
    tile.paste(picture, (2, 16))
    ImageDraw.Draw(tile).text((4, 2), f"{score.image} {score.iou:.2f} / {score.boundary_iou:.2f}", fill="black")
    return tile
