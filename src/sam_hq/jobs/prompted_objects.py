"""The objects of one image, from the boxes and points that show them."""

from collections.abc import Sequence

from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.prompt_files.prompts import ObjectPrompt

from ..images.mask_ops import encode_masks
from ..photo_embeddings import PhotoEmbeddings
from ..predictor import SamHQPredictor

# Pixels of masks at the photo's size held at once.
_MASK_PIXELS = 128 * 1024 * 1024


def usable_prompts(
    prompts: Sequence[ObjectPrompt], size: tuple[int, int]
) -> tuple[list[ObjectPrompt], list[tuple[str, str]]]:
    """Tell the prompts that fit an image from those that cannot be meant.

    Args:
        prompts: Of the image.
        size: Height and width of the image.

    Returns:
        The prompts that can be used, in pixels, and (name, reason) of the others.
    """
    usable, bad = [], []
    for each in prompts:
        prompt = each.in_pixels(size)
        fault = prompt.fault(size)
        if fault is None:
            usable.append(prompt)
        else:
            bad.append((each.name, fault))
    return usable, bad


def segment_objects(
    predictor: SamHQPredictor,
    embeddings: PhotoEmbeddings,
    prompts: Sequence[ObjectPrompt],
    objects_per_batch: int = 64,
    multimask_output: bool = False,
    hq_token_only: bool = False,
) -> tuple[list[RunLengthMask], list[float]]:
    """Segment the objects that prompts show in one image.

    Args:
        predictor: Segments them.
        embeddings: Of the image.
        prompts: Usable ones, in pixels.
        objects_per_batch: How many objects pass the decoder together.
        multimask_output: Whether the best of three candidates is taken rather than the mask for clear prompts.
        hq_token_only: Whether masks are the HQ token's alone.

    Returns:
        The masks at the size of the image, and the predicted IoU of each, in the order of the prompts.
    """
    height, width = embeddings.original_size
    group = max(1, min(objects_per_batch, _MASK_PIXELS // (height * width)))
    masks: dict[int, RunLengthMask] = {}
    scores: dict[int, float] = {}
    for alike in _shown_alike(prompts):
        for start in range(0, len(alike), group):
            chosen = alike[start : start + group]
            shown = [prompts[index] for index in chosen]
            answer = predictor.predict(
                embeddings,
                boxes=None if shown[0].box is None else [list(each.box or ()) for each in shown],
                points=[[list(point) for point in each.points] for each in shown] if shown[0].points else None,
                labels=[list(each.labels) for each in shown] if shown[0].points else None,
                multimask_output=multimask_output,
                hq_token_only=hq_token_only,
            )
            masks.update(zip(chosen, encode_masks(answer.masks[:, 0]), strict=True))
            scores.update(zip(chosen, answer.scores[:, 0].tolist(), strict=True))
    return [masks[index] for index in range(len(prompts))], [scores[index] for index in range(len(prompts))]


def _shown_alike(prompts: Sequence[ObjectPrompt]) -> list[list[int]]:
    """Positions of the objects with a box alone, with points alone, and with both."""
    groups: dict[tuple[bool, bool], list[int]] = {}
    for index, each in enumerate(prompts):
        groups.setdefault((each.box is not None, bool(each.points)), []).append(index)
    return list(groups.values())
