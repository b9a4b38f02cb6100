"""What the models have in common: loading, saving, new weights, and the ways of computing the same."""

import json
import pickle
import warnings
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, initialization
from transformers.activations import ACT2FN

from .configuration_sam_hq import SamHQConfig
from .model.cpu_encoder import encode, encodes
from .model.fast_path import may_run
from .model.forward_validation import check_flags, check_pixel_values
from .model.loaded_weights import check_is_no_file, check_stored_dtypes, check_values
from .model.outputs import SamHQVisionEncoderOutput
from .model.prompt_encoder import SamHQPositionalEmbedding
from .model.vision_efficientnet import SamHQEfficientNetEncoder
from .model.vision_tiny_vit import SamHQTinyVitEncoder, TinyVitAttention
from .model.vision_vit import SamHQVisionAttention, SamHQVisionEncoder

_DAMAGED = (SafetensorError, json.JSONDecodeError, pickle.UnpicklingError, EOFError, KeyError, RuntimeError)


class SamHQPreTrainedModel(PreTrainedModel):
    """What the models have in common: loading, saving, new weights, and the ways of computing the same.

    `attn_implementation` chooses the attention: "sdpa", the default, or "eager", which keeps the weights. On a CPU, in
    inference, an engine with the same results answers for the modules, see `set_fast_path`.
    """

    config_class: Any = SamHQConfig
    base_model_prefix = "sam_hq"
    main_input_name = "pixel_values"
    input_modalities = "image"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = [  # noqa: RUF012 (the name and type are transformers')
        "SamHQVisionLayer",
        "TinyVitMBConv",
        "TinyVitLayer",
        "EfficientNetBlock",
        "SamHQTwoWayAttentionBlock",
    ]
    # Other implementations store a second copy of the one positional encoding.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"prompt_encoder\.shared_embedding\.positional_embedding"
    ]
    _keep_in_fp32_modules_strict = ["shared_image_embedding"]  # noqa: RUF012

    def __init__(self, config: Any, *inputs: Any, **kwargs: Any):
        if not isinstance(config, self.config_class):
            got = config.__name__ if isinstance(config, type) else type(config).__name__
            raise TypeError(f"config must be an instance of {self.config_class.__name__}, got {got}")
        for part in (config, *(getattr(config, name) for name in config.sub_configs)):
            name = getattr(part, "hidden_act", None)
            if name is not None and name not in ACT2FN:
                raise ValueError(f"hidden_act must be the name of an activation of transformers, got {name!r}")
        super().__init__(config, *inputs, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Load a model as transformers does, and see to it that its weights are whole.

        Args:
            pretrained_model_name_or_path: A directory, or a name on the Hub.
            *model_args: As in transformers.
            **kwargs: As in transformers.

        Returns:
            The model; with `output_loading_info` also what was missing, unexpected or misshapen.

        Raises:
            OSError: If there is no such model, or a file of it is missing.
            ValueError: If the name is a file's, a file is damaged, or a weight is NaN, infinite, or stored as no
                floating point numbers.
            RuntimeError: If a weight has another shape than the configuration says.
        """
        place = str(pretrained_model_name_or_path)
        check_is_no_file(place)
        try:
            loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        except _DAMAGED as error:
            # Misshapen weights and exhausted memory are RuntimeErrors too, and no damage.
            if isinstance(error, RuntimeError) and "PytorchStreamReader" not in str(error):
                raise
            raise ValueError(f"cannot load the weights of {place!r}: {type(error).__name__}: {error}") from error
        check_values(loaded[0] if isinstance(loaded, tuple) else loaded, place)
        return loaded

    @classmethod
    def _load_pretrained_model(
        cls, model: Any, state_dict: Any, checkpoint_files: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """As transformers', which casts whatever numbers it finds: 8 bits without their scale would become weights."""
        loaded = super()._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)
        if getattr(model.config, "quantization_config", None) is None:
            check_stored_dtypes(model, state_dict, checkpoint_files)
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding):
            # Tokens as large as the positional encodings that they are added to.
            initialization.normal_(module.weight)
        elif isinstance(module, SamHQPositionalEmbedding):
            initialization.normal_(module.positional_embedding)
        elif isinstance(module, TinyVitAttention):
            initialization.zeros_(module.attention_biases)
        elif isinstance(module, SamHQVisionAttention) and module.config.use_rel_pos:
            initialization.zeros_(module.rel_pos_h)
            initialization.zeros_(module.rel_pos_w)
        elif isinstance(module, SamHQVisionEncoder) and module.pos_embed is not None:
            initialization.zeros_(module.pos_embed)

    def train(self, mode: bool = True) -> "SamHQPreTrainedModel":
        """Set the mode; batch norms whose weights are frozen keep their statistics, as they are frozen too.

        Args:
            mode: Whether the model trains.

        Returns:
            Itself.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not any(weight.requires_grad for weight in module.parameters()):
                module.eval()
        return self

    def set_attn_implementation(
        self,
        attn_implementation: str | dict,
        allow_all_kernels: bool = False,  # noqa: ARG002
    ) -> None:
        """Choose the attention; takes effect at the next call.

        Args:
            attn_implementation: "eager" or "sdpa"; or a dictionary from the name of a sub-configuration to one of them.
            allow_all_kernels: Has no effect: there are no other kernels.

        Raises:
            ValueError: If it is anything else.
        """
        wanted = [attn_implementation]
        if isinstance(attn_implementation, dict):
            unknown = set(attn_implementation) - {"", *self.config.sub_configs}
            if unknown:
                raise ValueError(
                    f"attn_implementation names {sorted(unknown)}, the parts are {[*self.config.sub_configs]}"
                )
            wanted = list(attn_implementation.values())
        for implementation in wanted:
            if implementation not in ("eager", "sdpa"):
                # The first half is transformers' own wording, which its users and tests look for.
                raise ValueError(
                    f'Specified `attn_implementation="{implementation}"` is not supported: it must be "eager" or "sdpa"'
                )
        self.config._attn_implementation = attn_implementation

    def set_fast_path(self, enabled: bool) -> None:
        """Allow or forbid the CPU engine; takes effect at the next call.

        In inference on a CPU an engine gives the results of the modules in less time, without calling each of them. It
        steps back by itself under autograd and autocast, while a graph is compiled or exported, with the "eager"
        attention, and where a layer is not as it was built: hooks, adapters, quantised or offloaded weights. The
        setting is saved as `config.cpu_fast_path`.

        Args:
            enabled: Whether the engine may run.

        Raises:
            TypeError: If it is no flag.
        """
        check_flags(enabled=enabled)
        self.config.cpu_fast_path = bool(enabled)

    def takes_fast_path(self, part: nn.Module) -> bool:
        """Whether the CPU engine would answer now for the vision encoder or the mask decoder.

        Args:
            part: One of the two.
        """
        return getattr(self.config, "cpu_fast_path", True) and may_run(part)

    def _flags(
        self, output_attentions: bool | None, output_hidden_states: bool | None, return_dict: bool | None
    ) -> tuple[bool, bool, bool]:
        """What is returned, by the call or else by the configuration."""
        asked = {
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
            "return_dict": return_dict,
        }
        check_flags(**{name: flag for name, flag in asked.items() if flag is not None})
        if output_attentions is None:
            output_attentions = bool(self.config.output_attentions)
        parts = [self.config, *(getattr(self.config, name) for name in self.config.sub_configs)]
        fused = [part._attn_implementation for part in parts if part._attn_implementation != "eager"]
        if output_attentions and fused:
            if not torch.compiler.is_compiling():
                warnings.warn(
                    f"output_attentions=True has no effect with attn_implementation={fused[0]!r}, which keeps none: "
                    "the attentions are None; call model.set_attn_implementation('eager') first",
                    stacklevel=4,
                )
            output_attentions = False
        if output_hidden_states is None:
            output_hidden_states = bool(self.config.output_hidden_states)
        if return_dict is None:
            return_dict = bool(self.config.return_dict)
        return output_attentions, output_hidden_states, return_dict

    def _encode(
        self, pixel_values: torch.Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> SamHQVisionEncoderOutput:
        encoder = cast("SamHQVisionEncoder | SamHQTinyVitEncoder | SamHQEfficientNetEncoder", self.vision_encoder)
        check_pixel_values(pixel_values, encoder.config)
        if encodes(encoder) and not output_attentions and self.takes_fast_path(encoder):
            return encode(encoder, pixel_values, output_hidden_states)
        return encoder(pixel_values, output_hidden_states, output_attentions)
