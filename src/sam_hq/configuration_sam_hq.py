"""Configurations of SAM-HQ: three vision encoders, the prompt encoder, the mask decoder, and the model that joins them.

Field names are those of the checkpoints on the Hub, so their `config.json` files load unchanged. A configuration that
contradicts itself is refused when it is made, with a `ValueError` that names both values.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3; "TinyViT" (arXiv 2207.10666) and "EfficientNet"
(arXiv 1905.11946) for the light encoders.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import PreTrainedConfig

# Far beyond every model there is. A damaged or malicious file must not make a loop of years, or ask for all memory.
_LARGEST = {
    "attention_downsample_rate": 1024,
    "depths": 512,
    "fine_channels": 4096,
    "fusion_width": 16384,
    "hidden_size": 16384,
    "hidden_sizes": 16384,
    "image_size": 16384,
    "iou_head_depth": 64,
    "iou_head_hidden_dim": 16384,
    "local_conv_size": 255,
    "mask_input_channels": 4096,
    "mlp_dim": 65536,
    "num_attention_heads": 1024,
    "num_channels": 256,
    "num_hidden_layers": 512,
    "num_multimask_outputs": 64,
    "num_pos_feats": 8192,
    "output_channels": 16384,
    "patch_size": 4096,
    "stem_width": 16384,
    "vit_dim": 16384,
    "window_size": 1024,
}
_MOST_WEIGHTS = 4e9


class SamHQVisionConfig(PreTrainedConfig):
    """The plain ViT encoder of SAM (ViT-B by default; the Hub's ViT-L and ViT-H differ in width, depth and heads).

    Args:
        hidden_size: Width of the blocks, and of `intermediate_embeddings`.
        output_channels: Width of `image_embeddings` after the neck; the prompt encoder and mask decoder share it.
        num_hidden_layers: Number of blocks.
        num_attention_heads: Heads per block; divides `hidden_size`.
        num_channels: Colour channels of the input.
        image_size: Side of the square input in pixels; a multiple of `patch_size`.
        patch_size: Side of a patch in pixels.
        hidden_act: Activation of the blocks' MLPs.
        layer_norm_eps: Epsilon of every norm of the encoder, the neck's included.
        attention_dropout: Dropout of the attention weights in training.
        initializer_range: Standard deviation of randomly initialised weights.
        qkv_bias: Whether the joint projection to queries, keys and values has a bias.
        mlp_ratio: Width of the MLPs over `hidden_size`, where `mlp_dim` is not given.
        use_abs_pos: Whether a learned absolute position embedding is added to the patches.
        use_rel_pos: Whether attention scores get decomposed relative positions.
        window_size: Side, in patches, of the windows of the blocks that are not global.
        global_attn_indexes: Blocks that attend over the whole image; the first one's output feeds the HQ features.
        num_pos_feats: Number of random frequencies of the positional encoding: half of `output_channels`.
        mlp_dim: Width of the MLPs; follows `mlp_ratio` where it is None.

    Raises:
        ValueError: If two values contradict each other.
    """

    model_type = "sam_hq_vision_model"
    base_config_key = "vision_config"

    hidden_size: int = 768
    output_channels: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 1024
    patch_size: int = 16
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    qkv_bias: bool = True
    mlp_ratio: float = 4.0
    use_abs_pos: bool = True
    use_rel_pos: bool = True
    window_size: int = 14
    global_attn_indexes: Sequence[int] = (2, 5, 8, 11)
    num_pos_feats: int = 128
    mlp_dim: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        # Older files hold a width of this name that nothing reads; here it is a property.
        kwargs.pop("intermediate_size", None)
        if isinstance(self.global_attn_indexes, (str, bytes)) or not isinstance(self.global_attn_indexes, Sequence):
            raise ValueError(f"global_attn_indexes must be a list of blocks, but is {self.global_attn_indexes!r}")
        self.global_attn_indexes = list(self.global_attn_indexes)
        _require_at_most_largest(self)
        _require_ratio("mlp_ratio", self.mlp_ratio)
        if self.mlp_dim is None:
            self.mlp_dim = int(self.hidden_size * self.mlp_ratio)
        super().__post_init__(**kwargs)
        _require_at_most_largest(self)
        _require_positive(self, "num_hidden_layers", "num_channels", "output_channels", "num_pos_feats", "mlp_dim")
        _require_multiple("hidden_size", self.hidden_size, "num_attention_heads", self.num_attention_heads)
        _require_multiple("image_size", self.image_size, "patch_size", self.patch_size)
        if not self.global_attn_indexes:
            raise ValueError("global_attn_indexes is empty, but the first global block feeds the HQ features")
        blocks = range(self.num_hidden_layers)
        outside = [index for index in self.global_attn_indexes if not isinstance(index, int) or index not in blocks]
        if outside:
            raise ValueError(f"global_attn_indexes names {outside}, but num_hidden_layers is {self.num_hidden_layers}")
        if not isinstance(self.window_size, int) or self.window_size < 1:
            raise ValueError(f"window_size is {self.window_size!r}, but must be a whole number from 1")
        block = 4 * self.hidden_size**2 + 2 * self.hidden_size * self.mlp_dim
        patches = self.hidden_size * (self.num_channels * self.patch_size**2 + self.image_embedding_size**2)
        _require_few_weights(self, self.num_hidden_layers * block + patches + 9 * self.output_channels**2)

    @property
    def image_embedding_size(self) -> int:
        """Side of the grid of `image_embeddings`, in patches."""
        return self.image_size // self.patch_size

    @property
    def intermediate_size(self) -> int:
        """Width of `intermediate_embeddings[0]`."""
        return self.hidden_size


class _StagedVisionConfig:
    """What encoders with stages share: their grid is a sixteenth of `image_size`, by construction."""

    image_size: int
    model_type: ClassVar[str]

    @property
    def patch_size(self) -> int:
        """Pixels of the input per cell of `image_embeddings`, along one side: 16 by construction."""
        return 16

    @property
    def image_embedding_size(self) -> int:
        """Side of the grid of `image_embeddings`, in cells."""
        return self.image_size // self.patch_size

    def _take_stages(self, names: Sequence[str], count: int, others: dict[str, Any]) -> None:
        """Make lists of the values for each stage, and take the patch size, which files may state, from the others."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or len(value) != count:
                raise ValueError(f"{name} must hold one value for each of the {count} stages, but is {value!r}")
            setattr(self, name, list(value))
        stated = others.pop("patch_size", self.patch_size)
        if stated != self.patch_size:
            raise ValueError(f"patch_size is {stated}, but that of a {self.model_type!r} is {self.patch_size}")


class SamHQTinyVitConfig(_StagedVisionConfig, PreTrainedConfig):
    """The TinyViT encoder of Light HQ-SAM (the 5M TinyViT with its last downsampling kept at stride 1).

    The encoder's grid is a sixteenth of `image_size`. `num_attention_heads` and `window_size` are lists, one value per
    stage: the ViT configuration of other implementations rejects them, so that a TinyViT directory cannot be taken for
    a ViT.

    Args:
        hidden_sizes: Width of each of the four stages.
        depths: Number of blocks of each stage; the first stage is convolutional.
        num_attention_heads: Heads of each stage's attention (the first value is unused).
        window_size: Side of each stage's attention windows in grid cells (the first value is unused).
        mlp_ratio: Width of the MLPs over the stage's width.
        mbconv_expand_ratio: Expansion of the inverted bottlenecks of the first stage.
        local_conv_size: Side of the depthwise convolution between attention and MLP.
        image_size: Side of the square input in pixels; a multiple of 16.
        num_channels: Colour channels of the input.
        output_channels: Width of `image_embeddings` after the neck.
        num_pos_feats: Number of random frequencies of the positional encoding: half of `output_channels`.
        hidden_act: Activation throughout the encoder.
        layer_norm_eps: Epsilon of the blocks' norms.
        neck_layer_norm_eps: Epsilon of the neck's norms.
        initializer_range: Standard deviation of randomly initialised linear weights.

    Raises:
        ValueError: If two values contradict each other.
    """

    model_type = "sam_hq_tiny_vit"
    base_config_key = "vision_config"

    hidden_sizes: Sequence[int] = (64, 128, 160, 320)
    depths: Sequence[int] = (2, 2, 6, 2)
    num_attention_heads: Sequence[int] = (2, 4, 5, 10)
    window_size: Sequence[int] = (7, 7, 14, 7)
    mlp_ratio: float = 4.0
    mbconv_expand_ratio: float = 4.0
    local_conv_size: int = 3
    image_size: int = 1024
    num_channels: int = 3
    output_channels: int = 256
    num_pos_feats: int = 128
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    neck_layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        stages = ("hidden_sizes", "depths", "num_attention_heads", "window_size")
        self._take_stages(stages, 4, kwargs)
        _require_ratio("mlp_ratio", self.mlp_ratio)
        _require_ratio("mbconv_expand_ratio", self.mbconv_expand_ratio)
        super().__post_init__(**kwargs)
        _require_at_most_largest(self)
        _require_positive(self, *stages, "num_channels", "output_channels", "num_pos_feats", "local_conv_size")
        for stage in range(1, 4):
            width, heads = self.hidden_sizes[stage], self.num_attention_heads[stage]
            _require_multiple(f"hidden_sizes[{stage}]", width, f"num_attention_heads[{stage}]", heads)
        _require_multiple("image_size", self.image_size, "patch_size", self.patch_size)
        if self.local_conv_size % 2 == 0:
            raise ValueError(f"local_conv_size must be odd to keep the grid's size, but is {self.local_conv_size}")
        ratio = 4 + 2 * max(self.mlp_ratio, self.mbconv_expand_ratio)
        blocks = sum(depth * ratio * width**2 for depth, width in zip(self.depths, self.hidden_sizes, strict=True))
        _require_few_weights(self, int(blocks) + 9 * self.output_channels**2)

    @property
    def intermediate_size(self) -> int:
        """Width of `intermediate_embeddings[0]`: stage 1 after its downsampling."""
        return self.hidden_sizes[2]


class SamHQEfficientNetConfig(_StagedVisionConfig, PreTrainedConfig):
    """An EfficientNet-Lite encoder, for which there are ImageNet weights.

    The encoder's grid is a sixteenth of `image_size`. The defaults are those of lite0; lite1 has 1, 3, 3, 4, 4, 5, 1
    blocks, and lite2 with as many blocks has widths 16, 24, 48, 88, 120, 208, 352. `num_hidden_layers` is a list, one
    value per stage: the ViT configuration of other implementations rejects it, so that a directory of this encoder
    cannot be taken for a ViT.

    Args:
        hidden_sizes: Width of each of the seven stages.
        num_hidden_layers: Number of inverted bottlenecks of each stage.
        stem_width: Width of the convolution before the first stage.
        fusion_width: Width at which the maps of strides 16 and 32 are summed.
        fine_channels: Channels that the map of stride 4 is brought to for `intermediate_embeddings`.
        image_size: Side of the square input in pixels; a multiple of 32.
        num_channels: Colour channels of the input.
        output_channels: Width of `image_embeddings` after the neck.
        num_pos_feats: Number of random frequencies of the positional encoding: half of `output_channels`.
        hidden_act: Activation of stem and stages.
        batch_norm_eps: Epsilon of the batch norms of stem and stages.
        batch_norm_momentum: Share of a batch in their running statistics in training.
        neck_layer_norm_eps: Epsilon of the neck's norms.
        initializer_range: Standard deviation of randomly initialised weights.

    Raises:
        ValueError: If two values contradict each other.
    """

    model_type = "sam_hq_efficientnet"
    base_config_key = "vision_config"

    hidden_sizes: Sequence[int] = (16, 24, 40, 80, 112, 192, 320)
    num_hidden_layers: Sequence[int] = (1, 2, 2, 3, 3, 4, 1)
    stem_width: int = 32
    fusion_width: int = 160
    fine_channels: int = 8
    image_size: int = 512
    num_channels: int = 3
    output_channels: int = 256
    num_pos_feats: int = 128
    hidden_act: str = "relu6"
    batch_norm_eps: float = 1e-3
    batch_norm_momentum: float = 0.01
    neck_layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        stages = ("hidden_sizes", "num_hidden_layers")
        self._take_stages(stages, 7, kwargs)
        super().__post_init__(**kwargs)
        _require_at_most_largest(self)
        _require_positive(self, *stages, "stem_width", "fusion_width", "fine_channels", "num_channels")
        _require_positive(self, "output_channels", "num_pos_feats")
        _require_multiple("image_size", self.image_size, "the coarsest map's stride", 32)
        blocks = sum(
            12 * depth * width**2 for depth, width in zip(self.num_hidden_layers, self.hidden_sizes, strict=True)
        )
        _require_few_weights(self, blocks + 9 * self.output_channels**2)

    @property
    def intermediate_size(self) -> int:
        """Width of `intermediate_embeddings[0]`: 4 x 4 cells of stride 4 and 2 x 2 cells of stride 8."""
        return 16 * self.fine_channels + 4 * self.hidden_sizes[2]


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
        _require_at_most_largest(self)
        _require_multiple("image_size", self.image_size, "patch_size", self.patch_size)
        _require_multiple("mask_input_channels", self.mask_input_channels, "the two downsamplings", 4)
        if self.num_point_embeddings != 4:
            raise ValueError(
                f"num_point_embeddings is {self.num_point_embeddings}, but there are 4 kinds of points: background, "
                "foreground and the two corners of a box"
            )
        _require_positive(self, "hidden_size")
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
        _require_at_most_largest(self)
        _require_positive(self, "num_attention_heads", "attention_downsample_rate", "mlp_dim", "num_hidden_layers")
        _require_positive(self, "iou_head_hidden_dim")
        _require_multiple("hidden_size", self.hidden_size, "the two upscalings", 8)
        _require_multiple(
            "hidden_size",
            self.hidden_size,
            "attention_downsample_rate x num_attention_heads",
            self.attention_downsample_rate * self.num_attention_heads,
        )
        if self.iou_head_depth < 2:
            raise ValueError(f"iou_head_depth is {self.iou_head_depth}, but the head needs at least 2 layers")
        if self.num_multimask_outputs < 1:
            raise ValueError(f"num_multimask_outputs is {self.num_multimask_outputs}, but must be at least 1")
        layers = self.num_hidden_layers * (16 * self.hidden_size**2 + 2 * self.hidden_size * self.mlp_dim)
        _require_few_weights(self, layers + self.iou_head_depth * self.iou_head_hidden_dim**2)


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
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a configuration from the contents of a `config.json`.

        That of a directory that carries its code is taken too; the code is left aside.

        Args:
            config_dict: The file's fields.
            **kwargs: Fields to override, and `return_unused_kwargs`.

        Returns:
            The configuration, or with `return_unused_kwargs=True` the configuration and the unused fields.

        Raises:
            ValueError: If `model_type` is that of another kind of model.
        """
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type == TYPE_WITH_CODE != cls.model_type:
            left_out = ("model_type", "auto_map")
            config_dict = {name: value for name, value in config_dict.items() if name not in left_out}
        elif model_type != cls.model_type:
            raise ValueError(f"the configuration is that of a {model_type!r} model, but a {cls.model_type!r} is wanted")
        return super().from_dict(config_dict, **kwargs)


def _require_at_most_largest(config: PreTrainedConfig) -> None:
    for name, largest in _LARGEST.items():
        value = getattr(config, name, None)
        if value is None:
            continue
        one = type(config).__annotations__.get(name) in (int, int | None)
        for number in value if isinstance(value, list | tuple) and not one else [value]:
            if not isinstance(number, int):
                raise ValueError(f"{name} is {value!r}, but must be whole")
            if number > largest:
                raise ValueError(f"{name} is {value!r}, but must be at most {largest}")


def _require_few_weights(config: PreTrainedConfig, count: int) -> None:
    if count > _MOST_WEIGHTS:
        raise ValueError(
            f"{config.base_config_key} describes about {count:.1e} weights, but must be one of at most "
            f"{_MOST_WEIGHTS:.0e}"
        )


def _require_ratio(name: str, ratio: float) -> None:
    if not isinstance(ratio, int | float) or not 0 < ratio <= 64 or not math.isfinite(ratio):
        raise ValueError(f"{name} is {ratio!r}, but must be a number above 0 and at most 64")


def _require_positive(config: PreTrainedConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        numbers = value if isinstance(value, list) else [value]
        if any(not isinstance(number, int) or number < 1 for number in numbers):
            raise ValueError(f"{name} is {value!r}, but must be whole and at least 1")


def _require_multiple(name: str, value: int, divisor_name: str, divisor: int) -> None:
    if not isinstance(value, int) or not isinstance(divisor, int):
        raise ValueError(f"{name} is {value!r} and {divisor_name} is {divisor!r}, but both must be whole numbers")
    if divisor < 1 or value < 1 or value % divisor:
        raise ValueError(f"{name} is {value}, which is not a positive multiple of {divisor_name} = {divisor}")


def _vision_config(part: dict | PreTrainedConfig | None) -> AnyVisionConfig:
    if isinstance(part, AnyVisionConfig):
        return part
    fields = _fields("vision_config", part)
    model_type = fields.pop("model_type", None) or SamHQVisionConfig.model_type
    if model_type not in VISION_CONFIGS:
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
