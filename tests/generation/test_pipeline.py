"""The pipeline on a small real model: batches, half precision, options, and the stock pipeline beside it."""

import base64
import io
import socket
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import MaskGenerationPipeline, pipeline

from conftest import BACKBONES, PHOTOS, small_model
from sam_hq.generation.pipeline import SamHQMaskGenerationPipeline
from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq_numpy.mask_rle import RunLengthMask

# Random weights give ragged logits all over the photo: a high threshold leaves a few small patches of them.
OPTIONS = {
    "points_per_crop": 4,
    "mask_threshold": 0.1,
    "stability_score_offset": 0.02,
    "stability_score_thresh": 0.15,
    "crops_nms_thresh": 0.9,
}


@pytest.fixture(scope="module")
def processor():
    return SamHQImageProcessor(
        size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}, mask_size={"longest_edge": 32}
    )


@pytest.fixture(scope="module")
def photo():
    return Image.open(PHOTOS / "kitten.jpg").convert("RGB").resize((180, 120))


def spread_model(photo, processor, backbone="vit"):
    """A small model whose predicted IoU spreads over the prompts, with a threshold that about half of them pass."""
    model = small_model(backbone)
    with torch.no_grad():
        for parameter in model.mask_decoder.iou_prediction_head.parameters():
            parameter.mul_(4)
    scores = SamHQMaskGenerationPipeline(model=model, image_processor=processor)(
        photo,
        points_per_crop=5,
        pred_iou_thresh=0,
        stability_score_thresh=0,
        crops_nms_thresh=1,
        candidates_per_point=3,
    )["scores"]
    assert (scores.max() - scores.min()) > 0.05
    model.mask_decoder.iou_prediction_head.proj_out.bias.data += 0.9 - scores.median()
    return model


@pytest.fixture(scope="module")
def ours(photo, processor):
    return SamHQMaskGenerationPipeline(model=spread_model(photo, processor), image_processor=processor, **OPTIONS)


@pytest.fixture(scope="module")
def stock(ours):
    return MaskGenerationPipeline(model=ours.model, image_processor=ours.image_processor, **OPTIONS)


def test_the_task_gives_our_pipeline_for_our_model(ours):
    made = pipeline("mask-generation", model=ours.model, image_processor=ours.image_processor, device="cpu", **OPTIONS)
    assert type(made) is SamHQMaskGenerationPipeline


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"points_per_batch": 4},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 0.99},
        {"crops_n_layers": 1, "points_per_crop": 3},
        {"crops_n_layers": 1, "points_per_crop": 4, "crop_n_points_downscale_factor": 2},
        {"mask_threshold": 0.08, "crops_nms_thresh": 0.99},
    ],
    ids=str,
)
def test_the_stock_pipeline_gives_the_same_with_our_processor(ours, stock, photo, variant):
    options = {"output_rle_mask": True, "output_bboxes_mask": True, **variant}
    expected = stock(photo, **options)
    result = ours(photo, candidates_per_point=3, **options)
    assert len(expected["masks"]) > 1
    assert len(result["masks"]) == len(expected["masks"])
    torch.testing.assert_close(result["scores"], expected["scores"], rtol=0, atol=1e-5)
    for mask, other in zip(result["masks"], expected["masks"], strict=True):
        assert (mask & other).sum() >= 0.999 * (mask | other).sum()
    assert result["bounding_boxes"].tolist() == expected["bounding_boxes"].tolist()
    for rle, mask in zip(expected["rle_mask"], expected["masks"], strict=True):
        assert set(rle) == {"size", "counts"}
        np.testing.assert_array_equal(RunLengthMask.from_dict(rle).to_mask(), mask)


def test_lists_generators_and_datasets_give_what_single_images_give(ours, photo):
    photos = [photo, photo.resize((90, 140)), photo.crop((30, 20, 150, 90))]

    class Photos(Dataset):
        def __len__(self):
            return len(photos)

        def __getitem__(self, index):
            return photos[index]

    singles = [ours(each, output_mode="coco_rle") for each in photos]
    assert all(singles)
    for batch_size in (1, 2):
        listed = ours(photos, output_mode="coco_rle", batch_size=batch_size)
        streamed = ours((each for each in photos), output_mode="coco_rle", batch_size=batch_size)
        dataset = ours(Photos(), output_mode="coco_rle", batch_size=batch_size)
        assert not isinstance(streamed, list)
        for results in (listed, list(streamed), list(dataset)):
            for records, expected in zip(results, singles, strict=True):
                assert_same_records(records, expected)


def assert_same_records(records, expected, mask_iou=0.999, atol=1e-4):
    assert len(records) == len(expected)
    for record, other in zip(records, expected, strict=True):
        mask, wanted = (RunLengthMask.from_dict(each["segmentation"]).to_mask() for each in (record, other))
        assert (mask & wanted).sum() >= mask_iou * (mask | wanted).sum()
        assert record["point_coords"] == other["point_coords"]
        assert record["crop_box"] == other["crop_box"]
        assert record["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=atol)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_finds_nearly_the_same(ours, photo, dtype):
    model = small_model("vit")
    model.load_state_dict(ours.model.state_dict())
    half = SamHQMaskGenerationPipeline(model=model.to(dtype), image_processor=ours.image_processor, **OPTIONS)
    options = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 1.0}
    result, expected = (
        {tuple(record["point_coords"][0]): record for record in pipe(photo, output_mode="coco_rle", **options)}
        for pipe in (half, ours)
    )
    assert result.keys() == expected.keys()
    ious = []
    for point, record in result.items():
        mask, other = (RunLengthMask.from_dict(each[point]["segmentation"]).to_mask() for each in (result, expected))
        ious.append((mask & other).sum() / max(1, (mask | other).sum()))
        assert record["predicted_iou"] == pytest.approx(expected[point]["predicted_iou"], abs=0.2)
    assert np.median(ious) > 0.9


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_option_changes_or_keeps_what_it_says(photo, processor, backbone):
    pipe = SamHQMaskGenerationPipeline(model=spread_model(photo, processor, backbone), image_processor=processor)
    everything = {
        **OPTIONS, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "crops_nms_thresh": 1.0, "points_per_crop": 3,
        "mask_threshold": 0.0,
    }  # fmt: skip
    assert len(pipe(photo, **everything)["masks"]) == 9
    assert len(pipe(photo, **everything, candidates_per_point=3)["masks"]) == 27
    assert len(pipe(photo, **everything, crops_n_layers=1)["masks"]) <= 9 * 5
    own_points = [np.array([[0.25, 0.5], [0.75, 0.1]])]
    records = pipe(photo, **everything, point_grids=own_points, output_mode="coco_rle")
    assert sorted(record["point_coords"][0] for record in records) == [[45.0, 60.0], [135.0, 12.0]]
    hq_only = pipe(photo, **everything, hq_token_only=True)
    single = pipe(photo, **everything, multimask_output=False)
    fused = pipe(photo, **everything)
    torch.testing.assert_close(hq_only["scores"], fused["scores"])
    assert any((a != b).any() for a, b in zip(hq_only["masks"], fused["masks"], strict=True))
    assert not torch.allclose(single["scores"], fused["scores"])


def test_unknown_options_are_refused_where_they_are_given(ours, photo):
    with pytest.raises(TypeError, match="nearest is 'pred_iou_thresh'"):
        SamHQMaskGenerationPipeline(model=ours.model, image_processor=ours.image_processor, pred_iou_treshold=0.5)
    with pytest.raises(TypeError, match="nearest is 'points_per_batch'"):
        ours(photo, point_per_batch=3)
    with pytest.raises(TypeError, match="one positional argument"):
        ours(photo, 64)
    with pytest.raises(ValueError, match="points_per_batch"):
        ours("no such file.png", points_per_batch=0)
    with pytest.raises(ValueError, match="batch_size"):
        ours("no such file.png", batch_size=0)


def test_too_large_images_are_refused(ours, photo, tmp_path):
    path = tmp_path / "photo.png"
    photo.save(path)
    n_pixels = photo.width * photo.height
    assert len(ours(str(path), max_pixels=n_pixels)["masks"]) == len(ours(photo)["masks"])
    with pytest.raises(ValueError, match=f"max_pixels={n_pixels - 1}"):
        ours(str(path), max_pixels=n_pixels - 1)


def same(found, wanted):
    return torch.equal(torch.as_tensor(found["scores"]), torch.as_tensor(wanted["scores"])) and all(
        np.array_equal(one, other) for one, other in zip(found["masks"], wanted["masks"], strict=True)
    )


def test_images_come_in_every_form_and_from_every_kind_of_series(ours, photo):
    file = io.BytesIO()
    photo.save(file, "PNG")
    content, wanted = file.getvalue(), ours(photo)
    url = "data:image/png;base64," + base64.b64encode(content).decode()
    engine = ours.generator({})
    for source in (content, io.BytesIO(content), url, {"bytes": content, "path": None}):
        assert same(ours(source), wanted)
        assert same(engine.generate(source), wanted)
    for series in (map(bytes, [content]), iter([content]), zip([content], strict=True), [content], (content,)):
        unzipped = (each[0] for each in series) if isinstance(series, zip) else series
        (found,) = ours(unzipped)
        assert same(found, wanted)
    for nothing in ({"image": photo, "label": 1}, {1, 2}, 3):
        with pytest.raises(TypeError, match="images must hold PIL images"):
            ours(nothing)
    with pytest.raises(TypeError, match=r"images must hold .* got dict with the keys \['image'\]"):
        list(ours(each for each in [{"image": photo}]))


def test_an_array_of_four_dimensions_is_a_batch_everywhere(ours, photo):
    wanted, pixels = ours(photo), np.asarray(photo.convert("RGB"))
    for batch in (np.stack([pixels, pixels]), torch.from_numpy(np.stack([pixels, pixels])).movedim(-1, 1)):
        for found in (ours(batch), list(ours.generator({}).generate_each(batch))):
            assert isinstance(found, list)
            assert len(found) == 2
            assert all(same(each, wanted) for each in found)
    with pytest.raises(ValueError, match=r"images as arrays must be .* got shape \(1, 1, \d+, \d+, 3\)"):
        ours(pixels[None, None])


def test_narrow_images_are_stretched_as_eight_bits_are(ours, photo):
    gray = np.asarray(photo.convert("L"))
    wanted = ours(Image.fromarray(gray))
    narrow = gray.astype(np.uint16) * 16
    assert same(ours(narrow, input_range=(0, 4080)), wanted)
    assert same(ours.generator({"input_range": (0, 4080)}).generate(narrow), wanted)
    with pytest.warns(UserWarning, match="small part of"):
        ours(narrow)


def test_a_slow_url_is_waited_for_no_longer_than_asked(ours):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/photo.png"
        for call in (ours, ours.generator({}).generate):
            start = time.monotonic()
            with pytest.raises(ValueError, match=r"did not answer within timeout=0\.3"):
                call(url, timeout=0.3)
            assert time.monotonic() - start < 5


def test_a_call_does_not_change_the_options_of_the_pipeline(ours, photo):
    before = ours(photo)
    ours(photo, points_per_crop=2, pred_iou_thresh=0.0)
    after = ours(photo)
    assert before["scores"].tolist() == after["scores"].tolist()


def test_what_suits_the_model_holds_unless_an_option_is_given(ours, photo, monkeypatch):
    monkeypatch.setattr(ours.model.config, "mask_generation", {"points_per_crop": 2, "pred_iou_thresh": 0.0})
    assert ours.generator({}).options.points_per_crop == OPTIONS["points_per_crop"]  # given to the pipeline
    model, image_processor = ours.model, ours.image_processor
    plain = pipeline("mask-generation", model=model, image_processor=image_processor, device="cpu")
    assert plain.generator({}).options.points_per_crop == 2
    assert plain.generator({"points_per_crop": 3}).options.points_per_crop == 3
    assert plain.generator({}).options.pred_iou_thresh == 0
    monkeypatch.setattr(model.config, "mask_generation", {"pred_iou_threshold": 0.0})
    with pytest.raises(TypeError, match="the nearest is 'pred_iou_thresh'"):
        plain(photo)


def test_records_can_be_streamed(ours, photo):
    stream = ours.iterate(photo)
    listed = ours(photo, output_mode="binary_mask")
    assert [record["area"] for record in stream] == [record["area"] for record in listed]
