"""What mask generation asks of masks and boxes: scores, boxes, crop edges, suppression, run lengths.

Source: `utils/amg.py` of the package `segment-anything-hq` for the definitions; `torchvision.ops.nms` for the order of
suppression. Nothing here needs torchvision.
"""

from collections.abc import Sequence

import numpy as np
import torch

from sam_hq_numpy.box_suppression import unsuppressed
from sam_hq_numpy.crop_grids import EDGE_TOLERANCE
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_rle import RunLengthMask


def stability_scores(mask_logits: torch.Tensor, mask_threshold: float = 0.0, offset: float = 1.0) -> torch.Tensor:
    """How little each mask changes when its threshold moves: the IoU of the masks cut at `threshold ± offset`.

    Args:
        mask_logits: `(..., H, W)` logits.
        mask_threshold: The logit above which a pixel belongs to the mask.
        offset: How far the threshold is moved up and down.

    Returns:
        `(...)` float32 in [0, 1]; NaN where not even the lower threshold leaves a pixel.
    """
    # The mask cut higher lies inside the one cut lower, so the counts are intersection and union.
    return _count(mask_logits > mask_threshold + offset) / _count(mask_logits > mask_threshold - offset)


def masks_to_boxes(masks: torch.Tensor) -> torch.Tensor:
    """The tightest box around each mask, as pixel indices.

    Args:
        masks: `(..., H, W)` boolean.

    Returns:
        `(..., 4)` int64, x0 y0 x1 y1 in pixels of the mask, both corners *inside* the mask; zeros for an empty mask.
    """
    height, width = masks.shape[-2:]
    rows, columns = masks.any(-1), masks.any(-2)  # (..., H), (..., W)
    if not masks.numel():
        return torch.zeros(*masks.shape[:-2], 4, dtype=torch.int64, device=masks.device)
    x0, y0 = columns.int().argmax(-1), rows.int().argmax(-1)
    x1 = width - 1 - columns.flip(-1).int().argmax(-1)
    y1 = height - 1 - rows.flip(-1).int().argmax(-1)
    return torch.stack([x0, y0, x1, y1], -1) * rows.any(-1, keepdim=True)


def touches_crop_edge(
    boxes: torch.Tensor, crop_box: Sequence[float], image_size: Sequence[int], tolerance: float = EDGE_TOLERANCE
) -> torch.Tensor:
    """Whether a box ends at the edge of its crop where the image continues, so that its mask is probably cut.

    Args:
        boxes: `(N, 4)` x0 y0 x1 y1, in pixels of the crop.
        crop_box: x0 y0 x1 y1 of the crop, in pixels of the photo.
        image_size: Height and width of the photo.
        tolerance: How near, in pixels, counts as touching.

    Returns:
        `(N,)` boolean.

    Source: `is_box_near_crop_edge` of the authors' `utils/amg.py`: each side is held against the same side.
    """
    x0, y0, x1, y1 = crop_box
    height, width = image_size
    crop_sides = torch.tensor([x0, y0, x1, y1], dtype=torch.float32, device=boxes.device)
    image_sides = torch.tensor([0, 0, width, height], dtype=torch.float32, device=boxes.device)
    sides = boxes.float() + crop_sides[[0, 1, 0, 1]]
    near_crop = (sides - crop_sides).abs() <= tolerance
    near_image = (sides - image_sides).abs() <= tolerance
    return (near_crop & ~near_image).any(-1)


def non_maximum_suppression(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy suppression: of boxes that overlap by more than `iou_threshold`, only the best-scored stays.

    Args:
        boxes: `(N, 4)` x0 y0 x1 y1 of any dtype; other than float64 they are compared in float32.
        scores: `(N,)` of any dtype, also another than that of the boxes.
        iou_threshold: Overlap (IoU) above which the lower-scored box is removed.

    Returns:
        `(K,)` int64, the kept indices, best first; equal scores keep their order.

    Source: agrees with `torchvision.ops.nms`, which also leaves two boxes without area beside each other.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"boxes must be (N, 4) and scores (N,), got {tuple(boxes.shape)} and {tuple(scores.shape)}")
    order = scores.argsort(descending=True, stable=True)
    # A loop of small steps: on the CPU even when the boxes are elsewhere.
    sorted_boxes = boxes[order].to("cpu", torch.float64 if boxes.dtype == torch.float64 else torch.float32).numpy()
    return order[torch.from_numpy(unsuppressed(sorted_boxes, iou_threshold)).to(order.device)]


