"""What a mask from a box is worth without any learning, to read a model's numbers against."""

from collections.abc import Callable
from typing import Any

import numpy as np


def filled_box(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The box itself as a mask.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) as (x0, y0, x1, y1) in pixels.

    Returns:
        (H, W) bool.
    """
    mask = np.zeros(image.shape[:2], bool)
    x0, y0, x1, y1 = np.round(box).clip(0).astype(int)
    mask[y0:y1, x0:x1] = True
    return mask


def grabcut(image: np.ndarray, box: np.ndarray, iterations: int = 5) -> np.ndarray:
    """GrabCut started from the box; the box itself where it finds nothing.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) as (x0, y0, x1, y1) in pixels.
        iterations: Rounds of fitting.

    Returns:
        (H, W) bool.

    Raises:
        ImportError: OpenCV is not installed.
    """
    cv2 = load_opencv()
    x0, y0, x1, y1 = np.round(box).astype(int)
    height, width = image.shape[:2]
    if x0 <= 0 and y0 <= 0 and x1 >= width and y1 >= height:
        return filled_box(image, box)  # no pixel is known to be background
    labels = np.zeros((height, width), np.uint8)
    rectangle = (int(x0), int(y0), int(x1 - x0), int(y1 - y0))
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(image[..., ::-1].copy(), labels, rectangle, models[0], models[1], iterations, cv2.GC_INIT_WITH_RECT)
    mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return mask if mask.any() else filled_box(image, box)


def load_opencv() -> Any:
    """OpenCV's module.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError("the baseline grabcut needs OpenCV: pip install opencv-python-headless") from error
    return cv2


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"filled-box": filled_box, "grabcut": grabcut}
