"""Results in the form that supervision's users work with, as docs/coming_from.md says."""

from types import SimpleNamespace

import numpy as np
import pytest
import supervision as sv
import torch
from PIL import Image

from conftest import PHOTOS, small_config, small_model
from sam_hq import SamHQMaskGenerator, SamHQPredictor
from sam_hq.hub.conversion import processor_for


def test_masks_and_records_become_detections():
    model, processor = small_model("tiny_vit"), processor_for(small_config("tiny_vit"))
    photo = Image.open(PHOTOS / "kitten.jpg").resize((150, 100))
    predictor = SamHQPredictor(model, processor)
    predictor.set_image(photo)
    masks, scores, _ = predictor.predict(boxes=[[10, 20, 90, 80], [30, 10, 140, 95]]).numpy()
    found = sv.Detections(xyxy=sv.mask_to_xyxy(masks[:, 0]), mask=masks[:, 0], confidence=scores[:, 0])
    assert len(found) == 2
    np.testing.assert_array_equal(found.area, masks[:, 0].sum((1, 2)))
    generator = SamHQMaskGenerator(model, processor.image_processor, output_mode="binary_mask", points_per_crop=3)
    records = generator.generate(photo, pred_iou_thresh=-9.0, stability_score_thresh=0.0)
    assert records
    everything = sv.Detections.from_sam(records)
    assert sorted(everything.area) == sorted(record["area"] for record in records)


def test_a_detectors_results_are_boxes():
    predictor = SamHQPredictor(small_model("tiny_vit"), processor_for(small_config("tiny_vit")))
    predictor.set_image(Image.open(PHOTOS / "kitten.jpg").resize((150, 100)))
    boxes = np.array([[10.0, 20, 90, 80], [30, 10, 140, 95]], np.float32)
    expected = predictor.predict(boxes=boxes)
    of_ultralytics = SimpleNamespace(xyxy=torch.from_numpy(boxes), xywhn=torch.rand(2, 4))
    for results in (sv.Detections(xyxy=boxes), of_ultralytics, SimpleNamespace(boxes=of_ultralytics)):
        assert torch.equal(predictor.predict(boxes=results).masks, expected.masks)
    for nothing in (sv.Detections.empty(), SimpleNamespace(boxes=SimpleNamespace(xyxy=torch.zeros(0, 4)))):
        assert predictor.predict(boxes=nothing).masks.shape == (0, 1, 100, 150)
    # a list of images: results of each
    embeddings = [predictor.embeddings, predictor.embeddings]
    of_each = predictor.predict(embeddings, boxes=[sv.Detections(xyxy=boxes), sv.Detections(xyxy=boxes[:1])])
    assert torch.equal(of_each[1].masks, expected.masks[:1])
    # without boxes the model would choose an object of its own
    with pytest.raises(ValueError, match="holds no axis-aligned boxes"):
        predictor.predict(predictor.embeddings, boxes=SimpleNamespace(boxes=None, obb=of_ultralytics))
