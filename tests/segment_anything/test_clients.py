"""What clients of segment_anything, segment_anything_hq and ComfyUI's nodes call, on this package instead."""

import numpy as np
import pytest
import supervision
import torch
from PIL import Image

import sam_hq
from conftest import PHOTOS, small_config, small_model
from parity.client_calls import PHOTO, client_calls
from parity.golden import FOLDER, load_generation_golden, photo_path
from parity.seeded_weights import seeded_state_dict
from sam_hq.hub.conversion import processor_for
from sam_hq.segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.prompt_warnings import PromptWarning


def authors_file(path, **options):
    """A checkpoint of Light HQ-SAM in the authors' format."""
    torch.save(
        {name: torch.from_numpy(value) for name, value in seeded_state_dict("vit_tiny", **options).items()}, path
    )
    return path


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    path = authors_file(tmp_path_factory.mktemp("authors") / "sam_hq_vit_tiny.pth")
    return sam_model_registry["vit_tiny"](checkpoint=str(path))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("directory")
    small_model("tiny_vit").save_pretrained(path)
    processor_for(small_config("tiny_vit")).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def small(directory):
    return sam_model_registry["default"](directory)


@pytest.fixture(scope="module")
def image():
    return np.array(Image.open(PHOTOS / "kitten.jpg").resize((150, 100)))


def test_answers_are_those_of_the_authors_package(light):
    light.to(device="cpu")
    light.eval()
    with np.load(FOLDER / "clients_vit_tiny.npz") as golden:
        for name, found in client_calls(SamPredictor(light), np.array(Image.open(photo_path(PHOTO)).convert("RGB"))):
            masks, scores, low_res = (np.asarray(each) for each in found)
            wanted = golden[f"{name}/low_res"]
            assert low_res[..., ::8, ::8].shape == wanted.shape, name
            np.testing.assert_allclose(low_res[..., ::8, ::8], wanted, atol=1e-4 * np.abs(wanted).max(), err_msg=name)
            np.testing.assert_allclose(scores, golden[f"{name}/scores"], atol=1e-4, err_msg=name)
            np.testing.assert_allclose(masks.sum((-2, -1)), golden[f"{name}/areas"], rtol=2e-3, err_msg=name)


def test_records_are_those_of_the_authors_package(tmp_path):
    run = load_generation_golden("vit_tiny")[0]
    sam = sam_model_registry["vit_tiny"](checkpoint=authors_file(tmp_path / "sam.pth", local_masks=True))
    generator = SamAutomaticMaskGenerator(sam.to("cpu"), output_mode="coco_rle", **run.options)
    pixels = np.array(Image.open(photo_path(run.photo)).convert("RGB"))
    records = generator.generate(pixels, multimask_output=run.multimask_output)
    assert len(records) == len(run.records) > 1
    for record, authors in zip(records, run.records, strict=True):
        assert set(record) == set(authors)
        mask, wanted = (RunLengthMask.from_dict(each["segmentation"]).to_mask() for each in (record, authors))
        assert (mask & wanted).sum() >= 0.995 * (mask | wanted).sum()
        assert record["predicted_iou"] == pytest.approx(authors["predicted_iou"], abs=1e-3)


def test_comfyui_nodes(directory, image):
    """A model by its file's name, marked and moved; the predictor from `sam_hq.predictor`; a detector's boxes."""
    from sam_hq.build_sam_hq import sam_hq_model_registry, sam_model_registry
    from sam_hq.predictor import SamPredictorHQ

    assert {"sam_hq_vit_h", "sam_vit_b", "mobile_sam"} <= set(sam_model_registry) & set(sam_hq_model_registry)
    sam = sam_model_registry["default"](checkpoint=str(directory))
    sam.to(device=torch.device("cpu"))
    sam.eval()
    sam.model_name = "sam_hq_vit_tiny.pth"
    boxes = torch.tensor([[10.0, 20, 90, 80], [30, 10, 140, 95]])
    answers = []
    for is_hq in (True, False):
        predictor = SamPredictorHQ(sam, is_hq)
        predictor.set_image(np.array(Image.fromarray(image).convert("RGBA"))[..., :3])
        transformed = predictor.transform.apply_boxes_torch(boxes, image.shape[:2])
        masks, _, _ = predictor.predict_torch(
            point_coords=None, point_labels=None, boxes=transformed, multimask_output=False
        )
        answers.append(masks.permute(1, 0, 2, 3).cpu().numpy())
    assert answers[0].shape == (1, 2, 100, 150)
    ours = sam_hq.SamHQPredictor(sam.model, sam.processor)
    embeddings = ours.embed(image)
    np.testing.assert_array_equal(answers[0][0], ours.predict(embeddings, boxes=boxes).masks[:, 0])
    np.testing.assert_array_equal(answers[1], answers[0])


