import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sam_hq.image_processing_sam_hq import SamHQImageProcessor, resize_rgb
from sam_hq.processing_sam_hq import SamHQProcessor

PHOTOS = Path(__file__).resolve().parents[1] / "docs" / "photos"
WIDE, TALL, SMALL = PHOTOS / "lemur.png", PHOTOS / "liberty.png", PHOTOS / "scissors.png"
SMALL_OPTIONS = {
    "size": {"longest_edge": 128},
    "pad_size": {"height": 128, "width": 128},
    "mask_size": {"longest_edge": 32},
}


@pytest.fixture(scope="module")
def processor():
    return SamHQImageProcessor()


@pytest.fixture(scope="module")
def small():
    return SamHQImageProcessor(**SMALL_OPTIONS)


def pixel_values_by_definition(photo, side):
    """The paper's preprocessing: Pillow on 8 bits, mean and deviation in 0..255, zeros after normalising."""
    width, height = photo.size
    scale = side / max(height, width)
    resized = photo.resize((int(width * scale + 0.5), int(height * scale + 0.5)), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    mean = torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
    deviation = torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
    normalised = (pixels - mean) / deviation
    return F.pad(normalised, (0, side - resized.width, 0, side - resized.height))


@pytest.mark.parametrize("path", [WIDE, TALL, SMALL], ids=lambda path: path.stem)
def test_pixel_values_equal_the_papers(processor, path):
    inputs = processor(path)
    photo = Image.open(path).convert("RGB")
    assert inputs["pixel_values"].dtype == torch.float32
    assert torch.equal(inputs["pixel_values"][0], pixel_values_by_definition(photo, 1024))
    assert inputs["original_sizes"].tolist() == [[photo.height, photo.width]]
    scale = 1024 / max(photo.size)
    expected = [[int(photo.height * scale + 0.5), int(photo.width * scale + 0.5)]]
    assert inputs["reshaped_input_sizes"].tolist() == expected


def test_a_batch_of_different_sizes_equals_its_images_one_by_one(small):
    batch = small([WIDE, Image.open(TALL), np.asarray(Image.open(SMALL).convert("RGB"))])
    for index, path in enumerate((WIDE, TALL, SMALL)):
        single = small(path)
        for name, values in single.items():
            assert torch.equal(batch[name][index : index + 1], values), name


def test_tensors_are_resized_on_their_device_as_pillow_does():
    photo = np.array(Image.open(WIDE).convert("RGB"))
    for resample in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        tensor = resize_rgb(torch.from_numpy(photo).permute(2, 0, 1), (83, 128), resample)
        assert torch.equal(tensor, resize_rgb(photo, (83, 128), resample))


def test_numpy_is_returned_when_asked_for(small):
    inputs = small(WIDE, return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in inputs.values())
    assert np.array_equal(inputs["pixel_values"], small(WIDE, return_tensors="pt")["pixel_values"].numpy())


def test_steps_can_be_switched_off(small):
    photo = Image.open(SMALL).convert("RGB").resize((100, 80))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1).float()
    raw = small(photo, do_resize=False, do_rescale=False, do_normalize=False, do_pad=False)
    assert torch.equal(raw["pixel_values"][0], pixels)
    unit = small(photo, do_resize=False, do_normalize=False)["pixel_values"][0]
    assert torch.allclose(unit[:, :80, :100], pixels / 255)
    assert not unit[:, 80:].any()
    assert not unit[:, :, 100:].any()
    plain = small(photo, do_resize=False, do_pad=False, image_mean=0.5, image_std=[0.5] * 3)["pixel_values"][0]
    assert torch.allclose(plain, pixels / 255 * 2 - 1, atol=1e-6)
    squashed = small(photo, size={"height": 128, "width": 128})
    assert squashed["reshaped_input_sizes"].tolist() == [[128, 128]]
    with pytest.warns(UserWarning, match=r"resample=0 \(nearest\)"):
        nearest = small(photo, resample=Image.Resampling.NEAREST, do_normalize=False)["pixel_values"][0, :, :102]
    expected = np.array(photo.resize((128, 102), Image.Resampling.NEAREST))
    assert torch.allclose(nearest * 255, torch.from_numpy(expected).permute(2, 0, 1).float())


