"""The blocks of the export page that need exported graphs, run as printed."""

import json

import numpy as np
import onnxruntime
import pytest
from markdown_blocks import blocks, command_lines, run_command
from PIL import Image

from conftest import PHOTOS, REPOSITORY
from exported_models import model_and_processor
from sam_hq.export.sam_layout import DECODER_FILE, DECODER_INPUTS, DECODER_OUTPUTS, ENCODER_FILE
from sam_hq.segment_anything import SamPredictor
from sam_hq_onnx import OnnxSamHQ

PHOTO, BOX = "docs/photos/kingfisher.png", [[[288, 57, 640, 510]]]


@pytest.fixture
def clone(exports, tmp_path, monkeypatch):
    """A folder with the photos of a clone, and a small model's graphs where the page has them."""
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs", target_is_directory=True)
    (tmp_path / "exported").symlink_to(exports("tiny_vit").directory, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(word: str, language: str) -> str:
    """The block of the page that holds a word."""
    (code,) = (
        block.code
        for block in blocks(REPOSITORY / "docs" / "export.md")
        if word in block.code and block.language == language
    )
    return code


def test_the_runner_runs_as_printed(clone):
    names: dict = {}
    exec(printed("OnnxSamHQ", "python").replace("points_per_crop=16", "points_per_crop=2"), names)
    assert names["found"].masks.shape == (1, 3, 576, 1024)


def test_openvino_as_printed_gives_the_mask_of_the_runner(clone):
    names: dict = {}
    exec(printed("openvino", "python"), names)
    (found,) = OnnxSamHQ("exported", providers="cpu").segment(PHOTO, input_boxes=BOX, multimask_output=False)
    wanted = found.masks[0, 0]
    assert names["mask"].shape == wanted.shape
    assert 0 < wanted.sum() < wanted.size
    assert np.count_nonzero(names["mask"] != wanted) < 0.01 * wanted.size


def test_the_command_runs_as_printed(clone):
    line = next(line for line in command_lines(printed("--model exported", "bash")) if "segment" in line)
    run_command(line)
    assert (clone / "overlay.png").exists()


def test_labelling_tools_get_what_the_predictor_answers(tmp_path, monkeypatch):
    """The command, and the calls of a tool that knows numpy and onnxruntime alone."""
    monkeypatch.chdir(tmp_path)
    (line,) = command_lines(printed("--layout segment-anything", "bash"))
    run_command(line)
    model, processor = model_and_processor("embedded")
    image_side, mask_side = model.config.vision_config.image_size, model.config.prompt_encoder_config.mask_input_size
    encoder, decoder = (
        onnxruntime.InferenceSession(f"exported-for-labelling/{name}") for name in (ENCODER_FILE, DECODER_FILE)
    )
    assert tuple(each.name for each in decoder.get_inputs()) == DECODER_INPUTS
    assert tuple(each.name for each in decoder.get_outputs()) == DECODER_OUTPUTS
    assert json.loads(decoder.get_modelmeta().custom_metadata_map["image_size"]) == image_side
    predictor = SamPredictor(model)
    for size in ((150, 100), (97, 161)):
        image = np.array(Image.open(PHOTOS / "kitten.jpg").resize(size))
        predictor.set_image(image)
        image_embeddings, early = encoder.run(None, {"input_image": processor(image)["pixel_values"].numpy()})
        low_res = np.zeros((1, 1, mask_side, mask_side), np.float32)
        for points, labels in (([[40, 30], [0, 0]], [1, -1]), ([[10, 20], [90, 80]], [2, 3])):
            at = predictor.transform.apply_coords(np.array(points), image.shape[:2]).astype(np.float32)
            masks, scores, found = decoder.run(
                None,
                {
                    "image_embeddings": image_embeddings,
                    "interm_embeddings": early,
                    "point_coords": at[None],
                    "point_labels": np.array([labels], np.float32),
                    "mask_input": low_res,
                    "has_mask_input": np.array([float(low_res.any())], np.float32),
                    "orig_im_size": np.array(image.shape[:2], np.float32),
                },
            )
            shown = (
                {"box": np.array(points).reshape(4)}
                if 2 in labels
                else {"point_coords": np.array(points[:1]), "point_labels": np.array([1])}
            )
            mask_input = low_res[0] if low_res.any() else None
            wanted = predictor.predict(**shown, mask_input=mask_input, multimask_output=False, return_logits=True)
            for ours, theirs in zip((masks[0], scores[0], found[0]), wanted, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * max(1, np.abs(theirs).max()))
            low_res = found
