"""SAM-HQ for transformers: `import sam_hq`, then the Auto classes and `pipeline("mask-generation")` use it.

Where torch and transformers are installed, importing the package registers with transformers. Every public name that
this does not need is loaded when it is first asked for.
"""

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration_sam_hq import (
        SamHQConfig,
        SamHQEfficientNetConfig,
        SamHQMaskDecoderConfig,
        SamHQPromptEncoderConfig,
        SamHQTinyVitConfig,
        SamHQVisionConfig,
    )
    from .generation.generator import SamHQMaskGenerator
    from .generation.pipeline import SamHQMaskGenerationPipeline
    from .generation.regions_of_interest import segment_regions
    from .hub.conversion import convert_checkpoint
    from .image_processing_sam_hq import SamHQImageProcessor
    from .model.cpu_matmul import cpu_info, set_cpu_matmul
    from .modeling_sam_hq import SamHQEfficientNetModel, SamHQModel, SamHQTinyVitModel, SamHQVisionModel
    from .photo_embeddings import PhotoEmbeddings
    from .predictor import SamHQPredictor
    from .processing_sam_hq import SamHQProcessor
    from .registration import replace_builtin

try:
    __version__ = importlib.metadata.version("sam-hq")
except importlib.metadata.PackageNotFoundError:  # run from the sources
    __version__ = "0.0.0"

EMBEDDED_CHECKPOINT = str(Path(__file__).with_name("checkpoints") / "sam-hq-small")

_MODULES = {
    "PhotoEmbeddings": "photo_embeddings",
    "SamHQConfig": "configuration_sam_hq",
    "SamHQEfficientNetConfig": "configuration_sam_hq",
    "SamHQEfficientNetModel": "modeling_sam_hq",
    "SamHQImageProcessor": "image_processing_sam_hq",
    "SamHQMaskDecoderConfig": "configuration_sam_hq",
    "SamHQMaskGenerationPipeline": "generation.pipeline",
    "SamHQMaskGenerator": "generation.generator",
    "SamHQModel": "modeling_sam_hq",
    "SamHQPredictor": "predictor",
    "SamHQProcessor": "processing_sam_hq",
    "SamHQPromptEncoderConfig": "configuration_sam_hq",
    "SamHQTinyVitConfig": "configuration_sam_hq",
    "SamHQTinyVitModel": "modeling_sam_hq",
    "SamHQVisionConfig": "configuration_sam_hq",
    "SamHQVisionModel": "modeling_sam_hq",
    "convert_checkpoint": "hub.conversion",
    "cpu_info": "model.cpu_matmul",
    "replace_builtin": "registration",
    "segment_regions": "generation.regions_of_interest",
    "set_cpu_matmul": "model.cpu_matmul",
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


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a finder that refuses it, or a stand-in for the module
        return False


if _is_installed("torch") and _is_installed("transformers"):
    from .registration import register

    register()

__all__ = [
    "EMBEDDED_CHECKPOINT",
    "PhotoEmbeddings",
    "SamHQConfig",
    "SamHQEfficientNetConfig",
    "SamHQEfficientNetModel",
    "SamHQImageProcessor",
    "SamHQMaskDecoderConfig",
    "SamHQMaskGenerationPipeline",
    "SamHQMaskGenerator",
    "SamHQModel",
    "SamHQPredictor",
    "SamHQProcessor",
    "SamHQPromptEncoderConfig",
    "SamHQTinyVitConfig",
    "SamHQTinyVitModel",
    "SamHQVisionConfig",
    "SamHQVisionModel",
    "convert_checkpoint",
    "cpu_info",
    "replace_builtin",
    "segment_regions",
    "set_cpu_matmul",
]
