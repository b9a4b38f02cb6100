"""Embeddings on disk: every image is encoded once, the losses stay the same, and nothing stale is ever read."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from test_trainer import SETTINGS, fresh_model, processor, state_of

from sam_hq.evaluation.segmentation_data import ImageMaskFolder
from sam_hq.training.embedding_cache import EmbeddingCache, encoder_key, image_key
from sam_hq.training.trainer import Trainer
from training_data import shapes, write_pairs

IMAGES = shapes(4)
WHOLE = dataclasses.replace(SETTINGS, trainable="hq", whole_images=True, steps=6, validate_every=3)


def run_of(folder, cache=None, model=None, images=None, **changes) -> tuple[Trainer, list[int]]:
    """A trainer, and a list that grows by the batch size whenever its encoder runs."""
    settings = dataclasses.replace(WHOLE, embedding_cache=None if cache is None else str(cache), **changes)
    run = Trainer(model or fresh_model(), processor(), images or IMAGES, folder, settings)
    calls: list[int] = []
    encoder = run.unwrapped_step().plain_model.vision_encoder
    encoder.register_forward_hook(lambda module, inputs, outputs: calls.append(len(inputs[0])))
    return run, calls


def losses(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("trainable", ["hq", "decoder"])
def test_losses_and_weights_are_those_without_it_and_each_image_is_encoded_once(tmp_path, trainable):
    plain, plain_calls = run_of(tmp_path / "plain", trainable=trainable)
    plain.train()
    cached, calls = run_of(tmp_path / "cached", tmp_path / "kept", trainable=trainable)
    cached.train()
    assert sum(plain_calls) == 12  # 6 steps of 2 images
    assert sum(calls) == 4
    assert losses(tmp_path / "plain") == losses(tmp_path / "cached")
    expected = state_of(plain)
    assert all(torch.equal(value, expected[name]) for name, value in state_of(cached).items())
    again, calls = run_of(tmp_path / "again", tmp_path / "kept", trainable=trainable)
    again.train()
    assert calls == []
    assert losses(tmp_path / "again") == losses(tmp_path / "plain")


def test_an_interrupted_run_resumes_exactly_with_part_of_the_cache(tmp_path):
    whole, _ = run_of(tmp_path / "whole")
    whole.train()
    first, _ = run_of(tmp_path / "parts", tmp_path / "kept")
    first.train(stop_after=3)
    files = sorted((tmp_path / "kept").rglob("*.safetensors"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])  # of a disk that was full, say
    second, calls = run_of(tmp_path / "parts", tmp_path / "kept")
    assert second.resume() == 3
    second.train()
    assert sum(calls) <= 2
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    expected = state_of(whole)
    assert all(torch.equal(value, expected[name]) for name, value in state_of(second).items())
    assert not list((tmp_path / "kept").rglob("*.partial*"))


def test_another_encoder_precision_or_image_is_never_taken_for_it(tmp_path, any_precision):
    model = fresh_model()
    run, calls = run_of(tmp_path / "1", tmp_path / "kept", model)
    run.train()
    assert len(calls) == 4
    with torch.no_grad():
        model.vision_encoder.neck.conv1.weight[0, 0] += 1e-6
    brighter = [(image // 2 + 90, masks) for image, masks in IMAGES]
    for number, change in enumerate(({"model": model}, {"images": brighter}, {"precision": "bf16"})):
        any_precision()
        run, calls = run_of(tmp_path / f"changed{number}", tmp_path / "kept", **change)
        run.train()
        assert len(calls) == 4
    any_precision()
    run, calls = run_of(tmp_path / "darker", tmp_path / "kept")
    run.batches.mean = run.batches.mean + np.float32(0.1)
    run.train()
    assert len(calls) == 4


def test_keys_hang_on_everything_that_is_encoded():
    pixels = np.zeros((8, 8, 3), np.uint8)
    brighter = pixels + 1
    keys = {image_key(pixels, (8, 8)), image_key(pixels, (8, 7)), image_key(brighter, (8, 8))}
    assert len(keys) == 3
    encoder = fresh_model().vision_encoder
    key = encoder_key(encoder, "no")
    assert key == encoder_key(fresh_model().vision_encoder, "no")
    assert key != encoder_key(encoder, "bf16")
    encoder.config.layer_norm_eps = 1e-3
    assert key != encoder_key(encoder, "no")


def test_files_hold_what_was_written(tmp_path):
    cache = EmbeddingCache(tmp_path, fresh_model().vision_encoder)
    late, early = torch.randn(1, 32, 8, 8), torch.randn(1, 8, 8, 24).bfloat16()
    assert cache.read("ab") is None
    cache.write("ab", late, early)
    read = cache.read("ab")
    assert torch.equal(read[0], late)
    assert torch.equal(read[1], early)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainable": "all"}, "needs a frozen encoder"),
        ({"trainable": "lora"}, "needs a frozen encoder"),
        ({"scale_jitter": (0.1, 2.0)}, "scale_jitter cannot be had"),
    ],
)
def test_it_is_refused_where_embeddings_change(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WHOLE, **{"embedding_cache": "kept", **changes})


def test_it_works_in_the_processes_that_prepare_batches(tmp_path):
    write_pairs(tmp_path / "data", IMAGES)
    run, calls = run_of(tmp_path / "run", tmp_path / "kept", images=ImageMaskFolder(tmp_path / "data"), workers=1)
    run.train()
    assert sum(calls) == 4