def passing_scores(scores: torch.Tensor, options: MaskGenerationOptions) -> torch.Tensor:
    """Indices of the masks whose predicted IoU is high enough.

    Args:
        scores: `(N,)` predicted IoU.
        options: `pred_iou_thresh` is looked at; 0 or less lets every mask pass.

    Returns:
        `(K,)` int64.
    """
    if options.pred_iou_thresh > 0:
        return (scores > options.pred_iou_thresh).nonzero()[:, 0]
    return torch.arange(len(scores), device=scores.device)


def passing_stability(stability: torch.Tensor, options: MaskGenerationOptions) -> torch.Tensor:
    """Indices of the masks whose stability is high enough.

    Args:
        stability: `(N,)`; NaN for masks without a pixel.
        options: `stability_score_thresh` is looked at; 0 or less lets every mask pass.

    Returns:
        `(K,)` int64.
    """
    if options.stability_score_thresh > 0:  # NaN fails, but passes where nothing is asked
        return (stability >= options.stability_score_thresh).nonzero()[:, 0]
    return torch.arange(len(stability), device=stability.device)


def small_crops_first(crop_boxes: torch.Tensor) -> torch.Tensor:
    """Scores by which suppression prefers the masks of small crops.

    Args:
        crop_boxes: `(N, 4)` x0 y0 x1 y1.

    Returns:
        `(N,)` float32.
    """
    width, height = (crop_boxes[:, 2:] - crop_boxes[:, :2]).unbind(-1)
    return 1 / (width * height).float()  # whole numbers divided would take the default dtype


def run_length_boxes(masks: Sequence[RunLengthMask]) -> torch.Tensor:
    """Boxes `(N, 4)` int64 of N masks, as `RunLengthMask.box` gives them."""
    return torch.tensor([mask.box() for mask in masks], dtype=torch.int64).reshape(-1, 4)


def encode_masks(masks: torch.Tensor) -> list[RunLengthMask]:
    """Encode a group of masks, on the device they are on.

    Args:
        masks: `(N, H, W)` boolean.
    """
    if masks.device.type == "cpu":
        return [RunLengthMask.from_mask(mask) for mask in masks.numpy()]
    return encode_masks_on_device(masks)


def encode_masks_on_device(masks: torch.Tensor) -> list[RunLengthMask]:
    """As `encode_masks`, with only the places where a run starts or ends leaving the device.

    Args:
        masks: `(N, H, W)` boolean.
    """
    n_masks, height, width = masks.shape
    pixels = masks.transpose(1, 2).flatten(1)  # (N, H, W) -> (N, W*H), down the columns
    framed = torch.nn.functional.pad(pixels, (1, 1))
    changes = (framed[:, 1:] != framed[:, :-1]).nonzero().cpu().numpy()  # (K, 2): mask, position
    per_mask = np.split(changes[:, 1], np.cumsum(np.bincount(changes[:, 0], minlength=n_masks))[:-1])
    return [RunLengthMask.from_runs(height, width, places[::2], places[1::2]) for places in per_mask[:n_masks]]


def _count(masks: torch.Tensor) -> torch.Tensor:
    """Pixels inside: `(..., H, W)` -> `(...)` float32."""
    # Rows in the narrowest type that holds their length: an int64 sum of booleans takes ten times as long.
    row_type = torch.int16 if masks.shape[-1] < 2**15 else torch.int32
    return masks.sum(-1, dtype=row_type).sum(-1, dtype=torch.int64).float()
