"""Configurations of SAM-HQ: prompt encoder, mask decoder, and the model that joins them with a vision encoder.

Field names are those of the checkpoints on the Hub, so their `config.json` files load unchanged. A configuration that
contradicts itself is refused when it is made, with a `ValueError` that names both values.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.
"""

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .configuration_checks import (
    require_at_most_largest,
    require_dtypes,
    require_few_weights,
    require_multiple,
    require_positive,
    require_types,
)
from .vision_configuration import SamHQEfficientNetConfig, SamHQTinyVitConfig, SamHQVisionConfig


class SamHQPromptEncoderConfig(PreTrainedConfig):
    """The prompt encoder: points, boxes and masks to embeddings.

    Args:
        hidden_size: Width of the prompt tokens: the encoder's `output_channels`.
        image_size: Side of the square input in pixels, the frame of points and boxes.
        patch_size: Pixels per grid cell along one side.
        mask_input_channels: Width of the mask embedding before its last convolution; a multiple of 4.
        num_point_embeddings: Learned point kinds: background, foreground, and the two corners of a box.
        hidden_act: Activation of the mask embedding.
        layer_norm_eps: Epsilon of the mask embedding's norms.

    Raises:
        ValueError: If two values contradict each other.
    """

    model_type = "sam_hq_prompt_encoder"
    base_config_key = "prompt_encoder_config"

    hidden_size: int = 256
    image_size: int = 1024
    patch_size: int = 16
    mask_input_channels: int = 16
    num_point_embeddings: int = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        # Written into the file by the built-in class; it follows from the two sizes here.
        stored_grid = kwargs.pop("image_embedding_size", None)
        super().__post_init__(**kwargs)
        require_at_most_largest(self)
        require_multiple("image_size", self.image_size, "patch_size", self.patch_size)
        require_multiple("mask_input_channels", self.mask_input_channels, "the two downsamplings", 4)
        if self.num_point_embeddings != 4:
            raise ValueError(
                f"num_point_embeddings is {self.num_point_embeddings}, but there are 4 kinds of points: background, "
                "foreground and the two corners of a box"
            )
        require_positive(self, "hidden_size")
        if stored_grid is not None and stored_grid != self.image_embedding_size:
            raise ValueError(
                f"image_embedding_size is {stored_grid}, but image_size {self.image_size} over patch_size "
                f"{self.patch_size} gives {self.image_embedding_size}"
            )

    @property
    def image_embedding_size(self) -> int:
        """Side of the grid of `image_embeddings`, in patches."""
        return self.image_size // self.patch_size

    @property
    def mask_input_size(self) -> int:
        """Side of a mask prompt and of a predicted low-resolution mask, in pixels."""
        return 4 * self.image_embedding_size


class SamHQMaskDecoderConfig(PreTrainedConfig):
    """The two-way transformer with the HQ token, and the heads on top of it.

    Args:
        hidden_size: Width of the tokens: the encoder's `output_channels`; a multiple of 8.
        hidden_act: Activation of the transformer's MLPs.
        mlp_dim: Width of the transformer's MLPs.
        num_hidden_layers: Number of two-way blocks.
        num_attention_heads: Heads of every attention of the transformer.
        attention_downsample_rate: The cross attentions work at `hidden_size` over this.
        num_multimask_outputs: Candidate masks for an ambiguous prompt, besides the single-mask token.
        iou_head_depth: Linear layers of the head that predicts each mask's IoU.
        iou_head_hidden_dim: Width of that head.
        layer_norm_eps: Epsilon of the norms over feature maps. The transformer's own norms always use 1e-5, as the
            authors' do, whatever a checkpoint's file says here.
        vit_dim: Width of the intermediate embeddings; None follows the vision encoder.

    Raises:
        ValueError: If two values contradict each other.
    """

    model_type = "sam_hq_mask_decoder"
    base_config_key = "mask_decoder_config"

    hidden_size: int = 256
    hidden_act: str = "relu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    layer_norm_eps: float = 1e-6
    vit_dim: int | None = None
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        require_at_most_largest(self)
        require_positive(self, "num_attention_heads", "attention_downsample_rate", "mlp_dim", "num_hidden_layers")
        require_positive(self, "iou_head_hidden_dim", "iou_head_depth", "num_multimask_outputs")
        require_multiple("hidden_size", self.hidden_size, "the two upscalings", 8)
        require_multiple(
            "hidden_size",
            self.hidden_size,
            "attention_downsample_rate x num_attention_heads",
            self.attention_downsample_rate * self.num_attention_heads,
        )
        if self.iou_head_depth < 2:
            raise ValueError(f"iou_head_depth is {self.iou_head_depth}, but the head needs at least 2 layers")
        layers = self.num_hidden_layers * (16 * self.hidden_size**2 + 2 * self.hidden_size * self.mlp_dim)
        require_few_weights(self, layers + self.iou_head_depth * self.iou_head_hidden_dim**2)


