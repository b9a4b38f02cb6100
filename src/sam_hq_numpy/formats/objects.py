"""What every writer takes: the image and its objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_hq_numpy.mask_rle import RunLengthMask


@dataclass(frozen=True, eq=False)
class ImageObject:
    """One object of an image.

    Args:
        mask: Of the image's size.
        category_id: As COCO numbers it.
        category: The name of the category.
        facts: What else is known, as JSON can hold it, such as `predicted_iou`; written wherever the format has room.
    """

    mask: RunLengthMask
    category_id: int = 1
    category: str = "object"
    facts: Mapping[str, Any] = field(default_factory=dict)
