"""The names of the packages `segment_anything` and `segment_anything_hq`, for code that was written for them.

    from sam_hq.segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

Answers are those of `segment_anything_hq`: one mask for each prompt, with `multimask_output=True` the best of three.
docs/coming_from.md says where else the two packages and this one differ.
"""

from .mask_generator import SamAutomaticMaskGenerator
from .resize_longest_side import ResizeLongestSide
from .sam import Sam
from .sam_predictor import SamPredictor, SamPredictorHQ
from .sam_registry import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_hq_model_registry,
    sam_model_registry,
)

__all__ = [
    "ResizeLongestSide",
    "Sam",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "SamPredictorHQ",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_hq_model_registry",
    "sam_model_registry",
]
