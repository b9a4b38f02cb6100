"""--input-range on the command line: stretched as the option says, and refused in its own words."""

import json

import numpy as np
import pytest
from PIL import Image

from conftest import PHOTOS, small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq_cli.generate import generation_options
from sam_hq_cli.input_ranges import input_range
from sam_hq_cli.main import build_parser, main


@pytest.fixture
def files(tmp_path):
    small_model("vit").save_pretrained(tmp_path / "model")
    processor_for(small_config("vit")).save_pretrained(tmp_path / "model")
    gray = np.asarray(Image.open(PHOTOS / "kitten.jpg").convert("L").resize((160, 120)))
    Image.fromarray(gray).save(tmp_path / "eight.png")
    Image.fromarray(gray.astype(np.uint16) * 16).save(tmp_path / "narrow.png")
    return tmp_path


def segmented(folder, name, *arguments):
    words = ["segment", str(folder / name), "--model", str(folder / "model"), "--device", "cpu", "--box", "20", "20"]
    assert main([*words, "120", "100", *arguments, "--masks", str(folder / f"{name}.npz")]) == 0
    return np.load(folder / f"{name}.npz")["masks"]


def test_a_narrow_photo_gives_the_masks_of_its_eight_bits(files):
    wanted = segmented(files, "eight.png")
    assert wanted.any()
    np.testing.assert_array_equal(segmented(files, "narrow.png", "--input-range", "0,4080"), wanted)


def test_the_option_reaches_a_job(files):
    arguments = ["generate", str(files / "narrow.png"), "--output", str(files / "out"), "--input-range=-5,4080"]
    assert generation_options(build_parser().parse_args(arguments))["input_range"] == (-5, 4080)
    more = ["--model", str(files / "model"), "--device", "cpu", "--points-per-crop", "2", "--quiet"]
    assert main([*arguments, *more]) == 0
    assert json.loads((files / "out" / "annotations.json").read_text())["images"]


@pytest.mark.parametrize("text", ["full", "4080", "9,3", "1,2,3", "a,b", "nan,3", ""])
def test_other_values_are_refused_in_the_options_words(text):
    with pytest.raises(ValueError, match="--input-range must be auto or LOW,HIGH"):
        input_range(text)
    assert input_range(None) is None
    assert input_range("auto") == "auto"
