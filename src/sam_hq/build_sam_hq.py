"""Where ComfyUI's nodes look for the registry of models."""

from .segment_anything import (
    build_sam_vit_b as build_sam_hq_vit_b,
)
from .segment_anything import (
    build_sam_vit_h as build_sam_hq_vit_h,
)
from .segment_anything import (
    build_sam_vit_l as build_sam_hq_vit_l,
)
from .segment_anything import (
    build_sam_vit_t as build_mobile_sam,
)
from .segment_anything import (
    sam_hq_model_registry,
    sam_model_registry,
)

__all__ = [
    "build_mobile_sam",
    "build_sam_hq_vit_b",
    "build_sam_hq_vit_h",
    "build_sam_hq_vit_l",
    "sam_hq_model_registry",
    "sam_model_registry",
]
