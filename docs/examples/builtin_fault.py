"""Is the SamHQModel built into the transformers that is installed here faulty?

    python docs/examples/builtin_fault.py

Its mask decoder must read the masks off what the two-way transformer makes of the image. So: make noise of that, and
see whether the masks change. Needs no checkpoint.
"""

import warnings

import torch
import transformers
from transformers.models.sam_hq.configuration_sam_hq import SamHQConfig, SamHQVisionConfig
from transformers.models.sam_hq.modeling_sam_hq import SamHQModel

import sam_hq

VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "global_attn_indexes": [1],
    "window_size": 4,
    "image_size": 128,
    "output_channels": 32,
    "num_pos_feats": 16,
}
PARTS = {
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 128},
    "mask_decoder_config": {"hidden_size": 32, "vit_dim": 32, "mlp_dim": 64, "num_attention_heads": 2},
}


def change_of_masks(model: torch.nn.Module) -> float:
    """How far the masks move when the image features of the two-way transformer become noise, over their spread."""

    def noise(_module, _inputs, outputs):
        return (outputs[0], torch.randn_like(outputs[1]), *outputs[2:])

    torch.manual_seed(0)
    for parameter in model.eval().parameters():  # randomly initialised weights are near zero
        torch.nn.init.normal_(parameter, std=0.2)
    prompt = {"pixel_values": torch.randn(1, 3, 128, 128), "input_boxes": torch.tensor([[[20.0, 30, 90, 100]]])}
    with torch.no_grad():
        before = model(**prompt).pred_masks
        model.mask_decoder.transformer.register_forward_hook(noise)
        after = model(**prompt).pred_masks
    return ((after - before).abs().max() / before.std()).item()


def main() -> bool:
    """Prints what happens to the masks of both classes; returns whether the built-in class is faulty."""
    ours = sam_hq.SamHQModel(sam_hq.SamHQConfig(vision_config=dict(VISION), **PARTS))
    ours.set_attn_implementation("eager")  # the plain path, in which the transformer is one module
    with warnings.catch_warnings():  # that it is the faulty class, which is what we are here to see
        warnings.filterwarnings("ignore", message="this is transformers' built-in SamHQModel")
        builtin = SamHQModel(SamHQConfig(vision_config=SamHQVisionConfig(**VISION).to_dict(), **PARTS))
    faulty = change_of_masks(builtin) == 0
    print(f"sam_hq {sam_hq.__version__}: masks change by {change_of_masks(ours):.2f} standard deviations")
    print(f"transformers {transformers.__version__}: ", end="")
    print("masks do not change at all, the class is faulty" if faulty else "masks change, the class is right")
    return faulty


if __name__ == "__main__":
    main()
