"""Mask generation against the records of the authors' `SamAutomaticMaskGenerator`."""

from functools import lru_cache

import pytest
import torch

from parity.encoded_photos import EncodedPhotos
from parity.golden import load_generation_golden, photo_path
from parity.seeded_weights import seeded_state_dict
from sam_hq.generation.pipeline import SamHQMaskGenerationPipeline
from sam_hq.hub.conversion import convert_weights, processor_for
from sam_hq.hub.variants import infer_config
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq_numpy.mask_rle import RunLengthMask

# The authors' names, and those of transformers' pipeline.
OUR_NAMES = {
    "points_per_side": "points_per_crop",
    "crop_n_layers": "crops_n_layers",
    "crop_nms_thresh": "crops_nms_thresh",
}
RUNS = [(variant, run) for variant in ("vit_tiny", "vit_b") for run in load_generation_golden(variant)]


@lru_cache(maxsize=1)
def pipe(variant, folder):
    weights = {name: torch.from_numpy(value) for name, value in seeded_state_dict(variant, local_masks=True).items()}
    _, config = infer_config(weights)
    state_dict, _ = convert_weights(weights, config)
    model = SamHQModel.from_pretrained(None, config=config, state_dict=state_dict).eval()
    model.get_image_embeddings = EncodedPhotos(model, variant, folder)  # the encoder is that of test_parity.py
    return SamHQMaskGenerationPipeline(model=model, image_processor=processor_for(config).image_processor)


@pytest.mark.parametrize(("variant", "run"), RUNS, ids=[f"{variant}: {run.name}" for variant, run in RUNS])
def test_records_are_those_of_the_authors(variant, run, folder_of_the_run):
    options = {OUR_NAMES.get(name, name): value for name, value in run.options.items()}
    records = pipe(variant, folder_of_the_run)(
        photo_path(run.photo), output_mode="coco_rle", multimask_output=run.multimask_output, **options
    )
    assert len(run.records) > 1
    assert len(records) == len(run.records)
    for record, authors in zip(records, run.records, strict=True):
        assert set(record) == set(authors)
        mask, wanted = (RunLengthMask.from_dict(each["segmentation"]).to_mask() for each in (record, authors))
        assert (mask & wanted).sum() >= 0.995 * (mask | wanted).sum()
        assert record["predicted_iou"] == pytest.approx(authors["predicted_iou"], abs=1e-3)
        assert record["stability_score"] == pytest.approx(authors["stability_score"], abs=1e-3)
        assert record["point_coords"] == [pytest.approx(point) for point in authors["point_coords"]]
        assert record["crop_box"] == authors["crop_box"]
        assert record["bbox"] == pytest.approx(authors["bbox"], abs=2)
        assert record["area"] == pytest.approx(authors["area"], rel=5e-3)
