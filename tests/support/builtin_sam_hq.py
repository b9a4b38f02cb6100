"""The class built into transformers, as a peer for tests: as it is, and with its faults mended in memory."""

import torch

# Imported when the tests are collected, before any of them can call `sam_hq.replace_builtin()`.
from transformers.models.sam_hq.configuration_sam_hq import SamHQConfig as BuiltinConfig
from transformers.models.sam_hq.modeling_sam_hq import SamHQModel as BuiltinModel
from transformers.models.sam_hq.modeling_sam_hq import SamHQVisionModel as BuiltinVisionModel

from sam_hq.modeling_sam_hq import SamHQModel

DECODER_NORM_EPS = 1e-5


def builtin_config(model: SamHQModel) -> BuiltinConfig:
    """The built-in configuration that says what `model`'s says."""
    fields = model.config.to_dict()
    for name in ("architectures", "dtype", "transformers_version"):
        fields.pop(name, None)
    return BuiltinConfig(**fields)


def builtin_of(model: SamHQModel, attn_implementation: str = "eager") -> BuiltinModel:
    """The built-in model with the weights of `model`, faults and all."""
    builtin = BuiltinModel._from_config(builtin_config(model), attn_implementation=attn_implementation)
    state_dict = model.state_dict()
    shared = "positional_embedding"
    state_dict[f"prompt_encoder.shared_embedding.{shared}"] = state_dict[f"shared_image_embedding.{shared}"]
    builtin.load_state_dict(state_dict, strict=True)
    return builtin.eval()


def mend(builtin: BuiltinModel) -> BuiltinModel:
    """Let the decoder upscale what its transformer returns for the image, and use the authors' norm epsilon.

    The built-in decoder upscales the image embeddings that went *into* the transformer, rows and columns swapped.
    """
    decoder = builtin.mask_decoder
    returned = []
    decoder.transformer.register_forward_hook(lambda module, inputs, outputs: returned.append(outputs[1]))

    def right_input(module, inputs):
        pixels = returned.pop()  # (B, P, h*w, C) or (B*P, 1, h*w, C)
        (given,) = inputs
        height, width = given.shape[-2:]
        return (pixels.reshape(given.shape[0], height * width, -1).transpose(1, 2).unflatten(2, (height, width)),)

    decoder.upscale_conv1.register_forward_pre_hook(right_input)
    for module in decoder.transformer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = DECODER_NORM_EPS
    return builtin


def mended_builtin_of(model: SamHQModel) -> BuiltinModel:
    """The built-in model with the weights of `model` and without its faults."""
    return mend(builtin_of(model))


__all__ = ["BuiltinConfig", "BuiltinModel", "BuiltinVisionModel", "builtin_of", "mend", "mended_builtin_of"]
