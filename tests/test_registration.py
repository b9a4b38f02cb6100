import json
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForMaskGeneration,
    AutoProcessor,
    pipeline,
)

import sam_hq
from conftest import PHOTOS, small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq.registration import register


@pytest.fixture(scope="module")
def our_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ours")
    small_model("vit").save_pretrained(directory)
    processor_for(small_config("vit")).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def builtin_model():
    ours = small_config("vit")
    config = transformers.SamHQConfig(
        vision_config=ours.vision_config.to_dict(),
        prompt_encoder_config=ours.prompt_encoder_config.to_dict(),
        mask_decoder_config=ours.mask_decoder_config.to_dict(),
    )
    model = transformers.SamHQModel(config)
    missing, unexpected = model.load_state_dict(small_model("vit").state_dict(), strict=False)
    assert set(missing) <= {"prompt_encoder.shared_embedding.positional_embedding"}
    assert not unexpected
    return model


def builtin_processor():
    side = small_config("vit").vision_config.image_size
    image_processor = transformers.models.sam.SamImageProcessorPil(
        size={"longest_edge": side},
        pad_size={"height": side, "width": side},
        mask_size={"longest_edge": side // 4},
        mask_pad_size={"height": side // 4, "width": side // 4},
    )
    return transformers.SamHQProcessor(image_processor)


@pytest.fixture(scope="module", params=["5.x", "4.57", "4.57 of the Hub"])
def builtin_directory(request, builtin_model, tmp_path_factory):
    """A directory as the built-in class saves it: 4.57 wrote the image processor's options to a file of their own."""
    directory = tmp_path_factory.mktemp("builtin")
    builtin_model.save_pretrained(directory)
    processor = builtin_processor()
    if request.param == "5.x":
        processor.save_pretrained(directory)
    else:
        name = "SamHQProcessor" if request.param == "4.57" else "SamSamHQProcessor"
        options = {**processor.image_processor.to_dict(), "processor_class": name}
        options["image_processor_type"] = "SamImageProcessor"
        processor.image_processor.save_pretrained(directory)
        (directory / "preprocessor_config.json").write_text(json.dumps(options))
    return directory


def check_auto_classes(directory):
    assert type(AutoConfig.from_pretrained(directory)) is sam_hq.SamHQConfig
    assert type(AutoModel.from_pretrained(directory)) is sam_hq.SamHQModel
    model = AutoModelForMaskGeneration.from_pretrained(directory)
    assert type(model) is sam_hq.SamHQModel
    for name, value in small_model("vit").state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    image_processor = AutoImageProcessor.from_pretrained(directory)
    processor = AutoProcessor.from_pretrained(directory)
    assert type(image_processor) is type(processor.image_processor) is sam_hq.SamHQImageProcessor
    assert type(processor) is sam_hq.SamHQProcessor
    side = small_config("vit").vision_config.image_size
    for found in (image_processor, processor.image_processor):
        assert found.size == {"longest_edge": side}
        assert found.pad_size == {"height": side, "width": side}
        assert found.mask_size == {"longest_edge": side // 4}


def test_auto_classes_find_ours_in_our_directory(our_directory):
    check_auto_classes(our_directory)


def test_auto_classes_find_ours_in_a_builtin_directory(builtin_directory):
    check_auto_classes(builtin_directory)


@pytest.mark.parametrize(
    ("backbone", "model_class"),
    [
        ("vit", sam_hq.SamHQVisionModel),
        ("tiny_vit", sam_hq.SamHQTinyVitModel),
        ("efficientnet", sam_hq.SamHQEfficientNetModel),
    ],
)
def test_the_encoders_and_the_parts_are_registered(backbone, model_class, tmp_path):
    config = small_config(backbone)
    for part in (config.vision_config, config.prompt_encoder_config, config.mask_decoder_config):
        assert type(AutoConfig.for_model(part.model_type)) is type(part)
    model = AutoModel.from_config(config.vision_config)
    assert type(model) is model_class
    model.save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is model_class


@pytest.mark.parametrize("which", ["ours", "built-in"])
def test_pipeline_gives_our_masks_in_batches_of_different_sizes(which, our_directory, builtin_model, tmp_path):
    directory = our_directory
    if which == "built-in":
        directory = tmp_path
        builtin_model.save_pretrained(directory)
        builtin_processor().save_pretrained(directory)
    generator = pipeline("mask-generation", model=str(directory))
    assert type(generator) is sam_hq.SamHQMaskGenerationPipeline
    assert type(generator.model) is sam_hq.SamHQModel
    photos = [Image.open(PHOTOS / name).convert("RGB") for name in ("scissors.png", "lemur.png")]
    everything = {"points_per_crop": 4, "pred_iou_thresh": -100.0, "stability_score_thresh": -1.0}
    together = generator(photos, batch_size=2, **everything)
    for photo, found in zip(photos, together, strict=True):
        alone = generator(photo, **everything)
        assert len(found["masks"]) == len(alone["masks"]) > 0
        np.testing.assert_allclose(np.asarray(found["scores"]), np.asarray(alone["scores"]), atol=1e-5)
        assert np.asarray(found["masks"][0]).shape == (photo.height, photo.width)


def test_pipeline_refuses_the_builtin_model(builtin_model, our_directory):
    image_processor = AutoImageProcessor.from_pretrained(our_directory)
    with pytest.raises(ValueError, match=r"built-in SamHQModel.*sam_hq\.SamHQModel\.from_pretrained"):
        pipeline("mask-generation", model=builtin_model, image_processor=image_processor)


def test_the_builtin_model_says_every_time_that_it_is_faulty(builtin_model):
    config = builtin_model.config
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"built-in SamHQModel, .* faulty.*sam_hq\.replace_builtin\(\)"):
            transformers.SamHQModel(config)

    class Derived(transformers.SamHQModel):
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Derived(config)
        sam_hq.SamHQModel(small_config("vit"))


@pytest.mark.parametrize("backbone", ["tiny_vit", "efficientnet"])
def test_encoders_that_the_builtin_model_lacks_are_refused_with_a_sentence(backbone, tmp_path):
    config = small_config(backbone)
    small_model(backbone).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"{config.vision_config.model_type}.*sam_hq\.SamHQModel"):
        transformers.SamHQModel.from_pretrained(tmp_path)


def test_pipeline_does_not_fall_back_to_the_builtin_model(our_directory, tmp_path):
    """When our class refuses a directory, `pipeline` would use the built-in one without a word."""
    config = AutoConfig.from_pretrained(our_directory)
    config.save_pretrained(tmp_path)
    processor_for(small_config("vit")).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(Exception, match=r"built-in SamHQModel|Could not load model|header|deserializ"):
        pipeline("mask-generation", model=str(tmp_path))


@pytest.fixture(scope="module")
def sam_v1_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sam")
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 64,
        "output_channels": 32,
        "num_pos_feats": 16,
        "global_attn_indexes": [1],
        "window_size": 3,
        "mlp_dim": 64,
    }
    config = transformers.SamConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "image_embedding_size": 4},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
    )
    transformers.SamModel(config).save_pretrained(directory)
    image_processor = transformers.models.sam.SamImageProcessorPil(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}
    )
    transformers.SamProcessor(image_processor).save_pretrained(directory)
    return directory


