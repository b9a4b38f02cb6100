import json

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PHOTOS
from exported_models import model_and_processor
from parity.client_calls import PHOTO
from parity.golden import FOLDER, photo_path
from parity.seeded_weights import seeded_state_dict
from sam_hq.export.sam_layout import DECODER_FILE, DECODER_INPUTS, DECODER_OUTPUTS, ENCODER_FILE, SamDecoderGraph
from sam_hq.hub.conversion import convert_weights, infer_config, processor_for
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.segment_anything import SamPredictor
from sam_hq_cli.main import main


def test_the_decoder_answers_as_the_authors_graph():
    """Their `SamOnnxModel` on the same photo, with a point and a box."""
    weights = {name: torch.from_numpy(value) for name, value in seeded_state_dict("vit_tiny").items()}
    _, config = infer_config(weights)
    model = SamHQModel.from_pretrained(None, config=config, state_dict=convert_weights(weights, config)[0]).eval()
    photo = Image.open(photo_path(PHOTO)).convert("RGB")
    inputs = processor_for(config)(photo)
    with np.load(FOLDER / "clients_vit_tiny.npz") as golden, torch.no_grad():
        image_embeddings, early = model.get_image_embeddings(inputs["pixel_values"])
        for multimask in (False, True):
            masks, scores, low_res = SamDecoderGraph(model, multimask)(
                image_embeddings,
                torch.stack(list(early)),
                torch.tensor([[[400.0, 300.0], [200.0, 100.0], [800.0, 500.0]]]),
                torch.tensor([[1.0, 2.0, 3.0]]),
                torch.zeros(1, 1, 256, 256),
                torch.zeros(1),
                torch.tensor([float(photo.height), photo.width]),
            )
            wanted = golden[f"onnx/{multimask}/low_res"]
            np.testing.assert_allclose(low_res[..., ::8, ::8], wanted, atol=1e-4 * np.abs(wanted).max())
            np.testing.assert_allclose(scores, golden[f"onnx/{multimask}/scores"], atol=1e-4)
            areas = (masks > 0).sum((-2, -1)).numpy()
            np.testing.assert_allclose(areas, golden[f"onnx/{multimask}/areas"], rtol=2e-3)


def test_labelling_tools_get_what_the_predictor_answers(tmp_path, capsys):
    """The command, and the calls of a tool that knows numpy and onnxruntime alone."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model, processor = model_and_processor("tiny_vit")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    words = ["export", str(tmp_path / "graphs"), "--model", str(tmp_path / "model"), "--layout", "segment-anything"]
    assert main(words) == 0, capsys.readouterr().err
    encoder, decoder = (
        onnxruntime.InferenceSession(str(tmp_path / "graphs" / name)) for name in (ENCODER_FILE, DECODER_FILE)
    )
    assert tuple(each.name for each in decoder.get_inputs()) == DECODER_INPUTS
    assert tuple(each.name for each in decoder.get_outputs()) == DECODER_OUTPUTS
    assert json.loads(decoder.get_modelmeta().custom_metadata_map["image_size"]) == 128
    predictor = SamPredictor(model)
    for size in ((150, 100), (97, 161)):
        image = np.array(Image.open(PHOTOS / "kitten.jpg").resize(size))
        predictor.set_image(image)
        image_embeddings, early = encoder.run(None, {"input_image": processor(image)["pixel_values"].numpy()})
        low_res = np.zeros((1, 1, 32, 32), np.float32)
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
                np.testing.assert_allclose(ours, theirs, atol=1e-4)
            low_res = found


def test_what_the_layout_cannot_be_is_refused(tmp_path, capsys):
    for words in (
        ["--layout", "segment-anything", "--dtype", "fp16"],
        ["--layout", "segment-anything", "--format", "torch-export"],
        ["--multimask"],
    ):
        assert main(["export", str(tmp_path / "graphs"), *words]) == 2
        assert "segment-anything" in capsys.readouterr().err
