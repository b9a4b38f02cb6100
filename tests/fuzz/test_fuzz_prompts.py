"""Prompts through the processor and the model: masks of the right shape, or a refusal that names the prompt."""

import numpy as np
import torch

from conftest import small_model
from fuzzing import NUMBERS, described, mutated, nested, outcome, recast, rounds
from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq.processing_sam_hq import SamHQProcessor

SIDE = 128
PROCESSOR = SamHQProcessor(
    SamHQImageProcessor(
        size={"longest_edge": SIDE},
        pad_size={"height": SIDE, "width": SIDE},
        mask_size={"longest_edge": 32},
        mask_pad_size={"height": 32, "width": 32},
    )
)
PROMPTS = {
    "input_points": [[[[3, 4], [5, 6]], [[7, 8]]], [[[1.5, 2]]]],
    "input_labels": [[[1, 0], [1]], [[-1]]],
    "input_boxes": [[[1, 2, 30, 40], [3, 3, 20, 20]], [[5, 5, 9, 9]]],
    "original_sizes": [[60, 80], [90, 50]],
}
NAMES = (*PROMPTS, "input_masks")


def check_inputs(inputs: dict) -> None:
    batch = len(inputs["original_sizes"])
    objects = inputs["valid_objects"].shape[1] if "valid_objects" in inputs else 0
    for name, tail in {"input_points": (None, 2), "input_labels": (None,), "input_boxes": (4,)}.items():
        if name in inputs:
            shape = inputs[name].shape
            assert shape[:2] == (batch, objects)
            assert all(want in (None, got) for want, got in zip(tail, shape[2:], strict=True))
            assert inputs[name].isfinite().all()


def test_nested_prompts_through_the_processor_and_the_model():
    model = small_model()
    embeddings = model.get_image_embeddings(torch.zeros(1, 3, SIDE, SIDE))
    image_embeddings, early = embeddings[0].detach(), [each.detach() for each in embeddings[1]]
    for rng in rounds(600):
        given = {name: PROMPTS[name] for name in NAMES[:4] if name == "original_sizes" or rng.random() < 0.6}
        for name in given:
            if rng.random() < 0.5:
                given[name] = mutated(rng, given[name])
            if rng.random() < 0.3:
                given[name] = recast(rng, given[name])
        if rng.random() < 0.03:
            given[rng.choice(NAMES[:4])] = rng.choice([nested(1000), nested(40), *NUMBERS])
        inputs = outcome(lambda given=given: PROCESSOR(**given), NAMES, described(given))
        if inputs is None:
            continue
        check_inputs(inputs)
        prompts = {name: inputs[name] for name in NAMES[:3] if name in inputs}
        batch = len(inputs["original_sizes"])
        if rng.random() < 0.1 and 0 < inputs.get("valid_objects", torch.zeros(1, 0)).shape[1] < 5 and batch < 4:
            with torch.no_grad():
                answer = outcome(
                    lambda prompts=prompts, batch=batch: model(
                        image_embeddings=image_embeddings.expand(batch, -1, -1, -1),
                        intermediate_embeddings=[each.expand(batch, -1, -1, -1) for each in early],
                        **prompts,
                    ),
                    NAMES,
                    described(prompts),
                )
            if answer is not None:
                assert answer.pred_masks.shape == (*inputs["valid_objects"].shape, 3, 32, 32)
                assert answer.pred_masks.isfinite().all()


def odd_tensor(rng, tensor: torch.Tensor) -> object:
    kind = rng.randrange(12)
    if kind < 5:
        flat = tensor.double()
        flat.view(-1)[rng.randrange(flat.numel())] = rng.choice([0, 1, -1, 100, -7, 6e4, 1e25, 1e39, np.nan, np.inf])
        return flat.to(rng.choice([torch.float32, torch.float64, torch.float16, torch.int64]))
    return [
        lambda: tensor.unsqueeze(0),
        lambda: tensor[0],
        lambda: tensor[:, :0],
        lambda: tensor.expand(*tensor.shape[:-1], tensor.shape[-1]).repeat_interleave(
            2, dim=rng.randrange(tensor.ndim)
        ),
        lambda: rng.choice([tensor.bool(), tensor.to(torch.complex64), tensor.to("meta"), tensor.to_sparse()]),
        lambda: tensor.numpy(),
        lambda: rng.choice(NUMBERS),
    ][kind - 5]()


def test_tensors_of_prompts_to_the_model():
    model = small_model()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        image_embeddings, early = model.get_image_embeddings(torch.rand(1, 3, SIDE, SIDE, generator=generator))
    valid = {
        "input_points": torch.rand(1, 2, 2, 2, generator=generator) * SIDE,
        "input_labels": torch.ones(1, 2, 2, dtype=torch.int64),
        "input_boxes": torch.tensor([[[3.0, 4.0, 60.0, 70.0], [5.0, 5.0, 20.0, 20.0]]]),
        "input_masks": torch.randn(1, 2, 32, 32, generator=generator),
    }
    for rng in rounds(150):
        given = {name: value for name, value in valid.items() if rng.random() < 0.6}
        if "input_points" not in given:
            given.pop("input_labels", None)
        for name in given:
            if rng.random() < 0.4:
                given[name] = odd_tensor(rng, given[name])
        with torch.no_grad():
            answer = outcome(
                lambda given=given: model(
                    image_embeddings=image_embeddings, intermediate_embeddings=list(early), **given
                ),
                tuple(valid),
                described(given),
            )
        if answer is not None:
            assert answer.pred_masks.ndim == 5
            assert answer.pred_masks.shape[0] == 1
            assert answer.pred_masks.shape[2:] == (3, 32, 32)
            assert answer.pred_masks.isfinite().all(), described(given)