def test_resizing_by_single_pixels_is_said_once_however_it_was_chosen(small, tmp_path):
    photo = Image.open(SMALL).convert("RGB")
    fields = {**small.to_dict(), "resample": 0}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(fields))
    saved, changed = SamHQImageProcessor.from_pretrained(tmp_path), SamHQImageProcessor.from_dict(small.to_dict())
    changed.resample = Image.Resampling.NEAREST
    ways = [
        lambda: SamHQImageProcessor.from_dict(fields)(photo),
        lambda: saved(photo),
        lambda: changed([photo, photo]),
        lambda: small(photo, resample=0),
        lambda: SamHQProcessor(small)(photo, input_boxes=[[[1, 2, 30, 40]]], images_kwargs={"resample": 0}),
    ]
    for way in ways:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            way()
        assert [str(each.message)[:20] for each in seen] == ["resample=0 (nearest)"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saved(photo.resize((128, 102)))  # nothing to resize
        saved(photo.crop((0, 0, 100, 90)), do_resize=False)
        for other in (1, 2, 3, 4, 5):
            small(photo, resample=other)


@pytest.mark.parametrize("stretched", [(128, 128), (128, 64), (60, 128)])
@pytest.mark.parametrize("size", [(75, 100), (100, 75), (40, 200)])
def test_prompts_go_into_a_stretched_frame_and_masks_come_back_out_of_it(small, stretched, size):
    frame = {"height": stretched[0], "width": stretched[1]}
    processor = SamHQProcessor(SamHQImageProcessor.from_dict({**small.to_dict(), "size": frame}))
    box = np.array([0.2 * size[1], 0.1 * size[0], 0.7 * size[1], 0.6 * size[0]])
    inputs = processor(Image.new("RGB", size[::-1]), input_boxes=box[None, None])
    scale = np.array([stretched[1] / size[1], stretched[0] / size[0]] * 2)
    np.testing.assert_allclose(inputs["input_boxes"][0, 0], box * scale, rtol=1e-6)
    # The same box as a model would answer it, drawn into the low-res frame, is the box of the photo again.
    side = 32 / 128
    rows, columns = np.indices((32, 32)) + 0.5
    x0, y0, x1, y1 = box * scale * side
    inside = np.minimum.reduce([columns - x0, x1 - columns, rows - y0, y1 - rows])
    logits = torch.from_numpy(inside).float()[None, None, None]
    for sizes in ((inputs["original_sizes"], inputs["reshaped_input_sizes"]), (inputs["original_sizes"],)):
        mask = processor.post_process_masks(logits, *sizes)[0][0, 0].numpy()
        assert mask.shape == size
        y, x = np.indices(size) + 0.5
        wanted = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.9


def test_floats_in_the_unit_range_stay_there_without_rescaling(small):
    photo = np.asarray(Image.open(SMALL).convert("RGB"))
    expected = small(photo)["pixel_values"]
    assert torch.allclose(small(photo / 255, do_rescale=False)["pixel_values"], expected, atol=1e-6)
    assert torch.equal(small(photo / 255)["pixel_values"], expected)


def test_configurations_of_the_builtin_class_load(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "SamImageProcessor", "processor_class": "SamHQProcessor", "crop_size": null,'
        ' "device": null, "disable_grouping": null, "do_convert_rgb": true, "mask_pad_size": {"height": 256,'
        ' "width": 256}, "mask_size": {"longest_edge": 256}, "pad_size": {"height": 1024, "width": 1024},'
        ' "size": {"longest_edge": 1024}, "image_mean": [0.485, 0.456, 0.406], "a_key_of_the_future": 1}'
    )
    loaded = SamHQImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == SamHQImageProcessor().to_dict()


def test_options_survive_saving(tmp_path, small):
    SamHQImageProcessor(**SMALL_OPTIONS, max_pixels=10**9, image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    loaded = SamHQImageProcessor.from_pretrained(tmp_path)
    assert (loaded.size, loaded.pad_size, loaded.mask_size) == (small.size, small.pad_size, small.mask_size)
    assert (loaded.max_pixels, loaded.image_mean) == (10**9, [0.1, 0.2, 0.3])
    assert SamHQImageProcessor.from_pretrained(tmp_path, size={"longest_edge": 64}).size == {"longest_edge": 64}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_pixel": 5}, TypeError, "unknown option 'max_pixel' .* did you mean max_pixels"),
        ({"size": {"shortest_edge": 5}}, ValueError, "size must be a dictionary"),
        ({"size": {"longest_edge": 0}}, ValueError, "size must be a dictionary of positive"),
        ({"pad_size": {"longest_edge": 5}}, ValueError, "pad_size must be a dictionary"),
        ({"pad_size": 64}, ValueError, "pad_size=.* is smaller than an image of 83 x 128"),
        ({"image_std": [1.0, 0.0, 1.0]}, ValueError, "image_std must be positive"),
        ({"image_mean": [1.0, 0.0]}, ValueError, "image_mean must be one number or three"),
        ({"do_center_crop": True}, ValueError, "do_center_crop"),
        ({"do_convert_rgb": False}, ValueError, "do_convert_rgb"),
        ({"data_format": "channels_last"}, ValueError, "data_format"),
        ({"return_tensors": "tf"}, ValueError, "return_tensors must be 'pt' or 'np'"),
        ({"max_pixels": 0}, ValueError, "max_pixels must be a positive whole number, got 0"),
        ({"max_pixels": 1000}, ValueError, "640 x 414 = 264960 pixels, more than max_pixels=1000"),
        ({"size": {"longest_edge": float("inf")}}, ValueError, "size must be"),
        ({"max_pixels": "many"}, ValueError, "max_pixels must be a positive whole number, got 'many'"),
        ({"max_pixels": True}, ValueError, "max_pixels must be a positive whole number, got True"),
        ({"size": "large"}, ValueError, "size must be a dictionary .*, got large"),
        ({"size": True}, ValueError, "size must be a dictionary .*, got True"),
        ({"size": {"longest_edge": 99.5}}, ValueError, r"size must be a dictionary .*, got {'longest_edge': 99.5}"),
        ({"size": {"longest_edge": "99"}}, ValueError, r"size must be a dictionary .*, got {'longest_edge': '99'}"),
        ({"pad_size": [128, None]}, ValueError, "pad_size must be a dictionary"),
        ({"resample": 99}, ValueError, "resample must be one of PIL.Image.Resampling, got 99"),
        ({"rescale_factor": 0}, ValueError, "rescale_factor must be a positive number, got 0"),
        ({"image_mean": "gray"}, ValueError, "image_mean must be one number or three, got 'gray'"),
    ],
)
def test_bad_options_are_named(small, options, error, message):
    with pytest.raises(error, match=message):
        small(WIDE, **options)


