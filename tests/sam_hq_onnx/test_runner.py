"""The runner without torch: the same masks as the torch model from the same images and prompts."""

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PHOTOS, REPOSITORY
from exported_models import SMALL, kinds, model_and_processor
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq.images.image_loading import load_rgb
from sam_hq.images.mask_frames import low_res_masks_to_photo
from sam_hq_numpy.prompt_warnings import PromptWarning
from sam_hq_onnx import GraphMetadata, OnnxSamHQ
from sam_hq_onnx.encoder_inputs import encoder_input, image_rgb
from sam_hq_onnx.masks import PhotoFrame
from sam_hq_onnx.prompts import decoder_prompts

pytest.importorskip("onnx", reason="needs the extra `onnx`")
# A wide image, a tall one, and one smaller than the model's square.
SIZES = [(200, 320), (310, 170), (60, 90)]
EVERYTHING = {"points_per_crop": 4, "pred_iou_thresh": -100.0, "stability_score_thresh": -1.0}


@pytest.fixture(scope="module", params=kinds())
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def runner(kind, exports):
    return OnnxSamHQ(exports(kind).directory, providers="cpu", threads=1)


@pytest.fixture(scope="module")
def photos():
    names = ("scissors.png", "lemur.png", "kitten.jpg")
    return [
        np.asarray(Image.open(PHOTOS / name).convert("RGB").resize((width, height)))
        for name, (height, width) in zip(names, SIZES, strict=True)
    ]


def ragged_prompts(kinds_of_prompt: str, mask_size: int) -> dict:
    """One object in the first image, three in the second, two in the third."""
    points = [[[[100, 80]]], [[[60, 100], [20, 30]], [[90, 200]], [[40, 250], [50, 240], [60, 230]]], [[[30, 30]]] * 2]
    labels = [[[1]], [[1, 0], [0], [1, 1, 0]], [[1], [0]]]
    boxes = [[[30, 20, 250, 180]], [[10, 20, 90, 200], [5.5, 9, 160, 300], [60, 60, 70, 75]], [[0, 0, 90, 60]] * 2]
    rows, columns = np.mgrid[:mask_size, :mask_size] / mask_size
    blob = (8 - 30 * np.hypot(rows - 0.3, columns - 0.4)).astype(np.float32)
    masks = [[blob], [blob, -blob, blob / 2], [blob, blob]]
    prompts: dict = {}
    if "points" in kinds_of_prompt:
        prompts |= {"input_points": points, "input_labels": labels}
    if "boxes" in kinds_of_prompt:
        prompts["input_boxes"] = boxes
    if "masks" in kinds_of_prompt:
        prompts["input_masks"] = masks
    return prompts


def torch_masks(kind, photos, prompts, **flags):
    model, processor = model_and_processor(kind)
    inputs = processor(photos, return_tensors="pt", **prompts)
    valid = inputs.pop("valid_objects", None)
    with torch.no_grad():
        outputs = model(**inputs, **flags)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    logits = processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False, valid_objects=valid)
    scores = outputs.iou_scores if valid is None else [s[v] for s, v in zip(outputs.iou_scores, valid, strict=True)]
    return [part.numpy() for part in logits], [part.numpy() for part in scores]


def with_kinds(cases):
    """Every case with every small model; the first with the embedded checkpoint too, at full size."""
    return [(kind, *case) for kind in kinds() for case in (cases if kind in SMALL else cases[:1])]


RAGGED = [
    ("points and boxes and masks", {"multimask_output": False, "hq_token_only": True}),
    ("points", {}),
    ("boxes", {"multimask_output": False}),
    ("masks", {"hq_token_only": True}),
    ("points and boxes", {}),
    ("nothing", {}),
]