# The model type of directories that carry their code, see `sam_hq_exact.py`.
TYPE_WITH_CODE = "sam_hq_exact"

AnyVisionConfig = SamHQVisionConfig | SamHQTinyVitConfig | SamHQEfficientNetConfig
VISION_CONFIGS = {
    config.model_type: config for config in (SamHQVisionConfig, SamHQTinyVitConfig, SamHQEfficientNetConfig)
}


class SamHQConfig(PreTrainedConfig):
    """A whole SAM-HQ model.

    Args:
        vision_config: The vision encoder's configuration, or its fields; `model_type` chooses between
            `SamHQVisionConfig` ("sam_hq_vision_model", the default), `SamHQTinyVitConfig` ("sam_hq_tiny_vit") and
            `SamHQEfficientNetConfig` ("sam_hq_efficientnet").
        prompt_encoder_config: The prompt encoder's configuration, or its fields. Fields left out follow the encoder.
        mask_decoder_config: The mask decoder's configuration, or its fields. Fields left out follow the encoder.
        initializer_range: Standard deviation of randomly initialised weights.
        mask_generation: Options of automatic mask generation that suit this model, by name, where they differ from the
            defaults of `MaskGenerationOptions`: `{"pred_iou_thresh": 0.5}` for one whose scores are low.
        hq_token_trained_alone: Whether the HQ token's masks are good by themselves, as `hq_token_only` returns them;
            False where it was trained only as a correction of SAM's masks, and `hq_token_only` then warns.
        cpu_fast_path: Whether the CPU engine may answer for the modules in inference, see
            `SamHQModel.set_fast_path`.

    Raises:
        ValueError: If two parts contradict each other, or the file describes another kind of model.
        TypeError: If a part is neither a configuration nor a dictionary.
    """

    model_type = "sam_hq"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SamHQVisionConfig,
        "prompt_encoder_config": SamHQPromptEncoderConfig,
        "mask_decoder_config": SamHQMaskDecoderConfig,
    }

    # Each a dictionary or None when it is given, a configuration ever after.
    vision_config: Any = None
    prompt_encoder_config: Any = None
    mask_decoder_config: Any = None
    initializer_range: float = 0.02
    mask_generation: dict[str, Any] | None = None
    hq_token_trained_alone: bool = True
    cpu_fast_path: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = _vision_config(self.vision_config)
        encoder = self.vision_config
        self.prompt_encoder_config = _part(
            SamHQPromptEncoderConfig,
            self.prompt_encoder_config,
            hidden_size=encoder.output_channels,
            image_size=encoder.image_size,
            patch_size=encoder.patch_size,
        )
        self.mask_decoder_config = _part(
            SamHQMaskDecoderConfig,
            self.mask_decoder_config,
            hidden_size=encoder.output_channels,
            vit_dim=encoder.intermediate_size,
        )
        if self.mask_decoder_config.vit_dim is None:
            self.mask_decoder_config.vit_dim = encoder.intermediate_size
        super().__post_init__(**kwargs)
        require_types(self)
        if not isinstance(self.mask_generation, dict | None):
            raise ValueError(
                f"mask_generation is {self.mask_generation!r}, but must be a dictionary of options or null"
            )
        self._require_agreement()

    def _require_agreement(self) -> None:
        encoder, prompts, decoder = self.vision_config, self.prompt_encoder_config, self.mask_decoder_config
        width = ("vision_config.output_channels", encoder.output_channels)
        image_size = ("vision_config.image_size", encoder.image_size)
        patch_size = ("vision_config.patch_size", encoder.patch_size)
        intermediate = ("the vision encoder's intermediate width", encoder.intermediate_size)
        for name, value, (wanted_name, wanted) in (
            ("prompt_encoder_config.image_size", prompts.image_size, image_size),
            ("prompt_encoder_config.patch_size", prompts.patch_size, patch_size),
            ("prompt_encoder_config.hidden_size", prompts.hidden_size, width),
            ("mask_decoder_config.hidden_size", decoder.hidden_size, width),
            ("mask_decoder_config.vit_dim", decoder.vit_dim, intermediate),
            ("vision_config.num_pos_feats x 2", 2 * encoder.num_pos_feats, width),
        ):
            if value != wanted:
                raise ValueError(f"{name} is {value}, but {wanted_name} is {wanted}; they must be equal")

    @classmethod
    def _dict_from_json_file(cls, json_file: Any) -> dict[str, Any]:
        """Read a file's fields; what holds none is refused before they are looked for."""
        fields = super()._dict_from_json_file(json_file)
        _require_fields(fields, f"the configuration in {str(json_file)!r}")
        return fields

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration from the contents of a `config.json`.

        That of a directory that carries its code is taken too; the code is left aside.

        Args:
            config_dict: The file's fields.
            **kwargs: Fields to override, and `return_unused_kwargs`.

        Returns:
            The configuration, or with `return_unused_kwargs=True` the configuration and the unused fields.

        Raises:
            ValueError: If it is no dictionary, or `model_type` is that of another kind of model, or `dtype` none of
                torch's.
        """
        _require_fields(config_dict, "the configuration")
        require_dtypes(config_dict)
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type == TYPE_WITH_CODE != cls.model_type:
            left_out = ("model_type", "auto_map")
            config_dict = {name: value for name, value in config_dict.items() if name not in left_out}
        elif model_type != cls.model_type:
            raise ValueError(f"the configuration is that of a {model_type!r} model, but a {cls.model_type!r} is wanted")
        return super().from_dict(config_dict, **kwargs)


def _require_fields(content: Any, name: str) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{name} must be a dictionary, got a {type(content).__name__}")


def _vision_config(part: dict | PreTrainedConfig | None) -> AnyVisionConfig:
    if isinstance(part, AnyVisionConfig):
        return part
    fields = _fields("vision_config", part)
    model_type = fields.pop("model_type", None) or SamHQVisionConfig.model_type
    if not isinstance(model_type, str) or model_type not in VISION_CONFIGS:
        raise ValueError(f"vision_config is a {model_type!r}, but must be one of {sorted(VISION_CONFIGS)}")
    return VISION_CONFIGS[model_type](**fields)


def _part(
    config_class: type[PreTrainedConfig], part: dict | PreTrainedConfig | None, **follows: int
) -> PreTrainedConfig:
    """A sub-configuration from its fields; those in `follows` are the defaults where the fields leave them out."""
    if isinstance(part, config_class):
        return part
    return config_class(**{**follows, **_fields(config_class.base_config_key, part)})


def _fields(name: str, part: dict | PreTrainedConfig | None) -> dict[str, Any]:
    if isinstance(part, PreTrainedConfig):  # of another implementation, whose fields have the same names
        return part.to_dict()
    if part is not None and not isinstance(part, dict):
        raise TypeError(f"{name} must be a configuration, a dictionary or None, but is {type(part).__name__}")
    return dict(part or {})


__all__ = [
    "AnyVisionConfig",
    "SamHQConfig",
    "SamHQEfficientNetConfig",
    "SamHQMaskDecoderConfig",
    "SamHQPromptEncoderConfig",
    "SamHQTinyVitConfig",
    "SamHQVisionConfig",
]