def test_without_padding_the_sizes_have_to_agree(small):
    with pytest.raises(ValueError, match="do_pad=False needs images"):
        small([WIDE, TALL], do_pad=False)


def square_mask(path, low, high):
    width, height = Image.open(path).size
    mask = np.zeros((height, width), np.uint8)
    mask[int(low * height) : int(high * height), int(low * width) : int(high * width)] = 1
    return mask


def test_segmentation_maps_become_labels_in_the_padded_frame(small):
    maps = [[square_mask(WIDE, 0.2, 0.6), square_mask(WIDE, 0.5, 0.9) * 255], None, square_mask(SMALL, 0.0, 1.0) > 0]
    labels = small([WIDE, TALL, SMALL], maps)["labels"]
    assert labels.shape == (3, 2, 32, 32)
    assert labels.dtype == torch.int64
    assert (labels[1] == -100).all()
    assert (labels[2, 1] == -100).all()
    assert (labels[2, 0] == torch.tensor([1] * 24 + [-100] * 8)[:, None]).all()
    assert set(labels[0].unique().tolist()) == {-100, 0, 1}
    for label, low, high in zip(labels[0], (0.2, 0.5), (0.6, 0.9), strict=True):
        inside = (label == 1).nonzero()
        assert torch.allclose(inside.min(0).values / torch.tensor([20.7, 32]), torch.full((2,), low), atol=0.05)
        assert torch.allclose((inside.max(0).values + 1) / torch.tensor([20.7, 32]), torch.full((2,), high), atol=0.05)


