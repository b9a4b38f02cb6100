"""How well a mask agrees with another: IoU, and the IoU of the two masks' boundaries."""

import numpy as np

from sam_hq_numpy.number_limits import check_whole

BOUNDARY_SHARE = 0.02


def mask_iou(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks (H, W); 1 if both are empty.

    Raises:
        ValueError: The masks differ in shape, or are logits, probabilities or labels.
    """
    mask, other = _same_frame(mask, other)
    union = np.count_nonzero(mask | other)
    return np.count_nonzero(mask & other) / union if union else 1.0


def boundary_iou(mask: np.ndarray, other: np.ndarray, width: int | None = None) -> float:
    """IoU of two masks' boundary regions: of the pixels of each within `width` of its outside; 1 if both are empty.

    Args:
        mask: (H, W) bool.
        other: (H, W) bool.
        width: In pixels (chessboard distance); 2 % of the frame's diagonal where it is None.

    Raises:
        ValueError: The masks differ in shape, or the width is not positive.

    Source: "Boundary IoU" (arXiv 2103.16562); what lies beyond the frame counts as outside.
    """
    mask, other = _same_frame(mask, other)
    if width is None:
        width = boundary_width(mask.shape)
    check_whole("width", width, at_least=1)
    return mask_iou(boundary_region(mask, width), boundary_region(other, width))


def boundary_width(size: tuple[int, int]) -> int:
    """2 % of the diagonal of a frame of (height, width), in whole pixels, at least 1."""
    return max(1, round(BOUNDARY_SHARE * float(np.hypot(*size))))


def boundary_region(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask (H, W) that have a pixel of the outside within `width` in x and in y."""
    outside = np.pad(~mask.astype(bool), width, constant_values=True).astype(np.int32)
    # Outside pixels in each square window of side 2 * width + 1, as differences of a summed-area table.
    table = np.pad(outside.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = 2 * width + 1
    near = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    return mask.astype(bool) & (near > 0)


def _same_frame(mask: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mask, other = np.asarray(mask), np.asarray(other)
    if mask.shape != other.shape or mask.ndim != 2:
        raise ValueError(f"two masks (H, W) of one shape are wanted, got {mask.shape} and {other.shape}")
    return _binary(mask), _binary(other)


def _binary(mask: np.ndarray) -> np.ndarray:
    if mask.dtype != bool and not ((mask == 0) | (mask == max(mask.max(initial=0), 0))).all():  # NaN is neither
        raise ValueError("a mask must be boolean, or hold 0 and one number above it; logits and probabilities are none")
    return mask.astype(bool)
