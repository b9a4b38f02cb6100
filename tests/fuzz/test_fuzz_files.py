"""Checkpoints, COCO annotations and configurations: read as what they are, or refused by name."""

import io
import json

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from authors_weights import small_authors_weights
from conftest import small_config
from fuzzing import damaged, mutated, outcome, rounds
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.evaluation.segmentation_data import open_dataset
from sam_hq.hub.conversion import convert_weights, infer_config, read_weights
from sam_hq_numpy.prompt_files.reading import read_prompts

JSON_VALUES = [
    0,
    1,
    -1,
    7.5,
    1e9,
    1e39,
    -(10**30),
    float("nan"),
    float("inf"),
    True,
    None,
    "",
    "3",
    "a" * 99,
    [],
    {},
    [1],
]


def converted(path) -> dict:
    weights = read_weights(path)
    _, config = infer_config(weights)
    return convert_weights(weights, config)[0]


def odd_weight(rng, weight: torch.Tensor) -> object:
    return rng.choice(
        [
            lambda: weight.flatten(),
            lambda: weight[:0],
            lambda: weight.unsqueeze(0),
            lambda: weight.to(rng.choice([torch.int64, torch.float16, torch.bool, torch.complex64])),
            lambda: torch.full_like(weight, float("nan")),
            lambda: torch.zeros(1).expand(10**4, 2 * 10**4),  # bytes in the file, 800 MB in memory
            lambda: weight.to_sparse(),
            lambda: torch.empty_like(weight, device="meta"),
            lambda: rng.choice([3, "weight", None, [weight], {"a": weight}]),
        ]
    )()


def test_checkpoints(tmp_path):
    weights = small_authors_weights()
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    files = {".pth": buffer.getvalue(), ".safetensors": save(weights)}
    whole = {name: weight.shape for name, weight in convert_weights(weights, infer_config(weights)[1])[0].items()}
    for rng in rounds(60):
        path = tmp_path / f"weights{rng.choice(list(files))}"
        if rng.random() < 0.5:
            path.write_bytes(damaged(rng, files[path.suffix]))
        else:
            changed = dict(weights)
            name = rng.choice(list(changed))
            kind = rng.randrange(4)
            if kind == 0:
                changed[rng.choice([name + ".x", "module." + name, "", 3])] = changed.pop(name)
            elif kind == 1:
                del changed[name]
            else:
                changed[name] = odd_weight(rng, changed[name])
            path = path.with_suffix(".pth")
            torch.save(changed, path)
        state = outcome(lambda path=path: converted(path), ("weights.", *weights), str(path), files=True)
        if state is not None:
            assert all(weight.isfinite().all() for weight in state.values())
            assert {name: weight.shape for name, weight in state.items()} == whole


def odd_id(rng, number: int) -> object:
    """The same id as some tool writes it."""
    return rng.choice([number, number, str(number), float(number), f"{number:06}", f" {number}"])


def coco_dataset(rng) -> dict:
    segmentations = [
        [[1, 1, 10, 1, 10, 10, 1, 10]],
        {"size": [20, 30], "counts": [100, 50, 450]},
        {"size": [20, 30], "counts": "T3d0"},
    ]
    return {
        "images": [{"id": odd_id(rng, 1), "file_name": "photo.png", "height": 20, "width": 30}],
        "annotations": [
            {
                "id": odd_id(rng, place),
                "image_id": odd_id(rng, 1),
                "category_id": rng.choice([2, "2", 2.0]),
                "iscrowd": rng.choice([0, "0", 0.0, "false"]),
                "bbox": [1, 1, 9, 9],
                "segmentation": segmentation,
            }
            for place, segmentation in enumerate(segmentations)
        ],
        "categories": [{"id": rng.choice([2, "2"]), "name": "cat"}],
    }


def test_boxes_of_coco_files(tmp_path):
    images = [tmp_path / "photo.png", tmp_path / "1.png"]
    path, truth = tmp_path / "boxes.json", tmp_path / "truth.json"
    for rng in rounds(400):
        valid = coco_dataset(rng)
        kind = rng.randrange(3)
        described_by = truth if kind == 2 else None
        truth.write_text(json.dumps(valid if rng.random() < 0.5 else mutated(rng, valid, JSON_VALUES)))
        content = valid if kind == 0 else valid["annotations"]
        is_valid = rng.random() < 0.2
        path.write_text(json.dumps(content if is_valid else mutated(rng, content, JSON_VALUES)))
        names = ("boxes.json", "truth.json", "COCO", "image", "category")
        found = outcome(lambda by=described_by: read_prompts(path, images, by), names, path.read_text(), files=True)
        if found is None:
            continue
        known = set(images)
        assert set(found.objects) <= known
        for objects in found.objects.values():
            assert all(each.category_id in found.categories for each in objects)
            assert all(each.in_pixels((20, 30)).fault((20, 30)) or each.box[2] > each.box[0] for each in objects)
        if is_valid and kind != 2:
            wanted = images[0] if kind == 0 else images[1]
            assert {image: len(objects) for image, objects in found.objects.items() if objects} == {wanted: 3}


def test_coco_annotations(tmp_path):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "photo.png")
    path = tmp_path / "instances.json"
    for rng in rounds(250):
        content = mutated(rng, coco_dataset(rng), JSON_VALUES)
        if rng.random() < 0.4 and isinstance(content, dict):
            content = mutated(rng, content, JSON_VALUES)
        text = json.dumps(content).encode()
        path.write_bytes(damaged(rng, text) if rng.random() < 0.2 else text)
        on_bad = rng.choice(["skip", "raise"])
        names = ("instances.json", "photo", "annotation", "mask", "image")
        read = outcome(lambda on_bad=on_bad: list(open_dataset(path, on_bad=on_bad)), names, text[:500], files=True)
        for image, masks in read or ():
            assert image.shape[2:] == (3,)
            assert masks.dtype == bool
            assert masks.shape[1:] == image.shape[:2]


def test_configurations(tmp_path):
    valid = json.loads(small_config().to_json_string())
    names = {name for part in (valid, *valid.values()) if isinstance(part, dict) for name in part}
    for rng in rounds(150):
        content = mutated(rng, valid, JSON_VALUES)
        (tmp_path / "config.json").write_text(json.dumps(content))
        config = outcome(
            lambda: SamHQConfig.from_pretrained(tmp_path),
            (*names, "config.json", "the configuration is that of"),
            json.dumps(content),
            files=True,
        )
        if config is not None:
            assert SamHQConfig(**config.to_dict()).to_dict() == config.to_dict()