def test_labels_come_at_any_resolution(small):
    maps = square_mask(WIDE, 0.2, 0.6)
    assert small(WIDE, maps, mask_size={"longest_edge": 128})["labels"].shape == (1, 1, 128, 128)
    assert small(WIDE, maps, do_pad=False)["labels"].shape == (1, 1, 21, 32)


def test_the_maps_of_one_image_may_lack_the_outer_level(small):
    mask = square_mask(WIDE, 0.2, 0.6)
    one = small(WIDE, mask)["labels"]
    for maps in ([mask], [[mask]], mask[None], torch.from_numpy(mask), Image.fromarray(mask * 255)):
        assert torch.equal(small(WIDE, maps)["labels"], one)
    assert torch.equal(small(WIDE, np.stack([mask, mask]))["labels"], torch.cat([one, one], 1))
    ignored = mask.astype(np.int16)
    ignored[100:200] = -100
    assert (small(WIDE, ignored)["labels"] == -100).sum() > (one == -100).sum()


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([np.zeros((4, 5))], r"segmentation_maps\[0\]\[0\] is \(4, 5\), its image is \(414, 640\)"),
        ([np.zeros((414, 640)), np.zeros((414, 641))], r"segmentation_maps\[0\]\[1\] is \(414, 641\)"),
        ([np.arange(414 * 640).reshape(414, 640) % 3], "must be binary"),
        (np.zeros((2, 1, 414, 640)), "segmentation_maps is for 2 images, but there are 1"),
        ([None], "segmentation_maps has no object in any image"),
        ([[]], "segmentation_maps has no object in any image"),
    ],
)
def test_maps_that_do_not_fit_are_named(small, maps, message):
    with pytest.raises(ValueError, match=message):
        small(WIDE, maps)


