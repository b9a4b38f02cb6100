"""Greedy suppression of overlapping boxes, with numpy alone."""

import numpy as np


def best_boxes(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Of boxes that overlap by more than `iou_threshold`, only the best-scored stays.

    Args:
        boxes: (N, 4) x0 y0 x1 y1, compared in float32.
        scores: (N,).
        iou_threshold: Overlap (IoU) above which the lower-scored box is removed.

    Returns:
        (K,) int64, the kept indices, best first; equal scores keep their order.

    Raises:
        ValueError: Other shapes.

    Source: agrees with `torchvision.ops.nms`, which also leaves two boxes without area beside each other.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"boxes must be (N, 4) and scores (N,), got {boxes.shape} and {scores.shape}")
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes[order].astype(np.float32).T.copy()
    areas = (x1 - x0) * (y1 - y0)
    remaining = np.arange(len(boxes))
    kept = []
    while remaining.size:
        best, rest = remaining[0], remaining[1:]
        kept.append(int(best))
        overlap_width = x1[rest].clip(max=x1[best]) - x0[rest].clip(min=x0[best])
        overlap_height = y1[rest].clip(max=y1[best]) - y0[rest].clip(min=y0[best])
        intersection = overlap_width.clip(min=0) * overlap_height.clip(min=0)
        with np.errstate(invalid="ignore"):  # 0/0, two boxes without area: NaN, which suppresses nothing
            iou = intersection / (areas[best] + areas[rest] - intersection)
        # In float64, or numpy would round the threshold to float32 first.
        remaining = rest[~(iou.astype(np.float64) > iou_threshold)]
    return order[np.array(kept, dtype=np.int64)]


def small_crops_first(crop_boxes: np.ndarray) -> np.ndarray:
    """Scores (N,) float32 by which suppression prefers the masks of small crops.

    Args:
        crop_boxes: (N, 4) x0 y0 x1 y1.
    """
    sides = crop_boxes[:, 2:] - crop_boxes[:, :2]
    return 1 / sides.prod(axis=1).astype(np.float32)
