"""Configurations of the three vision encoders.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3; "TinyViT" (arXiv 2207.10666) and "EfficientNet"
(arXiv 1905.11946) for the light encoders.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .configuration_checks import (
    require_at_most_largest,
    require_few_weights,
    require_multiple,
    require_positive,
    require_ratio,
)


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
        require_at_most_largest(self)
        require_ratio("mlp_ratio", self.mlp_ratio)
        if self.mlp_dim is None:
            self.mlp_dim = int(self.hidden_size * self.mlp_ratio)
        super().__post_init__(**kwargs)
        require_at_most_largest(self)
        require_positive(self, "num_hidden_layers", "num_channels", "output_channels", "num_pos_feats", "mlp_dim")
        require_multiple("hidden_size", self.hidden_size, "num_attention_heads", self.num_attention_heads)
        require_multiple("image_size", self.image_size, "patch_size", self.patch_size)
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
        require_few_weights(self, self.num_hidden_layers * block + patches + 9 * self.output_channels**2)

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
        require_ratio("mlp_ratio", self.mlp_ratio)
        require_ratio("mbconv_expand_ratio", self.mbconv_expand_ratio)
        super().__post_init__(**kwargs)
        require_at_most_largest(self)
        require_positive(self, *stages, "num_channels", "output_channels", "num_pos_feats", "local_conv_size")
        for stage in range(1, 4):
            width, heads = self.hidden_sizes[stage], self.num_attention_heads[stage]
            require_multiple(f"hidden_sizes[{stage}]", width, f"num_attention_heads[{stage}]", heads)
        require_multiple("image_size", self.image_size, "patch_size", self.patch_size)
        if self.local_conv_size % 2 == 0:
            raise ValueError(f"local_conv_size must be odd to keep the grid's size, but is {self.local_conv_size}")
        ratio = 4 + 2 * max(self.mlp_ratio, self.mbconv_expand_ratio)
        blocks = sum(depth * ratio * width**2 for depth, width in zip(self.depths, self.hidden_sizes, strict=True))
        require_few_weights(self, int(blocks) + 9 * self.output_channels**2)

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
        fine_channels: Channels that the map of stride 4 is projected to for `intermediate_embeddings`.
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
        require_at_most_largest(self)
        require_positive(self, *stages, "stem_width", "fusion_width", "fine_channels", "num_channels")
        require_positive(self, "output_channels", "num_pos_feats")
        require_multiple("image_size", self.image_size, "the coarsest map's stride", 32)
        blocks = sum(
            12 * depth * width**2 for depth, width in zip(self.num_hidden_layers, self.hidden_sizes, strict=True)
        )
        require_few_weights(self, blocks + 9 * self.output_channels**2)

    @property
    def intermediate_size(self) -> int:
        """Width of `intermediate_embeddings[0]`: 4 x 4 cells of stride 4 and 2 x 2 cells of stride 8."""
        return 16 * self.fine_channels + 4 * self.hidden_sizes[2]


__all__ = ["SamHQEfficientNetConfig", "SamHQTinyVitConfig", "SamHQVisionConfig"]
