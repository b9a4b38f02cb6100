"""Directories that carry their code: loaded where only transformers is, and where this package is."""

import json
import os
import subprocess
import sys

import pytest
import torch

import sam_hq
from conftest import BACKBONES, PHOTOS, small_config, small_model
from sam_hq.hub.code_export import add_code, save_with_code
from sam_hq.hub.conversion import processor_for
from source_imports import HEAVY, imports_of

PHOTO = PHOTOS / "scissors.png"
BOX = [[[20, 30, 280, 200]]]

# A process that cannot import `sam_hq` or `sam_hq_cli`, but has transformers and torch. Importing these takes seconds:
# it is done once, and each directory has a fork.
WITHOUT_OUR_PACKAGE = """
import os
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sam_hq", "sam_hq_cli", "sam_hq_numpy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import torch
from transformers import (
    AutoConfig, AutoImageProcessor, AutoModel, AutoModelForMaskGeneration, AutoProcessor, pipeline
)
photo, answers, *directories = sys.argv[1:]
for number, directory in enumerate(directories):
    if os.fork() == 0:
        break
    assert os.wait()[1] == 0
else:
    sys.exit()
"""
UNTRUSTED = """
import contextlib
for auto_class in (AutoConfig, AutoModel, AutoModelForMaskGeneration, AutoProcessor, AutoImageProcessor):
    try:
        loaded = auto_class.from_pretrained(directory, trust_remote_code=False)
    except ValueError as error:
        assert "trust_remote_code" in str(error)
    else:
        raise AssertionError(f"{auto_class.__name__} loaded {type(loaded)}")
try:
    pipeline("mask-generation", model=directory, trust_remote_code=False)
except (ValueError, OSError):
    pass
else:
    raise AssertionError("pipeline loaded it")
"""
TRUSTED = """
model = AutoModelForMaskGeneration.from_pretrained(directory, trust_remote_code=True)
assert type(AutoModel.from_pretrained(directory, trust_remote_code=True)) is type(model)
processor = AutoProcessor.from_pretrained(directory, trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
assert type(processor).__module__.startswith("transformers_modules."), type(processor)
inputs = processor(photo, input_boxes=[[[20, 30, 280, 200]]], return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
torch.save({"pred_masks": outputs.pred_masks, "masks": masks[0]}, f"{answers}/{number}.pt")

generator = pipeline("mask-generation", model=directory, trust_remote_code=True)
assert type(generator.model) is type(model)
found = generator(photo, points_per_crop=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)
assert len(found["masks"]) > 0 and found["masks"][0].shape == masks[0].shape[-2:]
assert not any(name.partition(".")[0].startswith("sam_hq") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    paths = [tmp_path_factory.mktemp("hub") / "exact" for _ in BACKBONES]
    for backbone, path in zip(BACKBONES, paths, strict=True):
        save_with_code(small_model(backbone), processor_for(small_config(backbone)), path, backbone)
    return paths


@pytest.fixture(scope="module", params=range(len(BACKBONES)), ids=BACKBONES)
def number(request):
    return request.param


@pytest.fixture(scope="module")
def directory(directories, number):
    return directories[number]


@pytest.fixture(scope="module")
def answers(directories, tmp_path_factory):
    """The folder of what each directory answers, by its number."""
    folder = tmp_path_factory.mktemp("answers")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            WITHOUT_OUR_PACKAGE + UNTRUSTED + TRUSTED,
            str(PHOTO),
            str(folder),
            *map(str, directories),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "HF_MODULES_CACHE": str(folder / "modules"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_it_works_where_our_package_is_not_installed(answers, number, directory):
    answer = torch.load(answers / f"{number}.pt")
    model, processor = sam_hq.SamHQModel.from_pretrained(directory), sam_hq.SamHQProcessor.from_pretrained(directory)
    inputs = processor(PHOTO, input_boxes=BOX, return_tensors="pt")
    with torch.no_grad():
        wanted = model(**inputs).pred_masks
    torch.testing.assert_close(answer["pred_masks"], wanted)
    assert answer["masks"].shape == (1, 3, 240, 320)


def test_with_our_package_it_is_a_directory_like_any_other(directory, tmp_path):
    from transformers import AutoConfig, AutoModel, AutoModelForMaskGeneration, AutoProcessor, pipeline

    assert type(AutoConfig.from_pretrained(directory)) is sam_hq.SamHQConfig
    assert type(AutoModel.from_pretrained(directory)) is sam_hq.SamHQModel
    model = AutoModelForMaskGeneration.from_pretrained(directory)
    processor = AutoProcessor.from_pretrained(directory)
    assert (type(model), type(processor)) == (sam_hq.SamHQModel, sam_hq.SamHQProcessor)
    assert type(pipeline("mask-generation", model=str(directory))) is sam_hq.SamHQMaskGenerationPipeline
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for name in ("config.json", "processor_config.json"):
        content = (tmp_path / name).read_text()
        assert "auto_map" not in content
        assert "exact" not in content


def test_the_code_is_flat_complete_and_needs_no_optional_library(directory):
    code = {path.stem for path in directory.glob("*.py")}
    assert {"sam_hq_exact", "mask_decoder", "mask_rle", "image_processing_sam_hq"} <= code
    assert not {"generator", "candidates", "stability", "upscaling", "tiles"} & code  # the stock pipeline needs none
    for name in code:
        text = (directory / f"{name}.py").read_text(encoding="utf-8")
        assert "from .. " not in text
        assert "from . import" not in text
        imported = {module.partition(".")[0] for module in imports_of(directory / f"{name}.py")}
        others = imported - code - set(sys.stdlib_module_names)
        assert others <= {"numpy", "torch", "PIL", "transformers", "accelerate", "safetensors"}, name
        assert not others & HEAVY


def test_the_files_name_the_code(directory):
    config = json.loads((directory / "config.json").read_text())
    assert config["model_type"] == "sam_hq_exact"
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForMaskGeneration"}
    card = (directory / "README.md").read_text(encoding="utf-8")
    assert "custom_code" in card
    assert "trust_remote_code=True" in card
    assert "import sam_hq" not in card


def test_adding_the_code_twice_is_adding_it_once(directory):
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    add_code(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_other_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "SamProcessor"}')
    with pytest.raises(ValueError, match="'sam' with the processor 'SamProcessor'"):
        add_code(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "processor_config.json"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", '{"model_type"', r"config\.json' is not JSON"),
        ("config.json", "[]", r"config\.json' must hold an object, got list"),
        ("processor_config.json", "", r"processor_config\.json' is not JSON"),
        (
            "processor_config.json",
            '{"processor_class": "SamHQProcessor"}',
            "must hold an image_processor, got the keys",
        ),
        ("processor_config.json", '{"processor_class": "SamHQProcessor", "image_processor": []}', "an image_processor"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_written(tmp_path, name, text, message):
    (tmp_path / "config.json").write_text('{"model_type": "sam_hq"}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "SamHQProcessor", "image_processor": {}}')
    (tmp_path / name).write_text(text)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        add_code(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