LOGITS = torch.randn(2, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
ORIGINAL, RESHAPED = [[60, 100], [64, 32]], [[77, 128], [128, 64]]


def masks_by_definition(logits, original_size, reshaped_size):
    padded = F.interpolate(logits.float(), (128, 128), mode="bilinear", align_corners=False)
    cropped = padded[..., : reshaped_size[0], : reshaped_size[1]]
    return F.interpolate(cropped, original_size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("form", [lambda x: x, list, lambda x: x.numpy(), lambda x: [part.numpy() for part in x]])
def test_post_processing_equals_its_definition(small, form):
    logits = small.post_process_masks(form(LOGITS), torch.tensor(ORIGINAL), torch.tensor(RESHAPED), binarize=False)
    masks = small.post_process_masks(form(LOGITS), ORIGINAL, RESHAPED, mask_threshold=0.1)
    for index in range(2):
        expected = masks_by_definition(LOGITS[index], ORIGINAL[index], RESHAPED[index])
        assert torch.equal(logits[index], expected)
        assert torch.equal(masks[index], expected > 0.1)


def test_post_processing_drops_padded_objects(small):
    everything = small.post_process_masks(LOGITS, ORIGINAL, RESHAPED)
    valid_objects = torch.tensor([[True, True, False], [False, False, False]])
    kept = small.post_process_masks(LOGITS, ORIGINAL, RESHAPED, valid_objects=valid_objects)
    assert torch.equal(kept[0], everything[0][:2])
    assert kept[1].shape == (0, 2, 64, 32)


@pytest.mark.parametrize("size", [{"longest_edge": 128}, {"height": 128, "width": 128}])
def test_exchanged_sizes_warn(size):
    processor = SamHQImageProcessor(**{**SMALL_OPTIONS, "size": size})
    options = processor.options_of_call({})
    for originals in ([(60, 100), (64, 32)], [(60, 100), (128, 128)], [(1, 100), (77, 128)]):
        reshaped = processor.reshaped_sizes(originals, options)
        with pytest.warns(UserWarning, match="original_sizes .* reshaped_input_sizes .* are the two exchanged") as seen:
            exchanged = processor.post_process_masks(LOGITS, torch.tensor(reshaped), torch.tensor(originals))
        assert [warning.filename for warning in seen] == [__file__]
        assert [tuple(mask.shape[-2:]) for mask in exchanged] == reshaped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for originals in (
            [(60, 100), (64, 32)],
            [(128, 128), (77, 128)],
            [(300, 500), (60, 100)],
            [(1, 900), (900, 1)],
        ):
            processor.post_process_masks(LOGITS, originals, processor.reshaped_sizes(originals, options))
        # Resized by the sizes of a call: only some could be exchanged.
        processor.post_process_masks(LOGITS, [(64, 128), (300, 500)], [(32, 64), (38, 64)])


def test_post_processing_takes_numbers_of_numpy(small):
    expected = small.post_process_masks(LOGITS, ORIGINAL, RESHAPED, mask_threshold=0.5)
    threshold, sizes = np.float32(0.5), [[np.int16(side) for side in size] for size in ORIGINAL]
    again = small.post_process_masks(LOGITS, sizes, RESHAPED, mask_threshold=threshold, binarize=np.True_)
    assert all(map(torch.equal, expected, again))


def test_post_processing_takes_another_frame(processor, small):
    expected = small.post_process_masks(LOGITS, ORIGINAL, RESHAPED)
    again = processor.post_process_masks(LOGITS, ORIGINAL, RESHAPED, pad_size={"height": 128, "width": 128})
    assert all(map(torch.equal, expected, again))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"masks": LOGITS[0]}, ValueError, r"masks must be \(images, objects, masks, h, w\)"),
        ({"masks": [LOGITS[0, 0], LOGITS[1]]}, ValueError, r"masks\[0\] must be \(objects, masks, h, w\)"),
        ({"masks": "masks"}, TypeError, "masks must be a tensor"),
        ({"masks": [[1], [2]]}, TypeError, r"masks\[0\] must be a tensor"),
        ({"original_sizes": ORIGINAL[:1]}, ValueError, "original_sizes must be 2 pairs"),
        ({"reshaped_input_sizes": [[77, 128], [128, 0]]}, ValueError, "reshaped_input_sizes must be 2 pairs"),
        ({"reshaped_input_sizes": [[77, 129], [128, 5]]}, ValueError, r"has \(77, 129\), which is more than pad_size"),
        ({"valid_objects": torch.ones(2, 3)}, ValueError, r"valid_objects must be \(2, objects\) bool"),
        ({"valid_objects": torch.ones(2, 4).bool()}, ValueError, "valid_objects has 4 objects per image"),
        ({"masks": LOGITS > 0}, TypeError, r"masks\[0\] must be floating point logits .*, got torch.bool"),
        ({"masks": LOGITS.to(torch.uint8).numpy()}, TypeError, r"masks\[0\] must be floating point .* torch.uint8"),
        ({"masks": [LOGITS[0], LOGITS[1].long()]}, TypeError, r"masks\[1\] must be floating point .* torch.int64"),
        ({"masks": [LOGITS[0], LOGITS[1] * torch.nan]}, ValueError, r"masks\[1\] must be logits, got NaN"),
        ({"mask_threshold": "0"}, TypeError, "mask_threshold must be a number, got '0'"),
        ({"mask_threshold": None}, TypeError, "mask_threshold must be a number, got None"),
        ({"mask_threshold": True}, TypeError, "mask_threshold must be a number, got True"),
        ({"mask_threshold": float("nan")}, ValueError, "mask_threshold must be finite, got nan"),
        ({"mask_threshold": float("-inf")}, ValueError, "mask_threshold must be finite, got -inf"),
        ({"binarize": "no"}, TypeError, "binarize must be True or False, got 'no'"),
        ({"binarize": 0}, TypeError, "binarize must be True or False, got 0"),
    ],
)
def test_bad_post_processing_arguments_are_named(small, arguments, error, message):
    with pytest.raises(error, match=message):
        small.post_process_masks(
            **{"masks": LOGITS, "original_sizes": ORIGINAL, "reshaped_input_sizes": RESHAPED, **arguments}
        )


