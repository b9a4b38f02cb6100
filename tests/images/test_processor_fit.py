"""A processor that belongs to another model is refused where its images do not fit, and warned of where they do."""

import json
import warnings

import pytest

from conftest import small_config, small_model
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq.hub.conversion import processor_for
from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq.predictor import SamHQPredictor
from sam_hq.processing_sam_hq import SamHQProcessor

OTHERS = {
    "pixels of 0 to 255 by a mean of shares": {"do_rescale": False},
    "a factor of 1": {"rescale_factor": 1.0},
    "shares by a mean of 0 to 255": {"image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]},
    "not normalised": {"do_normalize": False},
    "another model's statistics": {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    "a quarter of the frame": {"size": {"longest_edge": 64}},
    "squashed to less": {"size": {"height": 128, "width": 96}},
}
OWN = {
    "as converted": {},
    "0 to 255 throughout": {
        "do_rescale": False,
        "image_mean": [123.675, 116.28, 103.53],
        "image_std": [58.395, 57.12, 57.375],
    },
    "squashed to the frame": {"size": {"height": 128, "width": 128}},
    "another data set's statistics": {"image_mean": [0.36, 0.37, 0.34], "image_std": [0.2, 0.17, 0.19]},
}


def processor_with(options) -> SamHQProcessor:
    fields = processor_for(small_config()).image_processor.to_dict()
    return SamHQProcessor(SamHQImageProcessor.from_dict({**fields, **options}))


@pytest.mark.parametrize("kind", OTHERS)
def test_values_and_sizes_that_can_only_be_another_models_are_warned_of(kind):
    for make in (SamHQPredictor, SamHQMaskGenerator):
        with pytest.warns(UserWarning, match=f"seems to be another model's: .*{next(iter(OTHERS[kind]))}="):
            make(small_model(), processor_with(OTHERS[kind]))


@pytest.mark.parametrize("kind", OWN)
def test_what_a_model_may_have_been_trained_on_is_taken_without_a_word(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SamHQPredictor(small_model(), processor_with(OWN[kind]))


@pytest.mark.parametrize("pad_size", [{"height": 1024, "width": 1024}, {"height": 128, "width": 64}])
def test_another_frame_is_refused_at_once(pad_size):
    for make in (SamHQPredictor, SamHQMaskGenerator):
        with pytest.raises(ValueError, match=rf"pads to {pad_size['height']} x .* but the model takes 128 x 128"):
            make(small_model(), processor_with({"pad_size": pad_size}))


def test_the_configuration_of_another_image_processor_is_named(directory, tmp_path):
    own = processor_for(small_config()).image_processor.to_dict()
    for name in ("ViTImageProcessor", "Sam2ImageProcessorFast", "CLIPFeatureExtractor"):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({**own, "image_processor_type": name}))
        with pytest.warns(UserWarning, match=f"configuration is that of a '{name}'"):
            SamHQImageProcessor.from_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in (
            "SamImageProcessor",
            "SamImageProcessorFast",
            "SamHQImageProcessor",
            "SamHQImageProcessorPil",
            None,
        ):
            (tmp_path / "preprocessor_config.json").write_text(json.dumps({**own, "image_processor_type": name}))
            SamHQImageProcessor.from_pretrained(tmp_path)
        SamHQProcessor.from_pretrained(directory)
