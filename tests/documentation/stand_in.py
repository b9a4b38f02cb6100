"""A small model that stands for a trained one: about one point in thirty gives a mask that passes the filters."""

import torch
from PIL import Image

import sam_hq
from conftest import PHOTOS, small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq.hub.key_map import authors_name


def stand_in_model() -> sam_hq.SamHQModel:
    """The model: its masks are noise, but with sharp edges, and its scores spread."""
    model = small_model("vit")
    processor = processor_for(model.config)
    inputs = processor(Image.open(PHOTOS / "kingfisher.png"), return_tensors="pt")
    points = torch.rand(1, 60, 1, 2, generator=torch.Generator().manual_seed(0)) * 72
    with torch.no_grad():
        for parameter in model.mask_decoder.iou_prediction_head.parameters():
            parameter.mul_(4)
        for mlp in (*model.mask_decoder.output_hypernetworks_mlps, model.mask_decoder.hq_mask_mlp):
            for parameter in mlp.proj_out.parameters():
                parameter.mul_(10_000)
        best = model(pixel_values=inputs["pixel_values"], input_points=points).iou_scores[..., 0].flatten()
        model.mask_decoder.iou_prediction_head.proj_out.bias += 0.9 - best.sort(descending=True).values[2]
    return model


def authors_weights() -> dict[str, torch.Tensor]:
    """A small model's weights by the authors' names."""
    config = small_config("vit")
    config.mask_decoder_config.num_attention_heads = 8
    torch.manual_seed(0)
    return {authors_name(name): value for name, value in sam_hq.SamHQModel(config).state_dict().items()}
