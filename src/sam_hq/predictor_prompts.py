"""Prompts as `SamHQPredictor.predict` takes them, nested as deep as needed, brought to the processor's nesting."""

import re
from typing import Any

from PIL import Image

from sam_hq_numpy.nested_numbers import nesting_depth
from sam_hq_numpy.number_limits import counted


def prompts_of_images(prompts: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The prompts of each image of a list.

    Args:
        prompts: By name, each a list with an entry for each image, or None.
        count: How many images there are.

    Raises:
        ValueError: If a prompt is no such list.
    """
    for name, prompt in prompts.items():
        if prompt is not None and (not hasattr(prompt, "__len__") or len(prompt) != count):
            raise ValueError(f"{name} must be a list with an entry for each of {counted(count, 'image')}")
    return [{name: None if prompt is None else prompt[i] for name, prompt in prompts.items()} for i in range(count)]


def processor_arguments(points: Any, labels: Any, boxes: Any, masks: Any) -> dict[str, Any] | None:
    """The prompts of one image as `SamHQProcessor` takes them; None if they are for no object at all.

    Args:
        points: As in `SamHQPredictor.predict`, like the others.
        labels: Likewise.
        boxes: Likewise.
        masks: Likewise.

    Raises:
        ValueError: If `boxes` is a detector's result without axis-aligned boxes.
    """
    nested: dict[str, Any] = {}
    held = getattr(boxes, "boxes", boxes)  # Ultralytics' results hold their boxes,
    if held is None and boxes is not None:  # but none where they are oriented, or of a classifier
        raise ValueError(f"boxes is a {type(boxes).__name__} that holds no axis-aligned boxes")
    boxes = getattr(held, "xyxy", held)  # and these hold coordinates, as supervision's detections do
    if points is not None:
        # A list without any point, such as [[], []], holds an entry for each object.
        is_empty = isinstance(points, list | tuple) and all(
            getattr(each, "__len__", lambda: 1)() == 0 for each in points
        )
        for _ in range(3 if is_empty else nesting_depth(points), 3):
            points = [points]
        if labels is not None:
            for _ in range(max(0, 2 - nesting_depth(labels))):
                labels = [labels]
        nested["input_points"] = points
    if labels is not None:
        nested["input_labels"] = labels
    if boxes is not None:
        nested["input_boxes"] = boxes if nesting_depth(boxes) != 1 or len(boxes) == 0 else [boxes]
    if masks is not None:
        one = isinstance(masks, Image.Image) or getattr(masks, "ndim", 0) == 2
        nested["input_masks"] = [masks] if one else masks
    objects = [len(nested[name]) for name in nested if name != "input_labels" and hasattr(nested[name], "__len__")]
    if objects and not any(objects):
        return None
    return {name: [prompt] for name, prompt in nested.items()}


def in_words_of_predict(message: str) -> str:
    """A message about the processor's prompts of one image in the names and the nesting of `SamHQPredictor.predict`.

    Args:
        message: Such as `input_boxes[0][3] must ...`, where `boxes[3]` was given.
    """
    message = re.sub(r"\binput_(points|labels|boxes|masks)\b(\[0\])?", r"\1", message)
    message = message.replace(" of image 0", "").replace(" per image, but in image 0 ", ", but ")
    message = message.replace("[image]", "").replace(" for one object per image", " for one object")
    return re.sub(r"\bgot (\d+) levels", lambda found: f"got {int(found[1]) - 1} levels", message)
