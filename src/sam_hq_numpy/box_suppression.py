"""Greedy suppression of overlapping boxes, with numpy alone.

Source: agrees with `torchvision.ops.nms`, which also leaves two boxes without area beside each other.
"""

import numpy as np


def unsuppressed(sorted_boxes: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Of boxes that overlap by more than `iou_threshold`, only the best-scored stays.

    Args:
        sorted_boxes: `(N, 4)` x0 y0 x1 y1, float32 or float64, best first.
        iou_threshold: Overlap (IoU) above which the lower-scored box is removed.

    Returns:
        `(K,)` int64, the kept indices, in order.
    """
    x0, y0, x1, y1 = sorted_boxes.T.copy()
    areas = (x1 - x0) * (y1 - y0)
    remaining = np.arange(len(sorted_boxes))
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
    return np.array(kept, dtype=np.int64)
