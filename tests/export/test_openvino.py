import numpy as np
import openvino
from PIL import Image

from conftest import PHOTOS
from exported_models import model_and_processor
from sam_hq_onnx import OnnxSamHQ


def test_openvino_runs_both_graphs(exports):
    """The encoder on a photo, and the decoder on ragged prompts of two objects, as onnxruntime answers."""
    directory, (_, processor) = exports("tiny_vit").directory, model_and_processor("tiny_vit")
    runner = OnnxSamHQ(directory, providers="cpu")
    photo = Image.open(PHOTOS / "kitten.jpg")
    embedded = runner.embed(photo)
    points = [[[[300, 200]], [[500, 300], [100, 100]]]]
    (wanted,) = runner.segment(embedded, input_points=points)
    core = openvino.Core()
    encoder, decoder = (
        core.compile_model(str(directory / name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for name in ("encoder.onnx", "decoder.onnx")
    )
    encoded = encoder({"pixel_values": processor(photo)["pixel_values"].numpy()})
    np.testing.assert_allclose(encoded["image_embeddings"], embedded.image_embeddings, atol=1e-3)
    np.testing.assert_allclose(encoded["hq_features"], embedded.hq_features, atol=1e-3)
    height, width = embedded.original_sizes[0]
    scale = np.array(embedded.reshaped_sizes[0][::-1], np.float32) / np.array([width, height], np.float32)
    padded = np.array([[[300, 200], [0, 0]], [[500, 300], [100, 100]]], np.float32) * scale
    side = wanted.low_res_masks.shape[-1]
    answer = decoder(
        {
            "image_embeddings": embedded.image_embeddings,
            "hq_features": embedded.hq_features,
            "input_points": padded[None],
            "input_labels": np.array([[[1, -10], [1, 1]]]),
            "input_boxes": np.zeros((1, 2, 4), np.float32),
            "has_box": np.zeros((1, 2), bool),
            "input_masks": np.zeros((1, 2, side, side), np.float32),
            "has_mask": np.zeros((1, 2), bool),
            "multimask_output": np.array(True),
            "hq_token_only": np.array(False),
        }
    )
    np.testing.assert_allclose(answer["pred_masks"][0], wanted.low_res_masks, atol=1e-3)
    np.testing.assert_allclose(answer["iou_scores"][0], wanted.scores, atol=1e-4)
