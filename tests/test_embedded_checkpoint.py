"""The checkpoint in the package: it loads as it says, is small, finds objects, and its HQ token improves on SAM."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, pipeline

import sam_hq
from conftest import PHOTOS, REPOSITORY, small_model
from sam_hq.evaluation import PromptedModel, evaluate
from sam_hq.evaluation.segmentation_data import open_dataset
from sam_hq.hub.conversion import processor_for
from sam_hq_cli.main import main


@pytest.fixture(scope="module")
def report():
    model = sam_hq.SamHQModel.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT).eval()
    processor = sam_hq.SamHQProcessor.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT)
    dataset = open_dataset(PHOTOS / "realphoto_cc0", on_bad="raise")
    return evaluate(PromptedModel(model, processor), dataset, ("box",), ("filled-box",)).means()


def test_it_loads_in_single_precision_and_is_small():
    model = AutoModel.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT)
    assert isinstance(model, sam_hq.SamHQModel)
    assert isinstance(AutoProcessor.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT), sam_hq.SamHQProcessor)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (Path(sam_hq.EMBEDDED_CHECKPOINT) / "model.safetensors").stat().st_size <= 14 * 2**20


def test_it_finds_what_a_box_holds(report):
    """The filled box is what a model gives that does not look at the photo."""
    (miou, mbiou, count), (floor, boundary_floor, _) = report["box", "sum"], report["box", "filled-box"]
    assert count == 41
    assert miou > floor + 0.2
    assert mbiou > boundary_floor + 0.25


def test_the_hq_token_improves_on_sams_boundaries(report):
    assert report["box", "sum"][1] > report["box", "sam"][1]


def test_the_hq_mask_stands_alone(report):
    """As `hq_token_only` returns it: a token trained as a correction alone gives frames and specks."""
    for alone, both in zip(report["box", "hq"][:2], report["box", "sum"][:2], strict=True):
        assert alone > both - 0.02


def test_everything_in_an_image_holds_its_animal_without_further_options():
    found = pipeline("mask-generation", model=sam_hq.EMBEDDED_CHECKPOINT, device="cpu")(
        PHOTOS / "lemur.png", points_per_crop=8
    )
    lemur = np.array(Image.open(PHOTOS / "masks" / "lemur.png").convert("L")) > 127
    assert max((mask & lemur).sum() / (mask | lemur).sum() for mask in found["masks"]) > 0.5


def test_a_trained_model_is_embedded_whole(tmp_path, monkeypatch):
    model = small_model("tiny_vit")
    model.save_pretrained(tmp_path / "trained")
    processor_for(model.config).save_pretrained(tmp_path / "trained")
    script = runpy.run_path(str(REPOSITORY / "conversion_scripts" / "embed_checkpoint.py"))
    target = tmp_path / "package" / "small"
    for _ in range(2):  # the second time it replaces the first
        script["embed"](str(tmp_path / "trained"), target, {"pred_iou_thresh": 0.25})
    assert [path.name for path in target.parent.iterdir()] == ["small"]
    embedded = sam_hq.SamHQModel.from_pretrained(target)
    assert embedded.config.mask_generation == {"pred_iou_thresh": 0.25}
    trained = dict(model.named_parameters())
    for name, weight in embedded.named_parameters():
        assert torch.equal(weight, trained[name].half().float())
    monkeypatch.setattr(sam_hq, "EMBEDDED_CHECKPOINT", str(target))
    assert (
        main(
            [
                "segment",
                str(PHOTOS / "kitten.jpg"),
                "--box",
                "50",
                "50",
                "300",
                "300",
                "--output",
                str(tmp_path / "o.png"),
            ]
        )
        == 0
    )
    with torch.no_grad():
        model.mask_decoder.hq_token.weight.fill_(1e6)
    model.save_pretrained(tmp_path / "trained")
    with pytest.raises(TypeError, match="the nearest is 'pred_iou_thresh'"):
        script["embed"](str(tmp_path / "trained"), target, {"pred_iou": 0.25})
    with pytest.raises(ValueError, match=r"1 weights are too large for half precision, such as mask_decoder\.hq_token"):
        script["embed"](str(tmp_path / "trained"), target)
    assert sam_hq.SamHQModel.from_pretrained(target) is not None
