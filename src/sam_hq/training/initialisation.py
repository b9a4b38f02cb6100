"""Starting values for training from scratch; the model's own suit loading and fine-tuning."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..model.two_way_transformer import SamHQAttention, SamHQTwoWayTransformer
from ..modeling_sam_hq import SamHQModel
from .objectives import decode_branches, training_loss

LOCALITY_GAIN = 1.4
FREQUENCY_RANGE = (0.1, 1.5)
SIDE_FREQUENCIES = 8
SIDE_GAIN = 2.9


@torch.no_grad()
def start_from_scratch(model: SamHQModel, seed: int = 0) -> SamHQModel:
    """Draw new weights such that a short training gets going at once.

    With the model's own starting values a small network first learns to predict nothing at all, and stays there for
    hundreds of updates, because the prompts hardly reach the masks. Here

    * layers start at the scale of their fan-in, learned tokens at that of the positional encodings,
    * positions are encoded by frequencies of every scale rather than of one, some of them along x or y alone,
    * attentions start as comparisons of positions (equal projections of queries and keys) that hand on what they attend
      to unchanged (the output projection undoes the values'),
    * the pixels' attention to the tokens starts by asking on which side of a token a pixel lies. Both corners' answers
      together are the inside of a box, which otherwise takes most of a short training to find.

    Args:
        model: A new model; its weights are overwritten.
        seed: Seed of the weights.

    Returns:
        The model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                module.reset_parameters()
        _compare_positions(model.mask_decoder.transformer)
        frequencies = model.shared_image_embedding.positional_embedding
        lowest, highest = (math.log(frequency) for frequency in FREQUENCY_RANGE)
        scales = torch.exp(torch.linspace(lowest, highest, frequencies.shape[1]))
        frequencies.copy_(nn.functional.normalize(torch.randn_like(frequencies), dim=0) * scales)
        _tell_sides(model)
    return model


def _tell_sides(model: SamHQModel) -> None:
    """Let pixels tell whether they lie right of, below, left of or above a token, in one head each.

    sin w(x - x0) = sin wx cos wx0 - cos wx sin wx0 is a product of two positional encodings, and over odd multiples of
    a slow frequency the sum of sin(w d) / w is a step at d = 0.
    """
    frequencies = model.shared_image_embedding.positional_embedding
    half, decoder = frequencies.shape[1], model.mask_decoder
    head_dim = decoder.transformer.final_attn_token_to_image.head_dim
    count = min(SIDE_FREQUENCIES, head_dim // 2, half // 2)
    odd = 2 * torch.arange(count) + 1.0
    for axis in range(2):
        columns = slice(axis * count, (axis + 1) * count)
        frequencies[:, columns] = 0
        frequencies[axis, columns] = odd / 4
    reserved = torch.cat([torch.arange(2 * count), half + torch.arange(2 * count)])
    learned = (decoder.iou_token, decoder.mask_tokens, decoder.hq_token)
    encoder = model.prompt_encoder
    for embedding in (*learned, *encoder.point_embed, encoder.not_a_point_embed, encoder.no_mask_embed):
        embedding.weight[:, reserved] = 0  # positions are read undisturbed
    model.vision_encoder.neck.layer_norm2.weight[reserved] = 0
    place = torch.arange(count)
    for attention in _image_to_token(decoder.transformer):
        query, key = attention.q_proj.weight, attention.k_proj.weight
        query.zero_()
        key.zero_()
        attention.out_proj.weight[reserved] = 0
        weight = SIDE_GAIN / odd.sqrt()
        for head in range(attention.num_attention_heads):
            sign, sines = 1.0 if head % 4 < 2 else -1.0, (head % 2) * count + place
            row = head * head_dim + place
            query[row, sines], key[row, half + sines] = sign * weight, weight
            query[row + count, half + sines], key[row + count, sines] = -sign * weight, weight


def _image_to_token(transformer: SamHQTwoWayTransformer) -> list[SamHQAttention]:
    named = transformer.named_modules()
    return [module for name, module in named if name.endswith("image_to_token") and isinstance(module, SamHQAttention)]


def _compare_positions(transformer: SamHQTwoWayTransformer) -> None:
    for attention in transformer.modules():
        if not isinstance(attention, SamHQAttention):
            continue
        across = attention.q_proj.out_features < attention.q_proj.in_features
        nn.init.orthogonal_(attention.q_proj.weight, gain=LOCALITY_GAIN if across else 1.0)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        nn.init.orthogonal_(attention.v_proj.weight)
        attention.out_proj.weight.copy_(attention.v_proj.weight.t())
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            nn.init.zeros_(projection.bias)


def learn_to_fill_boxes(
    model: SamHQModel,
    steps: int = 300,
    batch_size: int = 4,
    objects: int = 6,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> list[float]:
    """Teach a new decoder what a box is, on random image embeddings, before it sees images.

    The mask of a box prompt is the filled box: a floor of about 0.47 mIoU on photos, from which the encoder's
    training starts instead of from empty masks. It takes a minute on one core for a small decoder.

    Args:
        model: A model from `start_from_scratch`; its prompt encoder and decoder are trained.
        steps: Updates.
        batch_size: Random embeddings per update.
        objects: Boxes on each.
        learning_rate: Peak of the learning rate.
        seed: Seed of embeddings and boxes.

    Returns:
        The IoU of every update.
    """
    vision = model.config.vision_config
    side, grid, width = vision.image_size, vision.image_embedding_size, vision.output_channels
    trained = [*model.prompt_encoder.parameters(), *model.mask_decoder.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    ious = []
    for step in range(steps):
        boxes = _random_boxes(batch_size * objects, side, generator)
        embeddings = torch.randn(batch_size, width, grid, grid, dtype=torch.float32, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 15, (steps - step) / (0.3 * steps))
        outputs = decode_branches(model, embeddings, None, {"input_boxes": boxes.view(batch_size, objects, 4)})
        loss, parts = training_loss(outputs, _filled(boxes, 4 * grid, side), num_points=400)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        ious.append(parts["iou_single"])
    return ious


def _random_boxes(count: int, side: int, generator: torch.Generator) -> torch.Tensor:
    extent = side * torch.exp(
        torch.rand(count, 2, dtype=torch.float32, generator=generator) * math.log(8) - math.log(8)
    )
    corner = torch.rand(count, 2, dtype=torch.float32, generator=generator) * (side - extent)
    return torch.cat([corner, corner + extent], dim=1)


def _filled(boxes: torch.Tensor, size: int, side: int) -> torch.Tensor:
    """Labels (N, size, size) of boxes (N, 4) in a frame of `side` pixels."""
    centres = (torch.arange(size, dtype=torch.float32, device=boxes.device) + 0.5) * side / size
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    columns, rows = (centres >= x0) & (centres < x1), (centres >= y0) & (centres < y1)
    return (rows[:, :, None] & columns[:, None, :]).long()
