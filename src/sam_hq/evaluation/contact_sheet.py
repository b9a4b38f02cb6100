"""A contact sheet of an evaluation's best and worst cases."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sam_hq_numpy.atomic_writing import new_file
from sam_hq_numpy.number_limits import check_whole

from .evaluation_report import EvaluationReport, ObjectScore
from .scoring import PromptedModel, answers

TILE, HEADER, TEXT, DPI = 320, 36, 14, 150  # pixels, and the resolution that the file states
HIT_COLOR, MISSED_COLOR, EXTRA_COLOR = (40, 200, 80), (60, 120, 255), (255, 60, 60)
KEY = ((HIT_COLOR, "right"), (MISSED_COLOR, "missed"), (EXTRA_COLOR, "too much"))


def write_contact_sheet(
    path: str | Path,
    predictor: PromptedModel,
    dataset: Any,
    report: EvaluationReport,
    prompt: str,
    count: int = 8,
    branch: str = "sum",
) -> None:
    """Draw the worst and the best objects, each with its file, IoU and boundary IoU, below a key of the colours.

    Args:
        path: The PNG file.
        predictor: The model that was evaluated; its masks are made again.
        dataset: The data that it was evaluated on.
        report: The scores.
        prompt: Which prompt's scores and masks.
        count: Objects of each kind.
        branch: Which branch's.

    Raises:
        ValueError: The report has no score of that prompt and branch, or nothing is to be drawn.
    """
    check_whole("count", count, at_least=1)
    ranked = sorted(
        (score for score in report.scores if (score.prompt, score.branch) == (prompt, branch)),
        key=lambda score: score.iou,
    )
    if not ranked:
        raise ValueError(f"the report has no scores for {prompt!r} and {branch!r}")
    shown = ranked[:count] + ranked[count:][-count:]
    tiles = [_tile(predictor, dataset, report, score) for score in shown]
    columns = max(2, min(count, len(tiles)))  # two hold the key
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * TILE, HEADER + rows * TILE), "white")
    _draw_key(sheet, f"prompt {prompt}, masks of {branch}, worst first")
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * TILE, HEADER + place // columns * TILE))
    with new_file(path) as aside:
        sheet.save(aside, dpi=(DPI, DPI))


def _draw_key(sheet: Image.Image, title: str) -> None:
    """Write above the tiles what the colours mean."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    left, top = 8, (HEADER - TEXT) // 2
    for color, meaning in KEY:
        draw.rectangle((left, top, left + TEXT, top + TEXT), fill=color)
        draw.text((left + TEXT + 6, top - 1), meaning, fill="black", font=font)
        left += TEXT + 24 + round(draw.textlength(meaning, font=font))
    draw.text((left + 8, top - 1), title, fill="black", font=font)


def _tile(predictor: PromptedModel, dataset: Any, report: EvaluationReport, score: ObjectScore) -> Image.Image:
    image, truths = dataset[score.number]
    predictor.embed(image)
    rng = np.random.default_rng((report.settings.get("seed", 0), score.number))
    masks, _ = answers(predictor, truths, score.prompt, rng)
    mask, truth = masks[score.branch][score.index], truths[score.index]
    pixels = image.astype(np.float32)
    for region, color in ((mask & truth, HIT_COLOR), (truth & ~mask, MISSED_COLOR), (mask & ~truth, EXTRA_COLOR)):
        pixels[region] = 0.45 * pixels[region] + 0.55 * np.array(color)
    picture = Image.fromarray(pixels.astype(np.uint8))
    picture.thumbnail((TILE - 8, TILE - 2 * TEXT - 16))
    tile = Image.new("RGB", (TILE, TILE), "white")
    tile.paste(picture, (4, 2 * TEXT + 10))
    numbers = f"IoU {score.iou:.2f}, boundary IoU {score.boundary_iou:.2f}"
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(TEXT)
    for line, text in enumerate((Path(score.image).name, numbers)):
        draw.text((4, 2 + line * (TEXT + 3)), text, fill="black", font=font)
    return tile
