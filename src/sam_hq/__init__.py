"""SAM-HQ for transformers: `import sam_hq`, then the Auto classes and `pipeline("mask-generation")` use it.

Importing the package alone imports neither torch nor transformers: every public name is loaded when it is first asked
for, and registration waits for transformers where that is not imported yet.
"""

import importlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .late_registration import register_when_possible

if TYPE_CHECKING:
    from .checkpoint_conversion import convert_checkpoint
    from .configuration_sam_hq import (
        SamHQConfig,
        SamHQMaskDecoderConfig,
        SamHQPromptEncoderConfig,
        SamHQTinyVitConfig,
        SamHQVisionConfig,
    )
    from .image_processing_sam_hq import SamHQImageProcessor
    from .mask_generation import SamHQMaskGenerationPipeline
    from .mask_generator import SamHQMaskGenerator
    from .modeling_sam_hq import SamHQModel, SamHQTinyVitModel, SamHQVisionModel
    from .processing_sam_hq import SamHQProcessor
    from .region_prompting import segment_regions
    from .registration import replace_builtin

try:
    __version__ = importlib.metadata.version("sam-hq")
except importlib.metadata.PackageNotFoundError:  # run from the sources
    __version__ = "0.0.0"

EMBEDDED_CHECKPOINT = str(Path(__file__).with_name("checkpoints") / "sam-hq-small")

_MODULES = {
    "SamHQConfig": "configuration_sam_hq",
    "SamHQImageProcessor": "image_processing_sam_hq",
    "SamHQMaskDecoderConfig": "configuration_sam_hq",
    "SamHQMaskGenerationPipeline": "mask_generation",
    "SamHQMaskGenerator": "mask_generator",
    "SamHQModel": "modeling_sam_hq",
    "SamHQProcessor": "processing_sam_hq",
    "SamHQPromptEncoderConfig": "configuration_sam_hq",
    "SamHQTinyVitConfig": "configuration_sam_hq",
    "SamHQTinyVitModel": "modeling_sam_hq",
    "SamHQVisionConfig": "configuration_sam_hq",
    "SamHQVisionModel": "modeling_sam_hq",
    "convert_checkpoint": "checkpoint_conversion",
    "replace_builtin": "registration",
    "segment_regions": "region_prompting",
}


def __getattr__(name: str) -> Any:
    """Load the module of a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All names, those that are not loaded yet too."""
    return sorted({*globals(), *__all__})


register_when_possible()

__all__ = [
    "EMBEDDED_CHECKPOINT",
    "SamHQConfig",
    "SamHQImageProcessor",
    "SamHQMaskDecoderConfig",
    "SamHQMaskGenerationPipeline",
    "SamHQMaskGenerator",
    "SamHQModel",
    "SamHQProcessor",
    "SamHQPromptEncoderConfig",
    "SamHQTinyVitConfig",
    "SamHQTinyVitModel",
    "SamHQVisionConfig",
    "SamHQVisionModel",
    "convert_checkpoint",
    "replace_builtin",
    "segment_regions",
]
