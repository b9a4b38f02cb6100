import string

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTokenizer, OwlViTConfig, OwlViTForObjectDetection, pipeline
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil

from conftest import PHOTOS, REPOSITORY, small_config, small_model
from sam_hq.hub.conversion import processor_for

EXAMPLE = REPOSITORY / "docs" / "examples" / "text_prompts.py"


@pytest.fixture(scope="module")
def example():
    namespace = {"__name__": "text_prompts"}
    exec(compile(EXAMPLE.read_text(), str(EXAMPLE), "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def detector():
    """A zero-shot detector of transformers with random weights, which knows single letters."""
    torch.manual_seed(0)
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    vocabulary = {token: index for index, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text_config = {
        **sizes, "vocab_size": len(vocabulary), "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53,
        "max_position_embeddings": 16,
    }  # fmt: skip
    config = OwlViTConfig(
        text_config=text_config, vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=16
    )
    return pipeline(
        "zero-shot-object-detection",
        model=OwlViTForObjectDetection(config).eval(),
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[]),
        image_processor=OwlViTImageProcessorPil(size={"height": 32, "width": 32}),
        device="cpu",
    )


def test_every_detection_gets_the_mask_of_its_box(example, detector):
    photo = Image.open(PHOTOS / "koala.jpg").convert("RGB").resize((160, 100))
    model, processor = small_model("vit"), processor_for(small_config("vit"))
    found = example["segment_texts"](photo, ["a cat", "a dog"], detector, model, processor, 0.0, objects_at_once=3)
    detections = detector(photo, candidate_labels=["a cat", "a dog"], threshold=0.0)
    assert [(each["label"], each["score"]) for each in found] == [(each["label"], each["score"]) for each in detections]
    assert len(found) > 3
    for each in found:
        x0, y0, x1, y1 = each["box"]
        assert 0 <= x0 <= x1 <= 160
        assert 0 <= y0 <= y1 <= 100
        inputs = processor(photo, input_boxes=[[each["box"]]], return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs, multimask_output=False)
        (mask,) = processor.post_process_masks(
            outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        assert (mask[0, 0].numpy() != each["mask"]).mean() < 1e-3
        assert each["predicted_iou"] == pytest.approx(outputs.iou_scores.item(), abs=1e-4)


def test_nothing_found_gives_no_masks(example, detector):
    photo = Image.fromarray(np.zeros((60, 80, 3), np.uint8))
    assert example["segment_texts"](photo, ["a cat"], detector, small_model("vit"), None, threshold=2.0) == []
