"""All wiring into transformers' tables; no other module touches `transformers.models.*`.

Importing `sam_hq` registers our classes with the Auto classes and with `pipeline("mask-generation")`, for directories
saved by us and by the class built into transformers 4.57 and 5.x. SAM v1 and every other model keep their classes.
`replace_builtin` does more, on request only.
"""

import functools
import sys
import warnings
from typing import Any

import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskGeneration,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.auto import processing_auto
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.sam_hq import configuration_sam_hq as builtin_configuration
from transformers.models.sam_hq import modeling_sam_hq as builtin_modeling
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_sam_hq import (
    TYPE_WITH_CODE,
    VISION_CONFIGS,
    SamHQConfig,
    SamHQMaskDecoderConfig,
    SamHQPromptEncoderConfig,
    SamHQVisionConfig,
)
from .image_processing_sam_hq import SamHQImageProcessor
from .model.model_access import wrapped_models
from .modeling_sam_hq import (
    SamHQEfficientNetModel,
    SamHQModel,
    SamHQPreTrainedModel,
    SamHQTinyVitModel,
    SamHQVisionModel,
)
from .processing_sam_hq import SamHQProcessor

_TASK = "mask-generation"
# Looked up once: `replace_builtin` puts ours under their names.
_BuiltinModel: type = builtin_modeling.SamHQModel
_BuiltinVisionConfig: type = builtin_configuration.SamHQVisionConfig
_HUB_ARGUMENTS = ("cache_dir", "force_download", "proxies", "token", "local_files_only", "revision", "subfolder")

# The names under which transformers knows its own SAM-HQ, and what takes their place in `replace_builtin`.
_BUILTIN_NAMES: dict[str, type] = {
    "SamHQConfig": SamHQConfig,
    "SamHQMaskDecoderConfig": SamHQMaskDecoderConfig,
    "SamHQModel": SamHQModel,
    "SamHQPreTrainedModel": SamHQPreTrainedModel,
    "SamHQProcessor": SamHQProcessor,
    "SamHQPromptEncoderConfig": SamHQPromptEncoderConfig,
    "SamHQVisionConfig": SamHQVisionConfig,
    "SamHQVisionModel": SamHQVisionModel,
}


def register() -> None:
    """Make the Auto classes and the mask-generation pipeline use our classes for SAM-HQ; again is harmless."""
    AutoConfig.register(SamHQConfig.model_type, SamHQConfig, exist_ok=True)
    AutoConfig.register(TYPE_WITH_CODE, _ConfigWithCode, exist_ok=True)
    for part_config in (*VISION_CONFIGS.values(), SamHQPromptEncoderConfig, SamHQMaskDecoderConfig):
        AutoConfig.register(part_config.model_type, part_config, exist_ok=True)
    for auto_class in (AutoModel, AutoModelForMaskGeneration):
        auto_class.register(SamHQConfig, SamHQModel, exist_ok=True)
    for encoder in (SamHQVisionModel, SamHQTinyVitModel, SamHQEfficientNetModel):
        AutoModel.register(encoder.config_class, encoder, exist_ok=True)
    _register_image_processors()
    _register_processors()
    _guard_builtin()
    task = PIPELINE_REGISTRY.supported_tasks[_TASK]
    if task["impl"] is not MaskGenerationDispatcher:
        task["impl"] = MaskGenerationDispatcher


def replace_builtin() -> None:
    """Replace transformers' own SAM-HQ classes with ours, for this process.

    After it, `from transformers import SamHQModel, SamHQProcessor` gives ours, so that code written for the built-in
    class runs unchanged. Names imported before the call keep what they were. Importing `sam_hq` does not do this.
    """
    register()
    import transformers.models.sam_hq as package

    # transformers executes itself a second time while it is imported, so that there may be two of it.
    public = [transformers, sys.modules[transformers.__name__], package]
    others = [module for name, module in sys.modules.items() if name.startswith(f"{package.__name__}.")]
    for module in public + others:
        for name, ours in _BUILTIN_NAMES.items():
            if module in public or name in vars(module):
                setattr(module, name, ours)


def _guard_builtin() -> None:
    """Let the built-in model say that it is faulty, and its encoder that it is no other one."""
    if not hasattr(vars(_BuiltinModel)["__init__"], "__wrapped_by_sam_hq__"):
        _wrap_init(_BuiltinModel, _warn_of_builtin)
        _wrap_init(_BuiltinVisionConfig, _refuse_other_encoders)