def test_samgeo(small, image):
    """Positional arguments, labels from a list, tensors of boxes; index of the best score."""
    predictor = SamPredictor(small)
    predictor.set_image(image, image_format="RGB")
    masks, scores, logits = predictor.predict(np.array([[40, 30], [60, 50]]), np.array([1, 0]), None, None, True, False)
    assert (masks.shape, masks.dtype, scores.shape, logits.shape) == ((1, 100, 150), bool, (1,), (1, 32, 32))
    assert masks[scores.argmax(axis=0)].any()
    generator = SamAutomaticMaskGenerator(
        small, points_per_side=4, pred_iou_thresh=-9.0, stability_score_thresh=0.0, crop_n_layers=1
    )
    for record in generator.generate(image):
        assert record["segmentation"].shape == (100, 150)
        assert record["segmentation"].dtype == bool
        assert record["area"] == record["segmentation"].sum()


def test_autodistill(small, image):
    """The generator with its own defaults, on what OpenCV reads; its records as supervision's detections."""
    generator = SamAutomaticMaskGenerator(small)
    records = generator.generate(np.ascontiguousarray(image[..., ::-1]))
    assert isinstance(records, list)
    permissive = SamAutomaticMaskGenerator(small, 4, pred_iou_thresh=-9.0, stability_score_thresh=0.0)
    found = supervision.Detections.from_sam(permissive.generate(np.ascontiguousarray(image[..., ::-1])))
    assert found.mask.shape == (len(found), 100, 150)
    np.testing.assert_array_equal(found.area, found.mask.sum((1, 2)))
    assert (np.diff(found.area) <= 0).all()


def test_the_notebook_of_batched_inputs(small, image):
    """Two images with prompts in one call, each as its own predictor answers."""
    transform = sam_hq.segment_anything.ResizeLongestSide(small.image_encoder.img_size)
    other = np.ascontiguousarray(image[:, :80])
    boxes = [torch.tensor([[10.0, 20, 90, 80], [30, 10, 140, 95]]), torch.tensor([[5.0, 5, 70, 90]])]
    batch = [
        {
            "image": torch.as_tensor(transform.apply_image(each)).permute(2, 0, 1).contiguous(),
            "boxes": transform.apply_boxes_torch(of_image, each.shape[:2]),
            "original_size": each.shape[:2],
        }
        for each, of_image in zip((image, other), boxes, strict=True)
    ]
    outputs = small(batch, multimask_output=False)
    for each, of_image, output in zip((image, other), boxes, outputs, strict=True):
        predictor = SamPredictor(small)
        predictor.set_image(each)
        for box, mask, score, low_res in zip(
            of_image, output["masks"], output["iou_predictions"], output["low_res_logits"], strict=True
        ):
            _, scores, logits = predictor.predict(box=box.numpy(), multimask_output=False)
            assert mask.shape == (1, *each.shape[:2])
            np.testing.assert_allclose(low_res, logits, atol=1e-4)
            np.testing.assert_allclose(score, scores, atol=1e-5)


def test_features_can_be_kept_and_set_again(small, image):
    predictor, other = SamPredictor(small), SamPredictor(small)
    predictor.set_image(image)
    expected = predictor.predict(box=np.array([10, 20, 90, 80]))
    other.set_image(image[::-1].copy())
    other.predict(box=np.array([10, 20, 90, 80]))
    other.features, other.interm_features = predictor.get_image_embedding(), predictor.interm_features
    np.testing.assert_array_equal(other.predict(box=np.array([10, 20, 90, 80]))[2], expected[2])
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match="set_image"):
        predictor.predict(box=np.array([10, 20, 90, 80]))


def test_a_wrapped_checkpoint_is_unwrapped(tmp_path, light):
    weights = {f"module.{name}": torch.from_numpy(value) for name, value in seeded_state_dict("vit_tiny").items()}
    torch.save({"model": weights, "epoch": 3}, tmp_path / "trained.pth")
    with pytest.warns(UserWarning, match="module"):
        sam = sam_model_registry["vit_tiny"](tmp_path / "trained.pth")
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(sam.parameters(), light.parameters(), strict=True))


