"""The whole way from photo to mask, against the numbers of the authors' package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from parity.encoded_photos import EncodedPhotos
from parity.golden import Case, Golden, load_golden, photo_path
from parity.seeded_weights import seeded_state_dict
from sam_hq.hub.conversion import convert_weights, processor_for
from sam_hq.hub.variants import infer_config
from sam_hq.modeling_sam_hq import SamHQModel

VARIANTS = [
    "vit_tiny",
    "vit_b",
    pytest.param("vit_l", marks=pytest.mark.slow),
    pytest.param("vit_h", marks=pytest.mark.slow),
]


class Rig:
    """A model with seeded weights, its processor, the golden numbers, and what the encoder makes of each photo."""

    def __init__(self, variant: str, folder: Path):
        weights = {name: torch.from_numpy(value) for name, value in seeded_state_dict(variant).items()}
        found, config = infer_config(weights)
        assert found == variant
        state_dict, new_weights = convert_weights(weights, config)
        assert not new_weights
        del weights
        self.golden: Golden = load_golden(variant)
        self.model = SamHQModel.from_pretrained(None, config=config, state_dict=state_dict).eval()
        self.processor = processor_for(config)
        self.embeddings, encode = {}, EncodedPhotos(self.model, variant, folder)
        for photo in self.golden.photos:
            inputs = self.processor(Image.open(photo_path(photo.photo)), return_tensors="pt")
            self.embeddings[photo.photo] = encode(inputs["pixel_values"])

    def answer(self, case: Case, **options):
        """What the processor makes of a case's prompt, and what the model says to it on the cached embeddings."""
        prompts = {
            "input_points": None if case.points is None else [[case.points.tolist()]],
            "input_labels": None if case.labels is None else [[case.labels.tolist()]],
            "input_boxes": None if case.box is None else [[case.box.tolist()]],
            "input_masks": None if case.mask_prompt is None else [case.mask_prompt],
        }
        inputs = self.processor(Image.open(photo_path(case.photo)), return_tensors="pt", **prompts)
        del inputs["pixel_values"]
        image_embeddings, intermediate_embeddings = self.embeddings[case.photo]
        with torch.no_grad():
            outputs = self.model(
                **inputs,
                image_embeddings=image_embeddings,
                intermediate_embeddings=intermediate_embeddings,
                multimask_output=case.multimask_output,
                hq_token_only=case.hq_token_only,
                **options,
            )
        return inputs, outputs


@pytest.fixture(scope="module", params=VARIANTS)
def rig(request, folder_of_the_run):
    return Rig(request.param, folder_of_the_run)


def test_encoder(rig):
    for photo in rig.golden.photos:
        image_embeddings, intermediate_embeddings = rig.embeddings[photo.photo]
        assert photo.image_embeddings.difference(image_embeddings.numpy()) < 1e-4
        assert photo.intermediate_embeddings.difference(intermediate_embeddings[0].numpy()) < 1e-4


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_masks(rig, attn_implementation):
    rig.model.set_attn_implementation(attn_implementation)
    # The plain path is held to the fast one on small models, all of it; one case here says that it is the same model.
    cases = rig.golden.cases if attn_implementation == "sdpa" else rig.golden.cases[:1]
    assert cases
    for case in cases:
        inputs, outputs = rig.answer(case)
        logits = outputs.pred_masks[0, 0, 0]
        difference = (logits[case.rows, case.columns] - torch.from_numpy(case.low_res_logits)).abs().max().item()
        assert difference < 1e-4 * case.largest_logit, (case.photo, case.name)
        assert abs(outputs.iou_scores[0, 0, 0].item() - case.score) < 1e-4, (case.photo, case.name)
        masks = rig.processor.post_process_masks(
            outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        mask = masks[0][0, 0].numpy()
        overlap = np.logical_and(mask, case.mask).sum() / np.logical_or(mask, case.mask).sum()
        assert overlap >= 0.9995, (case.photo, case.name, overlap)


def test_candidates_are_those_of_the_authors(rig):
    """All candidates, not the first alone: scores sorted, and each mask the sum of its branch and the HQ token's."""
    case = next(case for case in rig.golden.cases if case.multimask_output and not case.hq_token_only)
    rig.model.set_attn_implementation("sdpa")
    _, outputs = rig.answer(case, output_branches=True)
    order = np.argsort(-case.all_scores[1:], kind="stable")
    np.testing.assert_allclose(outputs.iou_scores[0, 0].numpy(), case.all_scores[1:][order], atol=1e-4)
    scale = 1e-4 * np.abs(case.all_logits).max()
    sampled_sam = outputs.sam_masks[0, 0, :, ::16, ::16].numpy()
    np.testing.assert_allclose(sampled_sam, case.all_logits[1:4][order], atol=scale, rtol=0)
    np.testing.assert_allclose(outputs.hq_masks[0, 0, 0, ::16, ::16].numpy(), case.all_logits[4], atol=scale, rtol=0)
