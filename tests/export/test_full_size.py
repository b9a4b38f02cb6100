"""All four backbones at full size, with seeded weights: graphs and runner against torch."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.peers import load_peers
from conftest import PHOTOS
from exported_models import model_and_processor
from sam_hq.export.check import LIMITS
from sam_hq.export.onnx import export_onnx
from sam_hq_onnx import OnnxSamHQ

pytest.importorskip("onnx", reason="needs the extra `onnx`")
pytestmark = pytest.mark.slow
BOXES = [[[40, 30, 300, 220], [100, 80, 200, 160]]]
POINTS = [[[[150, 100], [20, 20]], [[150, 120]]]]
LABELS = [[[1, 0], [1]]]


@pytest.mark.parametrize("variant", ["vit_tiny", "vit_b", "vit_l", "vit_h"])
def test_the_exported_model_is_the_torch_model(variant, tmp_path):
    peers = load_peers(variant, builtin=False, authors=False)
    export = export_onnx(peers.ours, peers.processor.image_processor, tmp_path / "exported")
    assert export.agreement.largest_difference <= LIMITS["fp32"].difference == 1e-4
    assert export.agreement.mask_iou > 0.999
    # A file of protobuf ends at 2 GB: the weights of ViT-H lie beside it.
    assert (export.directory / "encoder.onnx.data").exists() == (variant == "vit_h")

    photo = np.asarray(Image.open(PHOTOS / "scissors.png").convert("RGB"))
    prompts = {"input_boxes": BOXES, "input_points": POINTS, "input_labels": LABELS}
    inputs = peers.processor(photo, return_tensors="pt", **prompts)
    inputs.pop("valid_objects")
    with torch.no_grad():
        wanted = peers.ours(**inputs)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    logits = peers.processor.post_process_masks(wanted.pred_masks, *sizes, binarize=False)[0].numpy()
    (found,) = OnnxSamHQ(export.directory, providers="cpu").segment(photo, **prompts)
    low_res = wanted.pred_masks[0].numpy()
    np.testing.assert_allclose(found.low_res_masks, low_res, rtol=0, atol=1e-4 * np.abs(low_res).max())
    np.testing.assert_allclose(found.scores, wanted.iou_scores[0].numpy(), atol=1e-4)
    clear = np.abs(logits) > 1e-3 * np.abs(logits).max()
    np.testing.assert_array_equal(found.masks[clear], (logits > 0)[clear])


@pytest.mark.parametrize("dtype", ["fp16", "int8"])
def test_fewer_bits_are_smaller_and_near(dtype, exports, tmp_path):
    model, processor = model_and_processor("vit")
    export = export_onnx(model, processor.image_processor, tmp_path / dtype, dtype)
    assert export.metadata.dtype == dtype
    assert export.agreement.largest_difference < (0.05 if dtype == "fp16" else 0.3)
    assert export.agreement.mask_iou > 0.9
    full, small = (directory / "encoder.onnx" for directory in (exports("vit").directory, export.directory))
    assert small.stat().st_size < 0.8 * full.stat().st_size
    photo = Image.open(PHOTOS / "scissors.png")
    (found,) = OnnxSamHQ(export.directory, providers="cpu").segment(photo, input_boxes=BOXES)
    assert found.low_res_masks.dtype == found.scores.dtype == np.float32