def test_a_plain_sam_checkpoint_is_refused(tmp_path):
    hq_parts = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
    weights = {
        name: torch.from_numpy(value)
        for name, value in seeded_state_dict("vit_tiny").items()
        if not any(part in name for part in hq_parts)
    }
    torch.save(weights, tmp_path / "mobile_sam.pt")
    with pytest.raises(ValueError, match="plain SAM"):
        sam_model_registry["mobile_sam"](tmp_path / "mobile_sam.pt")


def test_what_does_not_fit_is_refused(tmp_path, directory, small, image):
    with pytest.raises(ValueError, match="vit_h"):
        sam_model_registry["vit_h"](checkpoint=authors_file(tmp_path / "tiny.pth"))
    with pytest.raises(ValueError, match="another backbone"):
        sam_model_registry["vit_b"](directory)
    with pytest.raises(OSError, match="nowhere"):
        sam_model_registry["vit_b"](tmp_path / "nowhere.pth")
    with pytest.raises(TypeError, match="sam_model_registry"):
        SamPredictor(torch.nn.Identity())
    predictor = SamPredictor(small)
    for wrong in (image / 255.0, image[..., 0], np.dstack([image, image[..., :1]])):
        with pytest.raises(ValueError, match="uint8"):
            predictor.set_image(wrong)
    with pytest.raises(ValueError, match="image_format"):
        predictor.set_image(image, "RGBA")
    predictor.set_image(image)
    with pytest.raises(ValueError, match="point_labels"):
        predictor.predict(np.array([[1, 2]]))
    with pytest.raises(ValueError, match="one object"):
        predictor.predict(box=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="points_per_side"):
        SamAutomaticMaskGenerator(small, points_per_side=None)
    with pytest.raises(ValueError, match="points_per_crop must be at least 1, got 0"):
        SamAutomaticMaskGenerator(small, points_per_side=0)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ({"point_coords": [[5, 5]], "point_labels": [3]}, r"point_labels may hold 1 \(foreground\)"),
        ({"point_coords": [[5, 5]], "point_labels": [1, 0]}, r"point_labels must have one .* for point_coords of"),
        ({"point_coords": [[5, np.nan]], "point_labels": [1]}, "point_coords must be finite"),
        ({"box": [50, 50, 10, 10]}, "box must be x0, y0, x1, y1"),
        ({"box": [np.nan, 0, 4, 4]}, "box must be finite"),
        ({"mask_input": np.zeros((1, 7, 7))}, "mask_input must have shape"),
        ({"point_labels": [1]}, "point_labels were given without point_coords"),
        ({"box": [5, 5, 10, 10], "mask_input": np.zeros((3, 7, 7))}, r"mask_input must be .*got \(1, 3, 7, 7\)"),
    ],
)
def test_prompts_are_refused_by_the_names_of_segment_anything(small, image, prompts, words):
    predictor = SamPredictor(small)
    predictor.set_image(image)
    with pytest.raises(ValueError, match=f"^{words}"):
        predictor.predict(**{name: np.array(value) for name, value in prompts.items()})


UNREADABLE = [
    ({"box": ["a", "b", "c", "d"]}, TypeError, "box must hold numbers"),
    ({"box": [50, 50, 10, 20]}, ValueError, r"box must be x0.*got \[50\.0, 50\.0, 10\.0, 20\.0\]"),
    ({"point_coords": [[5, 5]], "point_labels": ["1"]}, TypeError, "point_labels must hold numbers"),
    ({"point_coords": [[5, 5]], "point_labels": [0.5]}, ValueError, "point_labels must be whole"),
    ({"point_coords": [5, 5], "point_labels": [1]}, ValueError, r"point_coords must be \(N, 2\)"),
    ({"point_coords": [[5j, 5]], "point_labels": [1]}, TypeError, "point_coords must hold numbers"),
    ({"mask_input": [None]}, TypeError, "mask_input must hold numbers"),
    ({"box": [5, 5, 50, 50], "return_logits": "no"}, TypeError, "return_logits must be True or False"),
]


@pytest.mark.parametrize(("prompts", "kind", "words"), UNREADABLE)
def test_what_is_no_prompt_is_refused_with_what_came(small, image, prompts, kind, words):
    predictor = SamPredictor(small)
    predictor.set_image(image)
    with pytest.raises(kind, match=f"^{words}"):
        predictor.predict(**prompts)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (
            {"box": [0.1, 0.2, 0.9, 0.8]},
            "box must be in pixels of the image, but these look like fractions of its size",
        ),
        ({"box": [200, 200, 300, 300]}, "box is one that lies wholly outside .* in 150 x 100 pixels"),
        ({"box": [10, 10, 10, 50]}, "box is one without area"),
        ({"point_coords": [[500, 5]], "point_labels": [1]}, "point_coords has points that lie outside their image"),
    ],
)
def test_prompts_that_can_only_be_mistakes_are_warned_about(small, image, prompts, words):
    predictor = SamPredictor(small)
    predictor.set_image(image)
    with pytest.warns(PromptWarning, match=f"^{words}"):
        predictor.predict(**prompts)


def test_images_and_sizes_that_are_not_of_one_image_are_refused(small):
    predictor, side = SamPredictor(small), small.image_encoder.img_size
    frame = 255 * torch.rand(1, 3, side * 3 // 4, side)
    for given, size, words in (
        (frame, (600, 450), "original_image_size and the resized frame .* are height and width exchanged"),
        (frame, (600,), "original_image_size must be pairs"),
        (frame / 255, (450, 600), r"transformed_image must hold values in 0 to 255, got [\d.e-]+ to [01]"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            predictor.set_torch_image(given, size)
    with pytest.raises(TypeError, match="transformed_image must be a tensor, got ndarray"):
        predictor.set_torch_image(frame.numpy(), (450, 600))
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
        predictor.set_image(np.zeros((0, 5, 3), np.uint8))
    predictor.set_torch_image(frame, (450, 600))
    for prompts, kind, words in (
        ({"boxes": [[1.0, 2, 3, 4]]}, TypeError, "boxes must be a tensor, got list"),
        ({"boxes": torch.ones(2, 3, 4)}, ValueError, r"boxes must be \(B, 4\)"),
        ({"mask_input": torch.zeros(32, 32)}, ValueError, r"mask_input must be \(B, 1, 4h, 4w\)"),
        (
            {"boxes": torch.tensor([[1.0, 2, 30, 40]] * 2), "mask_input": torch.zeros(3, 1, 32, 32)},
            ValueError,
            r"mask_input must be of 1 object or of 2, got \(3, 1, 32, 32\)",
        ),
    ):
        with pytest.raises(kind, match=f"^{words}"):
            predictor.predict_torch(None, None, **prompts)


def test_records_of_a_batch_are_refused_by_their_place(small):
    side = small.image_encoder.img_size
    good = {"image": 255 * torch.rand(3, side // 2, side), "original_size": (50, 100)}
    for change, words in (
        ({"original_size": None}, "original_size must be pairs"),
        ({"original_size": (100, 50)}, "original_size and the resized frame .* exchanged"),
        ({"point_coords": torch.ones(1, 1, 2)}, r"batched_input\[1\] lacks 'point_labels'"),
        ({"point_labels": torch.ones(1, 1)}, r"batched_input\[1\] lacks 'point_coords'"),
        ({"image": 255 * torch.rand(3, side, 2 * side)}, f"image must be .* of at most {side} pixels"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            small([good, {**good, **change}], multimask_output=False)
    with pytest.raises(ValueError, match=r"batched_input\[0\] lacks 'image'"):
        small([{"original_size": (50, 100)}], multimask_output=False)
    for batch in ([], good, ["image"], None):
        with pytest.raises(ValueError, match="batched_input must be a list with a dictionary for each image"):
            small(batch, multimask_output=False)
    nothing = {"point_coords": None, "point_labels": None, "boxes": None}
    small([{**good, **nothing, "boxes": torch.tensor([[1.0, 2, 30, 40]])}], multimask_output=False)
    with pytest.warns(UserWarning, match=r"batched_input\[0\] has \['mask_input'\], which are ignored") as warned:
        small([{**good, "mask_input": torch.zeros(1, 1, side // 4, side // 4)}], multimask_output=False)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("height", [1, 3])
def test_a_photo_of_one_or_three_rows_has_masks_of_its_size(small, height):
    strip = np.random.default_rng(0).integers(0, 256, (height, 90, 3), dtype=np.uint8)
    everything = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 2}
    found = SamAutomaticMaskGenerator(small, **everything).generate(strip)
    assert found
    assert {record["segmentation"].shape for record in found} == {(height, 90)}


def test_an_exchanged_early_feature_is_read(small, image):
    box = np.array([10, 10, 60, 60])
    predictor = SamPredictor(small)
    predictor.set_image(image)
    before = predictor.predict(box=box, return_logits=True)[0]
    predictor.interm_features[0] = torch.zeros_like(predictor.interm_features[0])
    after = predictor.predict(box=box, return_logits=True)[0]
    other = SamPredictor(small)
    other.set_image(image)
    other.features, other.interm_features = predictor.features, predictor.interm_features
    assert (other.predict(box=box, return_logits=True)[0] == after).all()
    assert (before != after).any()