@pytest.mark.parametrize(("kind", "kinds_of_prompt", "flags"), with_kinds(RAGGED), indirect=["kind"])
def test_ragged_prompts_on_images_of_several_sizes(kind, runner, photos, kinds_of_prompt, flags):
    prompts = ragged_prompts(kinds_of_prompt, runner.metadata.mask_size)
    logits, scores = torch_masks(kind, photos, prompts, **flags)
    found = runner.segment(photos, **prompts, **flags)
    for photo, one, wanted, wanted_scores in zip(photos, found, logits, scores, strict=True):
        assert one.masks.shape == wanted.shape
        assert one.masks.shape[2:] == photo.shape[:2]
        np.testing.assert_allclose(one.scores, wanted_scores, atol=1e-4 * max(1, np.abs(wanted_scores).max()))
        clear = np.abs(wanted) > 1e-3 * np.abs(wanted).max()
        np.testing.assert_array_equal(one.masks[clear], (wanted > 0)[clear])
        assert clear.mean() > 0.9


def test_embeddings_are_prompted_again_and_again(runner, photos):
    embeddings = runner.embed(photos[0])
    (first,) = runner.segment(embeddings, input_boxes=[[[30, 20, 250, 180]]], multimask_output=False)
    (again,) = runner.segment(photos[0], input_boxes=[[[30, 20, 250, 180]]], multimask_output=False)
    np.testing.assert_array_equal(first.masks, again.masks)
    (refined,) = runner.segment(embeddings, input_points=[[[[90, 90]]]], input_masks=[first.low_res_masks[:, 0]])
    assert refined.masks.shape == (1, 3, *SIZES[0])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_zeros_and_ones_are_the_mask_that_the_processor_makes_of_them(kind, runner, photos, dtype):
    mask = ragged_prompts("masks", runner.metadata.mask_size)["input_masks"][0][0] > 0
    _, processor = model_and_processor(kind)
    wanted = processor(photos[:1], input_masks=[[mask]])["input_masks"][0, 0].numpy()
    size = [runner.metadata.image_size * side // max(SIZES[0]) for side in SIZES[0]]
    prompts, _ = decoder_prompts(SIZES[:1], [size], len(mask), input_masks=[[mask.astype(dtype)]])
    np.testing.assert_array_equal(prompts["input_masks"][0, 0], wanted)


@pytest.mark.parametrize("prompts", [{"input_boxes": [[]]}, {"input_points": [[]]}, {"input_masks": [[]]}])
def test_an_image_without_objects_has_no_masks(runner, photos, prompts):
    (found,) = runner.segment(photos[0], **prompts)
    assert found.masks.shape == (0, 3, *SIZES[0])
    assert found.scores.shape == (0, 3)


def test_mistakes_in_prompts_are_said(runner, photos):
    with pytest.warns(PromptWarning, match="fractions of its size: object 1 of image 0"):
        runner.segment(photos[0], input_boxes=[[[30, 20, 250, 180], [0.1, 0.1, 0.9, 0.9]]])
    with pytest.warns(PromptWarning, match=r"input_masks\[0\]\[0\] is an empty mask"):
        runner.segment(photos[0], input_masks=[[np.zeros((runner.metadata.mask_size,) * 2)]])
    probabilities = np.full((runner.metadata.mask_size,) * 2, 0.4, np.float32)
    with pytest.warns(PromptWarning, match=r"input_masks\[0\]\[0\] holds only numbers from 0 to 1"):
        runner.segment(photos[0], input_masks=[[probabilities]])
    labels = np.tile(np.arange(runner.metadata.mask_size) // 9, (runner.metadata.mask_size, 1))
    with pytest.warns(PromptWarning, match=r"input_masks\[0\]\[0\] is read as logits, but seems to be a label map"):
        runner.segment(photos[0], input_masks=[[labels.astype(np.float32)]])
    with pytest.raises(ValueError, match=r"input_masks\[0\]\[0\] must be finite floating point logits"):
        runner.segment(photos[0], input_masks=[[labels]])


def test_answers_that_are_not_finite_are_refused(runner, photos):
    """As graphs whose weights are NaN give them."""

    class Damaged:
        def __init__(self, session):
            self.session = session

        def run(self, names, inputs):
            return [values * np.float32("nan") for values in self.session.run(names, inputs)]

    boxes = {"input_boxes": [[[30, 20, 250, 180]]]}
    for damaged, graph in (
        ((Damaged(runner.encoder), runner.decoder), "encoder"),
        ((runner.encoder, Damaged(runner.decoder)), "decoder"),
    ):
        with pytest.raises(ValueError, match=f"the {graph}'s answer is not finite"):
            OnnxSamHQ.from_sessions(*damaged, runner.metadata).segment(photos[0], **boxes)


def test_exchanged_sizes_are_refused(runner):
    side = runner.metadata.image_size
    with pytest.raises(ValueError, match="are height and width exchanged"):
        runner.frame((100, 200), (side, side // 2))


def test_an_hq_token_trained_on_the_sum_alone_is_said(runner, photos):
    metadata = dataclasses.replace(runner.metadata, hq_token_trained_alone=False)
    suited = OnnxSamHQ.from_sessions(runner.encoder, runner.decoder, metadata)
    with pytest.warns(UserWarning, match="only as a correction"):
        suited.segment(photos[0], input_boxes=[[[30, 20, 250, 180]]], hq_token_only=True)
    strings = metadata.to_strings()
    assert not GraphMetadata.from_strings(strings, "here").hq_token_trained_alone
    del strings["hq_token_trained_alone"]  # written by an earlier version
    assert GraphMetadata.from_strings(strings, "here").hq_token_trained_alone


def test_many_objects_are_decoded_part_by_part(runner, photos, monkeypatch):
    boxes = [[[10 * n, 5 * n, 10 * n + 90, 5 * n + 80] for n in range(count)] for count in (7, 2)]
    together = runner.segment(photos[:2], input_boxes=boxes)
    monkeypatch.setattr("sam_hq_onnx.runner.MASK_PIXELS_AT_ONCE", 2 * 2 * runner.metadata.mask_size**2)
    calls, run = [], runner.decoder.run
    sizes = type(
        "Counted", (), {"run": lambda _, names, inputs: calls.append(inputs["has_box"].shape) or run(names, inputs)}
    )
    monkeypatch.setattr(runner, "decoder", sizes())
    for one, other in zip(runner.segment(photos[:2], input_boxes=boxes), together, strict=True):
        np.testing.assert_allclose(one.low_res_masks, other.low_res_masks, atol=1e-4)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    assert calls == [(2, 2), (2, 2), (2, 2), (2, 1)]


def test_images_are_prepared_bit_for_bit(runner, kind, photos):
    _, processor = model_and_processor(kind)
    wanted = processor(photos, return_tensors="np")
    pixel_values, original, reshaped = encoder_input(photos, runner.metadata)
    np.testing.assert_array_equal(pixel_values, wanted["pixel_values"])
    assert original == [tuple(size) for size in wanted["original_sizes"].tolist()]
    assert reshaped == [tuple(size) for size in wanted["reshaped_input_sizes"].tolist()]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16", "F", "P"])
def test_files_of_every_mode_are_read_as_the_processor_reads_them(mode, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray((pixels[..., 0].astype(np.uint16) * 256) + 7)
    elif mode == "F":
        image = Image.fromarray(pixels[..., 0].astype(np.float32) / 255)
    else:
        image = Image.fromarray(pixels).convert(mode)
    path = tmp_path / ("photo.tiff" if mode == "F" else "photo.png")
    image.save(path)
    wanted, _ = load_rgb(path)
    np.testing.assert_array_equal(image_rgb(path), wanted)
    np.testing.assert_array_equal(image_rgb(Image.open(path)), wanted)


@pytest.mark.parametrize("original", [(37, 53), (1000, 301), (128, 128)])
def test_masks_reach_photo_size_as_in_torch(original):
    longest = max(original)
    reshaped = tuple(int(side * 128 / longest + 0.5) for side in original)
    logits = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = low_res_masks_to_photo(logits, reshaped, original, (128, 128), binarize=False).numpy()
    frame = PhotoFrame(original, reshaped, 128, 32)
    for mask, photo in zip(logits.numpy(), wanted, strict=True):
        np.testing.assert_allclose(frame.logits(mask), photo, atol=2e-5)


GENERATION = [
    ({},),
    ({"multimask_output": False, "hq_token_only": True, "output_rle_mask": True, "output_bboxes_mask": True},),
    ({"candidates_per_point": 3, "crops_nms_thresh": 0.9},),
    ({"crops_n_layers": 1, "crop_n_points_downscale_factor": 2, "min_mask_region_area": 30},),
    ({"max_hole_area": 20, "max_sprinkle_area": 20, "output_mode": "coco_rle"},),
    ({"pred_iou_thresh": 0.1, "stability_score_thresh": 0.5, "points_per_batch": 5, "output_mode": "binary_mask"},),
]


@pytest.mark.parametrize(("kind", "options"), with_kinds(GENERATION), indirect=["kind"])
def test_generation_finds_what_the_torch_generator_finds(kind, runner, photos, options):
    model, processor = model_and_processor(kind)
    options = {**EVERYTHING, **options}
    wanted = SamHQMaskGenerator(model, processor.image_processor, **options).generate(photos[0])
    found = runner.generate(photos[0], **options)
    if options.get("output_mode"):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert one.keys() == other.keys()
            assert one["crop_box"] == other["crop_box"]
            np.testing.assert_allclose(one["point_coords"], other["point_coords"])
            np.testing.assert_allclose(one["predicted_iou"], other["predicted_iou"], atol=1e-3)
            np.testing.assert_allclose(one["area"], other["area"], rtol=0.02, atol=3)
        return
    assert found.keys() == wanted.keys()
    assert len(found["masks"]) == len(wanted["masks"]) > 0
    np.testing.assert_allclose(found["scores"], wanted["scores"].numpy(), atol=1e-3)
    for one, other in zip(found["masks"], wanted["masks"], strict=True):
        assert np.mean(one != other) < 0.01
    if "bounding_boxes" in wanted:
        np.testing.assert_allclose(found["bounding_boxes"], wanted["bounding_boxes"].numpy(), atol=2)


def test_records_come_one_by_one(runner, photos):
    records = runner.iterate(photos[2], **EVERYTHING)
    first = next(records)
    assert first["segmentation"].shape == SIZES[2]


def test_what_suits_the_model_holds_unless_an_option_is_given(runner, photos, monkeypatch):
    suited = dataclasses.replace(runner.metadata, mask_generation=dict(EVERYTHING))
    strings = suited.to_strings()
    assert GraphMetadata.from_strings(strings, "here") == suited
    del strings["mask_generation"]  # written by an earlier version
    assert GraphMetadata.from_strings(strings, "here").mask_generation == {}
    wanted = runner.generate(photos[2], **EVERYTHING)
    monkeypatch.setattr(runner, "metadata", suited)
    assert runner.generate(photos[2])["scores"].tolist() == wanted["scores"].tolist()
    assert not runner.generate(photos[2], pred_iou_thresh=99.0)["masks"]


def test_tiles_are_refused(runner, photos):
    with pytest.raises(ValueError, match="tile_size is not supported without torch"):
        runner.generate(photos[0], tile_size=100)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"input_labels": [[[1]]]}, "input_labels were given without input_points"),
        ({"input_points": [[[[1, np.nan]]]]}, r"input_points\[0\]\[0\] must be finite"),
        ({"input_points": [[[[1, 2]]]], "input_labels": [[[5]]]}, r"input_labels\[0\]\[0\] may hold"),
        ({"input_points": [[[]]]}, "has no object|has no point"),
        ({"input_boxes": [[[9, 9, 1, 20]]]}, r"input_boxes\[0\] must be x0, y0, x1, y1"),
        ({"input_boxes": [[[1, 1, 9, 9]] * 2], "input_points": [[[[1, 2]]]]}, "same number of objects"),
        ({"input_masks": [[np.zeros((5, 5), np.float32)]]}, r"input_masks\[0\] must be floating point logits"),
        ({"input_masks": [[np.full((32, 32), 7)]]}, r"input_masks\[0\]\[0\] must be finite floating point logits"),
        ({"input_masks": [[np.full((32, 32), 1e25)]]}, r"input_masks\[0\]\[0\] must be finite floating point logits"),
        ({"input_boxes": [[[1, 1, 9, 9]]] * 2}, "for 2 images"),
    ],
)
def test_impossible_prompts_are_refused_by_name(photos, exports, prompts, message):
    small = OnnxSamHQ(exports("vit").directory, providers="cpu")
    with pytest.raises(ValueError, match=message):
        small.segment(photos[0], **prompts)


def test_impossible_images_are_refused_by_name(exports, tmp_path):
    small = OnnxSamHQ(exports("vit").directory, providers="cpu")
    (tmp_path / "text.png").write_text("no image")
    for image, error, message in (
        (tmp_path / "none.png", ValueError, "no such file"),
        (tmp_path / "text.png", ValueError, "cannot read"),
        (np.full((4, 4), 300.0), ValueError, "must hold values in"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "empty image"),
        (17, TypeError, "images must hold PIL images, paths"),
        ([], ValueError, "images is empty"),
    ):
        with pytest.raises(error, match=message):
            small.embed(image)
    with pytest.raises(ValueError, match="more than max_pixels=10"):
        small.embed(np.zeros((4, 4, 3), np.uint8), max_pixels=10)


def test_what_cannot_be_loaded_is_named(exports, tmp_path):
    directory = exports("vit").directory
    with pytest.raises(ValueError, match=r"there is no .*encoder\.onnx"):
        OnnxSamHQ(tmp_path)
    with pytest.raises(ValueError, match="provider 'CUDAExecutionProvider' is not in this onnxruntime"):
        OnnxSamHQ(directory, providers="cuda")
    (tmp_path / "encoder.onnx").write_bytes((exports(kinds()[1]).directory / "encoder.onnx").read_bytes())
    (tmp_path / "decoder.onnx").write_bytes((directory / "decoder.onnx").read_bytes())
    with pytest.raises(ValueError, match="of different models"):
        OnnxSamHQ(tmp_path)
    (tmp_path / "decoder.onnx").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot load"):
        OnnxSamHQ(tmp_path)


def test_metadata_of_other_graphs_are_refused(exports):
    strings = exports("vit").metadata.to_strings()
    assert GraphMetadata.from_strings(strings, "here") == exports("vit").metadata
    with pytest.raises(ValueError, match=r"here must be a graph of the format 'sam-hq-onnx/1', got None"):
        GraphMetadata.from_strings({}, "here")
    with pytest.raises(ValueError, match="metadata of here are damaged"):
        GraphMetadata.from_strings({**strings, "image_size": "wide"}, "here")


def test_nothing_of_torch_or_transformers_is_imported_or_needed(exports, tmp_path):
    """In a process where both cannot be imported, though they are installed."""
    code = """
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "transformers", "safetensors", "huggingface_hub", "accelerate"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
        from sam_hq_onnx import OnnxSamHQ
        directory, photo = sys.argv[1:]
        runner = OnnxSamHQ(directory, providers="cpu")
        (found,) = runner.segment(photo, input_boxes=[[[20, 30, 200, 220]]], input_points=[[[[90, 90]]]])
        assert found.masks.any(), found.scores
        options = {"points_per_crop": 2, "pred_iou_thresh": -100, "stability_score_thresh": -1}
        assert len(runner.generate(photo, **options)["masks"])
        from sam_hq_cli.main import main
        words = ["segment", photo, "--model", directory, "--box", "20", "30", "200", "220", "--masks", "masks.npz"]
        assert main(words) == 0
        print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "transformers"}))
    """
    done = run_python(code, exports("vit").directory, PHOTOS / "scissors.png", cwd=tmp_path)
    assert done.splitlines()[-1] == "[]"
    assert np.load(tmp_path / "masks.npz")["masks"].shape[0] == 1


def test_importing_the_runner_imports_neither_torch_nor_transformers():
    code = """
        import sys
        import sam_hq_onnx
        print([name for name in ("torch", "transformers", "onnxruntime") if name in sys.modules])
    """
    assert run_python(code).strip() == "[]"


def run_python(code: str, *arguments: Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(REPOSITORY / "src"), "PATH": "/usr/bin:/bin"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