@pytest.mark.parametrize("name", ["do_resize", "do_rescale", "do_normalize", "do_pad", "do_convert_rgb"])
@pytest.mark.parametrize("value", ["false", "no", 0, 1, []])
def test_flags_that_are_no_truth_values_are_refused(name, value):
    for call in (
        lambda: SamHQImageProcessor(**{name: value}),
        lambda: SamHQImageProcessor.from_dict({name: value}),
        lambda: SamHQImageProcessor()(np.zeros((4, 5, 3), np.uint8), **{name: value}),
    ):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
            call()


@pytest.mark.parametrize("change", ["bytes", "strides", "read-only", "transposed"])
def test_logits_in_any_layout_become_the_same_masks(small, change):
    arrays = LOGITS.numpy().copy()
    same = {
        "bytes": arrays.astype(">f4"),
        "strides": arrays[..., ::-1].copy()[..., ::-1],
        "read-only": arrays,
        "transposed": arrays.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    }[change]
    same.flags.writeable = change != "read-only"
    sizes = {"original_sizes": ORIGINAL, "reshaped_input_sizes": RESHAPED}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = small.post_process_masks(same, **sizes)
    wanted = small.post_process_masks(LOGITS, **sizes)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("device", ["foo", "cpu:x", [1]])
def test_a_device_that_is_none_is_named(device):
    with pytest.raises(ValueError, match="device must be one of torch's, such as cpu, got"):
        SamHQImageProcessor()(np.zeros((4, 5, 3), np.uint8), device=device)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("rescale_factor", "x", ValueError),
        ("rescale_factor", True, ValueError),
        ("rescale_factor", 0, ValueError),
        ("image_mean", [1, 2], ValueError),
        ("image_mean", "0.5", ValueError),
        ("image_std", [0.2, 0, 0.1], ValueError),
        ("image_std", [float("nan")] * 3, ValueError),
        ("resample", True, ValueError),
        ("timeout", -1, ValueError),
        ("timeout", "5", TypeError),
        ("max_pixels", 0, ValueError),
    ],
)
def test_options_are_refused_when_they_are_given_though_no_image_needs_them_yet(name, value, kind):
    with pytest.raises(kind, match=f"^{name} must be"):
        SamHQImageProcessor(**{name: value})
    with pytest.raises(kind, match=f"^{name} must be"):
        SamHQImageProcessor()(np.zeros((4, 4, 3), np.uint8), **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("max_pixels", np.int64(9), 9),
        ("rescale_factor", np.float32(0.5), 0.5),
        ("image_mean", np.array([0.5, 0.25, 0.125]), [0.5, 0.25, 0.125]),
        ("image_mean", (0.5, 0.25, 0.125), [0.5, 0.25, 0.125]),
        ("image_std", [np.float32(0.5)] * 3, [0.5] * 3),
        ("image_std", torch.tensor([0.5, 0.25, 0.125]), [0.5, 0.25, 0.125]),
        ("do_pad", np.bool_(False), False),
    ],
)
def test_numbers_of_arrays_can_be_saved(tmp_path, name, value, plain):
    processor = SamHQImageProcessor(**{name: value})
    processor.save_pretrained(tmp_path)
    loaded = SamHQImageProcessor.from_pretrained(tmp_path)
    assert getattr(loaded, name) == plain == getattr(processor, name)
    assert loaded.to_dict() == processor.to_dict()