def test_sam_v1_keeps_its_classes(sam_v1_directory):
    assert type(AutoConfig.from_pretrained(sam_v1_directory)) is transformers.SamConfig
    assert type(AutoModelForMaskGeneration.from_pretrained(sam_v1_directory)) is transformers.SamModel
    for image_processor in (
        AutoImageProcessor.from_pretrained(sam_v1_directory),
        AutoProcessor.from_pretrained(sam_v1_directory).image_processor,
        pipeline("mask-generation", model=str(sam_v1_directory)).image_processor,
    ):
        assert type(image_processor).__module__.startswith("transformers.models.sam.")
        assert image_processor.size == {"longest_edge": 64}
    assert type(AutoProcessor.from_pretrained(sam_v1_directory)) is transformers.SamProcessor
    assert type(pipeline("mask-generation", model=str(sam_v1_directory))) is transformers.MaskGenerationPipeline


def test_an_image_processor_without_a_model_stays_that_of_sam_v1(tmp_path):
    transformers.models.sam.SamImageProcessorPil().save_pretrained(tmp_path)
    found = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(found).__module__.startswith("transformers.models.sam.")


def test_registering_again_changes_nothing():
    from transformers.pipelines import PIPELINE_REGISTRY

    before = dict(PIPELINE_REGISTRY.supported_tasks["mask-generation"])
    register()
    assert PIPELINE_REGISTRY.supported_tasks["mask-generation"] == before


def test_importing_is_quiet_and_leaves_heavy_parts_out():
    out = run_python("""
        import sys
        from transformers import AutoModel, AutoProcessor, BaseImageProcessor, PreTrainedModel, ProcessorMixin, pipeline
        before = set(sys.modules)
        import sam_hq
        new = {name for name in set(sys.modules) - before}
        late = ("torchvision", "cv2", "timm", "scipy", "matplotlib", "sam_hq.training", "sam_hq.generation.pipeline")
        for name in late:
            assert name not in new, name
    """)
    assert out == ""


def run_python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr
