"""Mask generation against a plain rewrite of its definition, on a stand-in model with known masks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.generation import crop_search
from sam_hq.generation import stability as stability_module
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq.model.outputs import SamHQImageSegmentationOutput
from sam_hq.photo_embeddings import embed_images
from sam_hq_numpy.crop_grids import layer_crop_boxes, layer_point_grids
from sam_hq_numpy.mask_rle import RunLengthMask

FRAME, LOW_RES = 128, 32


class DiscModel:
    """Stands in for SamHQModel: around every point three discs, whose sizes and scores depend on where the point is.

    The mean colour of the crop goes into the scores, so that crops and photos give different answers.
    """

    device = torch.device("cpu")
    dtype = torch.float32
    vision_encoder = mask_decoder = torch.nn.Module()  # without weights

    def __init__(self, **suited):
        self.embedded = []
        self.config = SamHQConfig(vision_config={"image_size": FRAME}, mask_generation=suited)

    def eval(self):
        return self

    def get_image_embeddings(self, pixel_values):
        self.embedded.append(len(pixel_values))
        # Rounded, so that the order of summation in a larger batch does not show.
        return pixel_values.mean((1, 2, 3), keepdim=True).round(decimals=3), [pixel_values]

    def get_hq_features(self, image_embeddings, intermediate_embeddings):
        return image_embeddings.expand(-1, 1, LOW_RES, LOW_RES)

    def __call__(self, *, image_embeddings, hq_features, input_points, input_labels, multimask_output, hq_token_only):
        assert (input_labels == 1).all()
        points = input_points[0, :, 0]  # (1, P, 1, 2) -> (P, 2)
        x, y = points.T / FRAME
        phase = torch.stack([11 * x + 7 * y, 5 * x - 13 * y, 3 * x + 17 * y], -1) + image_embeddings.flatten()
        scores = 0.75 + 0.25 * torch.sin(9 * phase)  # (P, 3)
        radii = 3 + 9 * torch.cos(23 * phase) ** 2
        centres = torch.arange(LOW_RES) * 4 + 2.0
        rows, columns = torch.meshgrid(centres, centres, indexing="ij")
        distance = torch.hypot(columns - points[:, :1, None], rows - points[:, 1:, None])
        masks = (2 * radii[..., None, None] - distance[:, None]) * (0.3 + phase.sin().abs()[..., None, None])
        masks = torch.where(distance[:, None] < 3 * phase.sin().abs()[..., None, None], -masks, masks)  # a hole
        scores, order = scores.sort(dim=-1, descending=True, stable=True)
        masks = masks.gather(1, order[..., None, None].expand_as(masks))
        if not multimask_output:
            masks, scores = masks[:, 2:], scores[:, 2:]
        if hq_token_only:
            masks, scores = -masks[:, :1], scores[:, :1]
        return SamHQImageSegmentationOutput(pred_masks=masks[None], iou_scores=scores[None])


class RowsInTurn:
    """Stands in for `PassingMasks`: logits (K, M, h, w), given some rows at a time."""

    def __init__(self, logits, iou_scores):
        self._logits, self.iou_scores = logits, iou_scores

    def strips(self):
        yield from self._logits.split(5, dim=2)

    def logits(self):
        return self._logits


def disc_masks(
    model, image_embeddings, hq_features, min_score, candidates, region, input_points, input_labels, **flags
):
    """Stands in for `passing_masks`."""
    outputs = model(
        image_embeddings=image_embeddings, hq_features=hq_features, input_points=input_points,
        input_labels=input_labels, **flags,
    )  # fmt: skip
    masks, scores = outputs.pred_masks[0, :, :candidates], outputs.iou_scores[0, :, :candidates]
    for group in torch.arange(len(masks)).split(3):
        kept = group if min_score is None else group[scores[group, 0] > min_score]
        if len(kept):
            yield kept, RowsInTurn(masks[kept][..., : region[0], : region[1]], scores[kept])


@pytest.fixture(autouse=True)
def _discs(monkeypatch):
    monkeypatch.setattr(crop_search, "passing_masks", disc_masks)


def plain_generation(model, processor, photo, options):
    """The definition, written out one mask at a time in the frame of the photo."""
    options = {
        "points_per_crop": 32, "crops_n_layers": 0, "crop_overlap_ratio": 512 / 1500, "box_nms_thresh": 0.7,
        "crop_n_points_downscale_factor": 1, "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95,
        "stability_score_offset": 1, "mask_threshold": 0, "crops_nms_thresh": 0.7, "candidates_per_point": 1,
        "multimask_output": True, "hq_token_only": False, **options,
    }  # fmt: skip
    height, width = photo.shape[:2]
    grids = layer_point_grids(
        options["points_per_crop"], options["crops_n_layers"], options["crop_n_points_downscale_factor"]
    )
    boxes, layers = layer_crop_boxes((height, width), options["crops_n_layers"], options["crop_overlap_ratio"])
    everything = []
    for (x0, y0, x1, y1), layer in zip(boxes, layers, strict=True):
        crop = photo[y0:y1, x0:x1]
        inputs = processor(images=crop, return_tensors="pt")
        new_height, new_width = inputs["reshaped_input_sizes"][0].tolist()
        embeddings, _ = model.get_image_embeddings(inputs["pixel_values"])
        found = []
        for x, y in grids[layer] * [x1 - x0, y1 - y0]:
            point = torch.tensor([[[[x * (new_width / (x1 - x0)), y * (new_height / (y1 - y0))]]]]).float()
            outputs = model(
                image_embeddings=embeddings, hq_features=None, input_points=point, input_labels=torch.ones(1, 1, 1),
                multimask_output=options["multimask_output"], hq_token_only=options["hq_token_only"],
            )  # fmt: skip
            for low_res, score in list(zip(outputs.pred_masks[0, 0], outputs.iou_scores[0, 0], strict=True))[
                : options["candidates_per_point"]
            ]:
                if options["pred_iou_thresh"] > 0 and not score > options["pred_iou_thresh"]:
                    continue
                padded = F.interpolate(low_res[None, None], (FRAME, FRAME), mode="bilinear")
                logits = F.interpolate(padded[..., :new_height, :new_width], crop.shape[:2], mode="bilinear")[
                    0, 0
                ].numpy()
                threshold, offset = options["mask_threshold"], options["stability_score_offset"]
                high, low = (logits > threshold + offset).sum(), (logits > threshold - offset).sum()
                if options["stability_score_thresh"] > 0 and not (
                    low and high / low >= options["stability_score_thresh"]
                ):
                    continue
                mask = np.zeros((height, width), bool)
                mask[y0:y1, x0:x1] = logits > threshold
                rows, columns = np.nonzero(mask)
                box = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [x0, y0, x0, y0]
                sides = zip(box, (x0, y0, x1, y1), (0, 0, width, height), strict=True)
                if any(abs(side - of_crop) <= 20 and abs(side - of_photo) > 20 for side, of_crop, of_photo in sides):
                    continue
                stability = high / low if low else np.nan
                found.append((mask, box, score.item(), stability, [x + x0, y + y0], (x0, y0, x1, y1)))
        everything += suppressed(found, [entry[2] for entry in found], options["box_nms_thresh"])
    if len(boxes) > 1:
        areas = [1 / ((x1 - x0) * (y1 - y0)) for *_, (x0, y0, x1, y1) in everything]
        everything = suppressed(everything, areas, options["crops_nms_thresh"])
    return everything


def suppressed(found, scores, threshold):
    def iou(a, b):
        inner = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - inner
        return inner / union if union else 0

    kept = []
    for index in sorted(range(len(found)), key=lambda index: -scores[index]):
        if all(iou(found[index][1], found[better][1]) <= threshold for better in kept):
            kept.append(index)
    return [found[index] for index in kept]


@pytest.fixture(scope="module")
def processor():
    return SamHQImageProcessor(
        size={"longest_edge": FRAME}, pad_size={"height": FRAME, "width": FRAME}, mask_size={"longest_edge": LOW_RES}
    )


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(3).integers(0, 255, (150, 230, 3), dtype=np.uint8)


BASE = {"points_per_crop": 7, "pred_iou_thresh": 0.8, "stability_score_thresh": 0.6}
VARIANTS = [
    {},
    {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
    {"points_per_batch": 7},
    {"points_per_batch": None},
    {"crops_n_layers": 1},
    {"crops_n_layers": 2, "crop_n_points_downscale_factor": 2, "crop_overlap_ratio": 0.2},
    {"candidates_per_point": 3},
    {"candidates_per_point": 3, "crops_n_layers": 1, "crop_n_points_downscale_factor": 3},
    {"multimask_output": False},
    {"hq_token_only": True, "stability_score_thresh": 0.0},
    {"mask_threshold": 0.75, "stability_score_offset": 0.5},
    {"crops_n_layers": 1, "crops_nms_thresh": 0.2, "box_nms_thresh": 0.9},
    {"crops_nms_thresh": 0.1, "box_nms_thresh": None},
    {"pred_iou_thresh": 2.0},
    {"pred_iou_thresh": 2.0, "crops_n_layers": 1},
]


@pytest.mark.parametrize("strips", [True, False])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_records_are_those_of_the_definition(processor, photo, monkeypatch, variant, strips):
    monkeypatch.setattr(crop_search.CropEmbedding, "on_cpu", strips)
    options = {**BASE, **variant}
    records = SamHQMaskGenerator(DiscModel(), processor, output_mode="binary_mask", **options).generate(photo)
    if options.get("box_nms_thresh") is None:
        options["box_nms_thresh"] = options.get("crops_nms_thresh", 0.7)
    expected = plain_generation(DiscModel(), processor, photo, options)
    assert len(records) == len(expected)
    assert bool(expected) == (options["pred_iou_thresh"] < 1)
    for record, (mask, box, score, stability, point, crop) in zip(records, expected, strict=True):
        np.testing.assert_array_equal(record["segmentation"], mask)
        assert record["area"] == mask.sum()
        assert record["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        assert record["predicted_iou"] == pytest.approx(score, abs=1e-6)
        assert record["stability_score"] == pytest.approx(stability, abs=1e-6, nan_ok=True)
        assert record["point_coords"] == [pytest.approx(point)]
        assert record["crop_box"] == [crop[0], crop[1], crop[2] - crop[0], crop[3] - crop[1]]


def test_all_forms_hold_the_same_masks(processor, photo):
    generator = SamHQMaskGenerator(DiscModel(), processor, **BASE)
    stock = generator.generate(photo, output_rle_mask=True, output_bboxes_mask=True)
    binary, uncompressed, coco = (
        generator.generate(photo, output_mode=mode) for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    streamed = list(generator.iterate(photo))
    assert len(stock["masks"]) > 5
    assert stock["scores"].tolist() == [record["predicted_iou"] for record in binary]
    for index, mask in enumerate(stock["masks"]):
        np.testing.assert_array_equal(binary[index]["segmentation"], mask)
        np.testing.assert_array_equal(streamed[index]["segmentation"], mask)
        assert uncompressed[index]["segmentation"] == stock["rle_mask"][index]
        np.testing.assert_array_equal(RunLengthMask.from_dict(coco[index]["segmentation"]).to_mask(), mask)
        x0, y0, x1, y1 = stock["bounding_boxes"][index].tolist()
        assert binary[index]["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert set(generator.generate(photo)) == {"masks", "scores"}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_images_of_different_sizes_share_batches(processor, batch_size):
    random = np.random.default_rng(0)
    photos = [random.integers(0, 255, (*size, 3), dtype=np.uint8) for size in [(60, 90), (130, 128), (40, 40)]]
    options = {**BASE, "points_per_crop": 5, "crops_n_layers": 1, "output_mode": "coco_rle"}
    model = DiscModel()
    together = list(SamHQMaskGenerator(model, processor, **options).generate_each(iter(photos), batch_size))
    assert together == [SamHQMaskGenerator(DiscModel(), processor, **options).generate(photo) for photo in photos]
    assert sum(model.embedded) == 15
    assert max(model.embedded) == min(batch_size, 15)


def test_images_are_taken_as_they_are_needed(processor, photo):
    taken = []

    def photos():
        for index in range(4):
            taken.append(index)
            yield photo

    results = SamHQMaskGenerator(DiscModel(), processor, **BASE).generate_each(photos(), 2)
    assert taken == []
    next(results)
    assert taken == [0, 1]


def test_embeddings_are_kept_once_for_an_image_whose_crops_are_as_large(processor, photo):
    square = photo[:100, :100]
    generator = SamHQMaskGenerator(DiscModel(), processor, points_per_crop=2)
    options = generator.options.updated({"crops_n_layers": 1, "crop_overlap_ratio": 0.995})
    kept = []
    list(generator.candidates_each([square, square[:90]], 2, options, kept.append))
    assert [embeddings.original_size for embeddings in kept] == [(100, 100), (90, 100)]


def test_kept_embeddings_give_the_masks_of_the_image(processor, photo):
    model = DiscModel()
    generator = SamHQMaskGenerator(model, processor, points_per_batch=20, min_mask_region_area=200, **BASE)
    (expected,) = generator.candidates_each([photo], 1, generator.options)
    advanced = []
    found = generator.candidates_from_embeddings(
        embed_images(generator.model, processor, [photo])[0], generator.options, advanced.append
    )
    assert found.masks == expected.masks
    assert list(found.records("coco_rle")) == list(expected.records("coco_rle"))
    assert advanced == [20, 20, 9]
    assert model.embedded == [1, 1]


def test_the_callback_ends_the_work_on_kept_embeddings(processor, photo):
    generator = SamHQMaskGenerator(DiscModel(), processor, points_per_batch=20, **BASE)

    def stop(points):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        generator.candidates_from_embeddings(
            embed_images(generator.model, processor, [photo])[0], generator.options, stop
        )


@pytest.mark.parametrize("option", [{"crops_n_layers": 1}, {"tile_size": 64}])
def test_kept_embeddings_cannot_serve_crops_and_tiles(processor, photo, option):
    generator = SamHQMaskGenerator(DiscModel(), processor, **BASE)
    with pytest.raises(ValueError, match="crops and tiles"):
        generator.candidates_from_embeddings(
            embed_images(generator.model, processor, [photo])[0], generator.options.updated(option)
        )


def test_an_image_beyond_max_pixels_is_not_embedded(processor, photo):
    model = DiscModel()
    with pytest.raises(ValueError, match="max_pixels"):
        embed_images(model, processor, [photo], max_pixels=100)
    assert model.embedded == []


def test_small_regions_are_removed_and_what_became_a_duplicate_is_dropped(processor, photo):
    generator = SamHQMaskGenerator(DiscModel(), processor, output_mode="binary_mask", **BASE)
    plain, cleaned = generator.generate(photo), generator.generate(photo, min_mask_region_area=200)
    holes = [record for record in plain if background_regions(record["segmentation"]) > 1]
    assert holes
    assert all(background_regions(record["segmentation"]) == 1 for record in cleaned)
    assert len(cleaned) <= len(plain)
    for record in cleaned:
        assert record["area"] == record["segmentation"].sum()
        (before,) = [other for other in plain if other["point_coords"] == record["point_coords"]]
        assert before["predicted_iou"] == record["predicted_iou"]
    changed = [record["area"] for record in cleaned if record["area"] not in {other["area"] for other in plain}]
    assert changed


def test_holes_up_to_an_area_are_filled_before_duplicates_are_dropped(processor, photo):
    generator = SamHQMaskGenerator(DiscModel(), processor, output_mode="binary_mask", crops_nms_thresh=1.0, **BASE)
    plain, filled = generator.generate(photo), generator.generate(photo, max_hole_area=10_000)
    assert len(plain) == len(filled)
    for before, after in zip(plain, filled, strict=True):
        assert before["point_coords"] == after["point_coords"]
        assert (after["segmentation"] >= before["segmentation"]).all()
        assert background_regions(after["segmentation"]) == 1
    assert any(background_regions(record["segmentation"]) > 1 for record in plain)


def background_regions(mask):
    ndimage = pytest.importorskip("scipy.ndimage")
    return ndimage.label(~mask, structure=np.ones((3, 3)))[1]


def test_options_are_refused_before_the_image_is_embedded(processor, photo):
    model = DiscModel()
    generator = SamHQMaskGenerator(model, processor)
    for wrong in ({"pred_iou_tresh": 0.5}, {"points_per_crop": 0}):
        with pytest.raises((TypeError, ValueError)):
            generator.generate_each([photo], **wrong)
    for wrong in (0, -1, 10**9, "2", 1.5, None, True):
        with pytest.raises((ValueError, TypeError), match=rf"batch_size must be .*, got {wrong!r}"):
            generator.generate_each([photo], batch_size=wrong)
    for no_options in ({"points_per_crop": 4}, 3):
        with pytest.raises(TypeError, match=r"options must be MaskGenerationOptions, got (dict|int)"):
            SamHQMaskGenerator(model, processor, no_options)
        with pytest.raises(TypeError, match=r"options must be MaskGenerationOptions, got (dict|int)"):
            generator.candidates_each([photo], 1, no_options)
    assert model.embedded == []


@pytest.mark.parametrize(
    "one", [np.zeros((5, 9, 3), np.uint8), torch.zeros(3, 5, 9), Image.new("RGB", (9, 5)), "a.jpg", b"a", 3, None],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_a_single_image_is_not_taken_for_many(processor, one):
    with pytest.raises(TypeError, match=r"images must be several, such as in a list, got .*; generate takes one"):
        SamHQMaskGenerator(DiscModel(), processor).generate_each(one)


def test_progress_counts_the_points(processor, photo, capsys):
    SamHQMaskGenerator(DiscModel(), processor, **BASE).generate(photo, progress_bar=True)
    assert "49/49" in capsys.readouterr().err


class ColorModel(DiscModel):
    """Stands in for a model that finds whole objects: the mask of a point is all that has the colour under it."""

    def get_image_embeddings(self, pixel_values):
        self.embedded.append(len(pixel_values))
        return pixel_values[:, :1], [pixel_values]  # the photos of these tests are gray

    def get_hq_features(self, image_embeddings, intermediate_embeddings):
        return F.interpolate(image_embeddings, (LOW_RES, LOW_RES), mode="bilinear", antialias=True)

    def __call__(self, *, image_embeddings, hq_features, input_points, **_):
        x, y = input_points[0, :, 0].long().T
        color = image_embeddings[0, 0, y, x]
        masks = 1 - 2.2 * (hq_features - color[None, :, None, None]).abs()
        return SamHQImageSegmentationOutput(
            pred_masks=masks[0][None, :, None], iou_scores=torch.full((1, len(x), 1), 0.9)
        )


def scene(size, discs):
    """Gray discs of different shades on black, each given as x, y, radius."""
    rows, columns = np.indices(size)
    masks = [(columns - x) ** 2 + (rows - y) ** 2 <= radius**2 for x, y, radius in discs]
    photo = np.zeros((*size, 3), np.uint8)
    for index, mask in enumerate(masks):
        photo[mask] = 255 - 60 * index
    return photo, masks


@pytest.mark.parametrize("batch_size", [1, 4])
def test_tiles_give_the_masks_of_the_whole_image(processor, batch_size):
    photo, discs = scene((230, 400), [(190, 115, 80), (60, 60, 40), (330, 170, 45)])
    generator = SamHQMaskGenerator(
        ColorModel(), processor, output_mode="binary_mask", points_per_crop=8, stability_score_thresh=0.0
    )
    (records,) = generator.generate_each([photo], batch_size, tile_size=128, tile_overlap=0.3)
    found = [record["segmentation"] for record in records]
    for disc in discs:
        ious = [(mask & disc).sum() / (mask | disc).sum() for mask in found]
        assert max(ious) > 0.84  # edges are blurred in a 32-pixel mask; one tile alone holds far less of the large disc
        best = records[int(np.argmax(ious))]
        assert len(best["point_coords"]) > 1
        assert all(disc[int(y), int(x)] for x, y in best["point_coords"])
    assert len(found) <= 5
    assert max(generator.model.embedded) == min(batch_size, 12)


def test_images_no_larger_than_a_tile_are_not_tiled(processor, photo):
    generator = SamHQMaskGenerator(DiscModel(), processor, output_mode="coco_rle", **BASE)
    assert generator.generate(photo, tile_size=230) == generator.generate(photo)


def test_groups_of_masks_stay_small_however_large_the_image(processor, monkeypatch):
    groups = []
    upscale = stability_module.low_res_masks_to_photo

    def watched(masks, reshaped_size, original_size, frame_size, binarize):
        groups.append(len(masks) * (np.prod(original_size) + np.prod(frame_size)))
        return upscale(masks, reshaped_size, original_size, frame_size, binarize=binarize)

    monkeypatch.setattr(crop_search.CropEmbedding, "on_cpu", False)
    monkeypatch.setattr(stability_module, "low_res_masks_to_photo", watched)
    monkeypatch.setattr(stability_module, "GROUP_FLOATS", 3 * 128 * 128)
    options = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_crop": 6}
    for side in (60, 120):
        SamHQMaskGenerator(DiscModel(), processor, **options).generate(np.zeros((side, side, 3), np.uint8))
        assert max(groups) <= 3 * 128 * 128