def _wrap_init(guarded: Any, check: Any) -> None:
    init = guarded.__init__

    @functools.wraps(init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        check(self, kwargs)
        init(self, *args, **kwargs)

    checked_init.__wrapped_by_sam_hq__ = True  # type: ignore[attr-defined]
    guarded.__init__ = checked_init


def _warn_of_builtin(model: object, kwargs: dict[str, Any]) -> None:  # noqa: ARG001
    if type(model) is _BuiltinModel:  # those who subclass it know which one it is
        warnings.warn(
            "this is transformers' built-in SamHQModel, whose mask decoder is faulty, although sam_hq is imported; "
            "use sam_hq.SamHQModel, or call sam_hq.replace_builtin() before importing SamHQModel from transformers",
            stacklevel=3,
        )


def _refuse_other_encoders(config: object, kwargs: dict[str, Any]) -> None:  # noqa: ARG001
    encoder = VISION_CONFIGS.get(kwargs.get("model_type", ""), SamHQVisionConfig)
    if encoder is not SamHQVisionConfig:
        raise ValueError(
            f"vision_config is that of a {encoder.model_type!r}, which transformers' built-in SamHQModel lacks; load "
            "the directory with sam_hq.SamHQModel, or call sam_hq.replace_builtin() first"
        )


def _register_image_processors() -> None:
    # Not through `AutoImageProcessor.register`, which loads the built-in classes of the same name first. Both backends:
    # with one of them missing, the other would be taken from the built-in table.
    mapping: Any = IMAGE_PROCESSOR_MAPPING  # typed for tuples, which it took in earlier releases
    mapping.register(SamHQConfig, {"pil": SamHQImageProcessor, "torchvision": SamHQImageProcessor}, exist_ok=True)
    # Directories of the built-in class name the image processor of SAM v1, so that name is looked at twice.
    mapping.register(
        _SamImageProcessorKey,
        {
            "pil": _image_processor_router("SamImageProcessor", "SamImageProcessorPil"),
            "torchvision": _image_processor_router("SamImageProcessor", "SamImageProcessor"),
        },
        exist_ok=True,
    )


def _register_processors() -> None:
    AutoProcessor.register(SamHQConfig, SamHQProcessor, exist_ok=True)
    AutoProcessor.register(_SamSamHQProcessorKey, SamSamHQProcessor, exist_ok=True)
    # Built-in names are looked up before registered ones.
    processing_auto.PROCESSOR_MAPPING_NAMES.pop("sam_hq", None)


class _SamImageProcessorKey(PreTrainedConfig):
    """Holds the place of the routing classes in transformers' table; no model has this configuration."""

    model_type = "sam_hq_routes_sam_image_processor"


class _SamSamHQProcessorKey(PreTrainedConfig):
    """Holds the place of `SamSamHQProcessor` in transformers' table; no model has this configuration."""

    model_type = "sam_hq_routes_sam_sam_hq_processor"


class _ConfigWithCode(PreTrainedConfig):
    """Lets a directory that carries its code load as one that does not: the code is in this package already."""

    model_type = TYPE_WITH_CODE

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        return SamHQConfig.from_dict(config_dict, **kwargs)


class SamSamHQProcessor(SamHQProcessor):
    """The name that some Hub checkpoints give to their processor; loading it gives a plain `SamHQProcessor`."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a `SamHQProcessor`; the arguments are its own."""
        return SamHQProcessor.from_pretrained(*args, **kwargs)


def _image_processor_router(name: str, builtin_name: str) -> type[BaseImageProcessor]:
    """A class called `name` that loads ours for a SAM-HQ directory and transformers' own for any other."""

    def from_pretrained(cls: type, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        if _model_type(pretrained_model_name_or_path, kwargs) in (SamHQConfig.model_type, TYPE_WITH_CODE):
            return SamHQImageProcessor.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        import transformers.models.sam as sam

        return getattr(sam, builtin_name).from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    # transformers compares the `__name__` of registered classes with the name in the file.
    return type(name, (BaseImageProcessor,), {"from_pretrained": classmethod(from_pretrained)})


def _model_type(path: Any, kwargs: dict[str, Any]) -> str | None:
    arguments = {name: kwargs[name] for name in _HUB_ARGUMENTS if name in kwargs}
    try:
        config, _ = PreTrainedConfig.get_config_dict(path, **arguments)
    except (OSError, ValueError):  # a directory with an image processor alone
        return None
    return config.get("model_type")


class MaskGenerationDispatcher:
    """Gives `pipeline("mask-generation")` our pipeline for our model, and transformers' own for every other."""

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False
    _load_video_processor = False

    def __new__(cls, model: PreTrainedModel, **kwargs: Any) -> Any:
        """Return the pipeline that fits the model.

        Args:
            model: The loaded model, or a wrapper around it, such as those of PEFT and torch.compile.
            **kwargs: What `pipeline` hands to a pipeline class.

        Raises:
            ValueError: If the model is transformers' own SamHQModel, whose masks are wrong.
        """
        inner = list(wrapped_models(model))
        ours = next((one for one in inner if isinstance(one, SamHQModel)), None)
        if ours is not None:
            from .generation.pipeline import SamHQMaskGenerationPipeline

            return SamHQMaskGenerationPipeline(model=ours, **kwargs)
        if any(isinstance(one, _BuiltinModel) for one in inner):
            # `pipeline` falls back to this class without a word when ours refused the directory.
            raise ValueError(
                "the model is transformers' built-in SamHQModel, whose mask decoder is faulty; load it with "
                "sam_hq.SamHQModel.from_pretrained, which also says what is wrong with a directory that it refuses"
            )
        return transformers.MaskGenerationPipeline(model=model, **kwargs)
