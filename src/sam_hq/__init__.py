"""SAM-HQ for transformers: `import sam_hq`, then the Auto classes and `pipeline("mask-generation")` use it.

Parts that need transformers are loaded only where it is installed; the larger ones when they are first asked for.
"""

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if importlib.util.find_spec("transformers") is not None or TYPE_CHECKING:
    from .configuration_sam_hq import (
        SamHQConfig,
        SamHQMaskDecoderConfig,
        SamHQPromptEncoderConfig,
        SamHQTinyVitConfig,
        SamHQVisionConfig,
    )
    from .image_processing_sam_hq import SamHQImageProcessor
    from .modeling_sam_hq import SamHQModel, SamHQTinyVitModel, SamHQVisionModel
    from .processing_sam_hq import SamHQProcessor
    from .registration import register, replace_builtin

    register()

try:
    __version__ = importlib.metadata.version("sam-hq")
except importlib.metadata.PackageNotFoundError:  # run from the sources
    __version__ = "0.0.0"

EMBEDDED_CHECKPOINT = str(Path(__file__).with_name("checkpoints") / "sam-hq-small")

_LOADED_WHEN_ASKED = {
    "SamHQMaskGenerationPipeline": "mask_generation",
    "SamHQMaskGenerator": "mask_generator",
    "convert_checkpoint": "checkpoint_conversion",
    "segment_regions": "region_prompting",
}


def __getattr__(name: str) -> Any:
    """Load the module of a public name that is not needed by everyone."""
    if name not in _LOADED_WHEN_ASKED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LOADED_WHEN_ASKED[name]}", __name__), name)
    globals()[name] = value
    return value


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
