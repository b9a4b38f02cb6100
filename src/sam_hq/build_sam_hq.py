"""Where ComfyUI's nodes look for the registry of models."""

from . import segment_anything
from .segment_anything import sam_hq_model_registry, sam_model_registry

build_sam_hq_vit_b = segment_anything.build_sam_vit_b
build_sam_hq_vit_l = segment_anything.build_sam_vit_l
build_sam_hq_vit_h = segment_anything.build_sam_vit_h
build_mobile_sam = segment_anything.build_sam_vit_t

__all__ = [
    "build_mobile_sam",
    "build_sam_hq_vit_b",
    "build_sam_hq_vit_h",
    "build_sam_hq_vit_l",
    "sam_hq_model_registry",
    "sam_model_registry",
]
