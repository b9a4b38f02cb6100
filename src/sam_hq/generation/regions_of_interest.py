"""Prompted segmentation in large images: only the region around each prompt is looked at, at full resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sam_hq_numpy.crop_grids import Box, touches_crop_edge
from sam_hq_numpy.mask_rle import RunLengthMask, mask_boxes
from sam_hq_numpy.nested_numbers import nesting_depth
from sam_hq_numpy.number_limits import check_number, check_whole
from sam_hq_numpy.prompt_nesting import boxes_per_image, labels_per_object, points_per_object
from sam_hq_numpy.prompt_warnings import prompts_already_checked, warn_about_prompts
from sam_hq_numpy.value_ranges import InputRange

from ..images.large_photos import PhotoRegions, options_of_parts
from ..model.forward_validation import check_flags
from ..modeling_sam_hq import SamHQModel
from ..predictor import SamHQPredictor
from ..processing_sam_hq import SamHQProcessor

# Beyond these a region is the whole image, whatever its size.
_LARGEST_CONTEXT = 1e6
_MOST_GROWTHS = 32


@dataclass(frozen=True, eq=False)
class RegionMask:
    """The mask of one object in a large image.

    Args:
        mask: Of the photo's size, run-length encoded.
        score: Predicted IoU.
        region: x0 y0 x1 y1 of the region it was found in, in pixels of the photo.
    """

    mask: RunLengthMask
    score: float
    region: Box


def segment_regions(
    model: SamHQModel,
    processor: SamHQProcessor,
    image: object,
    *,
    input_boxes: Sequence[Sequence[float]] | None = None,
    input_points: Sequence[Sequence[Sequence[float]]] | None = None,
    input_labels: Sequence[Sequence[int]] | None = None,
    tile_size: int = 1024,
    context: float = 2.0,
    max_growths: int = 2,
    max_pixels: int | None = None,
    input_range: InputRange = None,
    timeout: float | None = None,
    multimask_output: bool = False,
    hq_token_only: bool = False,
) -> list[RegionMask]:
    """Segment objects of an image of any size, each in a square region around its prompts.

    A mask that ends at an edge of its region where the image continues is looked for again in a region twice as
    large, so that memory is bounded by the decoded image and the largest region.

    Args:
        model: The model, or a wrapper around it.
        processor: Its processor.
        image: A path, URL, PIL image, array or tensor.
        input_boxes: One box x0 y0 x1 y1 per object, in pixels of the photo.
        input_points: The points x y of every object, in pixels of the photo.
        input_labels: Their labels, 1 foreground and 0 background; all foreground where they are left out.
        tile_size: Least side of a region, in pixels.
        context: Least side of a region as a multiple of what the prompts span.
        max_growths: How often a region is enlarged at most.
        max_pixels: Larger images are refused before they are decoded; None: the processor's, or Pillow's own
            limit.
        input_range: For images of more than 8 bits, see `sam_hq.images.image_loading.load_rgb`; None: the processor's.
        timeout: Seconds to wait for a URL; None waits as long as it takes.
        multimask_output: Whether the best of three candidates is taken rather than the mask for clear prompts.
        hq_token_only: Whether masks are the HQ token's alone.

    Returns:
        One mask per object; none where `input_boxes` or `input_points` is empty.

    Raises:
        TypeError: Prompts that are not nested numbers, not a SAM-HQ model, or an option of the wrong type.
        ValueError: An impossible option, no prompts, different numbers of boxes, points and labels, or prompts outside
            the image.
    """
    _check_counts(input_boxes, input_points, input_labels)
    check_flags(multimask_output=multimask_output, hq_token_only=hq_token_only)
    check_whole("tile_size", tile_size, at_least=1)
    check_number("context", context, at_least=1, at_most=_LARGEST_CONTEXT)
    check_whole("max_growths", max_growths, at_least=0, at_most=_MOST_GROWTHS)
    boxes, points_of, labels_of = _of_objects(input_boxes, input_points, input_labels)
    predictor = SamHQPredictor(model, processor)
    options = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
    max_pixels = processor.image_processor.max_pixels if max_pixels is None else max_pixels
    input_range = processor.image_processor.input_range if input_range is None else input_range
    photo = PhotoRegions(image, max_pixels, input_range, timeout)
    warn_about_prompts(
        [photo.size],
        None if points_of is None else [points_of],
        None if labels_of is None else [labels_of],
        None if boxes is None else [boxes],
    )
    segmented = []
    for index in range(len(boxes if boxes is not None else points_of or ())):
        box = None if boxes is None else boxes[index]
        points = None if points_of is None else points_of[index]
        span = _span(box, points, photo.size, index)
        if points is not None and not len(points):
            points = None
        labels = None if points is None or labels_of is None else labels_of[index]
        prompts = {"boxes": box, "points": points, "labels": labels}
        side = max(tile_size, int(np.ceil(context * max(span[2] - span[0], span[3] - span[1]))))
        segmented.append(_segment_grown(predictor, photo, span, side, max_growths, prompts, options))
    return segmented


def _segment_grown(
    predictor: SamHQPredictor,
    photo: PhotoRegions,
    span: Sequence[float],
    side: int,
    max_growths: int,
    prompts: dict[str, Any],
    options: dict[str, bool],
) -> RegionMask:
    """The mask of one object in a region of a side around its prompts, twice as large for as long as it is cut."""
    with prompts_already_checked():
        for growth in range(max_growths + 1):
            region = _region(span, side << growth, photo.size)
            found, is_cut = _segment(predictor, photo, region, prompts, options)
            if not is_cut:
                break
    return found


@torch.no_grad()
def _segment(
    predictor: SamHQPredictor, photo: PhotoRegions, region: Box, prompts: dict[str, Any], options: dict[str, bool]
) -> tuple[RegionMask, bool]:
    """The mask of one object in one region, and whether it ends where only the region does."""
    corner = np.array(region[:2], dtype=np.float64)
    within = {**prompts, "points": None, "boxes": None}  # the same prompts in pixels of the region
    if prompts["boxes"] is not None:
        within["boxes"] = prompts["boxes"] - np.tile(corner, 2)
    if prompts["points"] is not None:
        within["points"] = prompts["points"] - corner
    part = photo.region(region)
    embeddings = predictor.embed(part, **options_of_parts([part]))
    outputs = predictor.decode(embeddings, **within, **options)
    pixels = predictor.photo_masks(embeddings, outputs.pred_masks[0, :, 0])[0]
    mask = RunLengthMask.from_mask(pixels.cpu().numpy())
    is_cut = bool(touches_crop_edge(mask_boxes([mask]), region, photo.size)[0])
    in_photo = mask.pasted(region[0], region[1], photo.size)
    return RegionMask(in_photo, outputs.iou_scores[0, 0, 0].item(), region), is_cut


def _check_counts(input_boxes: Sequence | None, input_points: Sequence | None, input_labels: Sequence | None) -> None:
    given = {"input_boxes": input_boxes, "input_points": input_points, "input_labels": input_labels}
    for name, prompts in given.items():
        if prompts is not None and not nesting_depth(prompts):
            raise TypeError(f"{name} must have an entry for each object, got {prompts!r}")
    counts = {name: len(prompts) for name, prompts in given.items() if prompts is not None}
    if "input_boxes" not in counts and "input_points" not in counts:
        raise ValueError("segmenting a region needs input_boxes or input_points to know where it is")
    if "input_labels" in counts and "input_points" not in counts:
        raise ValueError("input_labels belong to input_points, which are missing")
    if len(set(counts.values())) > 1:
        raise ValueError(f"every object needs an entry in each kind of prompt, got {counts}")


def _of_objects(
    input_boxes: Any, input_points: Any, input_labels: Any
) -> tuple[np.ndarray | None, list[np.ndarray] | None, list[np.ndarray] | None]:
    """Boxes (P, 4), and the points (n, 2) and labels (n,) of every object."""
    boxes = None if input_boxes is None else boxes_per_image([input_boxes], 1)[0]
    if input_points is None:
        return boxes, None, None
    if nesting_depth(input_points) == 2 and not all(len(entry) == 0 for entry in input_points):
        input_points = [[point] for point in input_points]  # one point of each object
        if input_labels is not None and nesting_depth(input_labels) == 1:
            input_labels = [[label] for label in input_labels]
    points = points_per_object([input_points], 1)
    return boxes, points[0], labels_per_object(None if input_labels is None else [input_labels], points)[0]


def _span(
    box: np.ndarray | None, points: np.ndarray | None, image_size: tuple[int, int], index: int
) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 around all prompts of one object."""
    corners = [box.reshape(2, 2)] if box is not None else []
    positions = np.concatenate([*corners, *([points] if points is not None else [])])
    if not len(positions):
        raise ValueError(f"object {index} has neither a box nor a point")
    (x0, y0), (x1, y1) = positions.min(0), positions.max(0)
    if not (x0 >= 0 and y0 >= 0 and x1 <= image_size[1] and y1 <= image_size[0]):
        raise ValueError(
            f"the prompts of object {index} span {x0:g} {y0:g} to {x1:g} {y1:g}, outside the image of "
            f"{image_size[1]} x {image_size[0]} pixels"
        )
    return x0, y0, x1, y1


def _region(span: Sequence[float], side: int, image_size: tuple[int, int]) -> Box:
    """The square of a side around a span, moved into the image and cut to it."""
    bounds = []
    for low, high, length in ((span[0], span[2], image_size[1]), (span[1], span[3], image_size[0])):
        start = min(max(0, round((low + high - side) / 2)), max(0, length - side))
        bounds.append((start, min(length, start + side)))
    (x0, x1), (y0, y1) = bounds
    return x0, y0, x1, y1
