"""Calls that clients of `segment_anything_hq` make, for the authors' predictor and for ours. Numpy and torch only."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

PHOTO = "lemur.png"


def client_calls(predictor: Any, image: np.ndarray) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    """Set the image, prompt it in several ways, and give masks, scores and low-res logits of each.

    Args:
        predictor: A `SamPredictor`.
        image: (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    predictor.set_image(np.ascontiguousarray(image[..., ::-1]), "BGR")
    centre = np.array([[width // 2, height // 2]])
    yield "a point", predictor.predict(centre, np.array([1]), None, None, True, False)
    first = predictor.predict(point_coords=centre, point_labels=np.array([1]), multimask_output=False)
    two = np.array([[width // 2, height // 2], [5, 5]])
    refined = predictor.predict(two, np.array([1, 0]), mask_input=first[2], multimask_output=False)
    yield "a mask refined", refined
    box = np.array([width // 5, height // 6, width * 4 // 5, height * 5 // 6])
    yield "a box", predictor.predict(box=box[None, :], multimask_output=False, hq_token_only=True)
    # ComfyUI's nodes and Grounded-SAM: boxes of a detector, all at once.
    boxes = torch.tensor(np.stack([box, box // 2, box // 3])).float()
    transformed = predictor.transform.apply_boxes_torch(boxes, image.shape[:2]).to(predictor.device)
    yield (
        "boxes",
        predictor.predict_torch(point_coords=None, point_labels=None, boxes=transformed, multimask_output=False),
    )
    points = predictor.transform.apply_coords_torch(torch.tensor(two[None].repeat(3, 0)), image.shape[:2])
    labels = torch.tensor([[1, 0]] * 3, dtype=torch.int)
    yield "points and boxes", predictor.predict_torch(points, labels, transformed, multimask_output=True)
    yield "one mask for all", predictor.predict_torch(None, None, transformed, torch.as_tensor(first[2])[None], False)
