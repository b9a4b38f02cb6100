"""Guards of speed and memory that a busy machine cannot upset: multiply-adds and bytes are counted, not timed."""

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from byte_counter import ByteCounter
from conftest import BACKBONES, DECODER, small_config, small_model, stirred
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq.generation.passing_masks import passing_masks
from sam_hq.hub.conversion import processor_for
from sam_hq.model.cpu_encoder import encode
from sam_hq.modeling_sam_hq import SamHQModel
from watching import Watcher


@pytest.fixture(autouse=True)
def one_thread(torch_threads, monkeypatch):
    """The counters see the work of the calling thread alone, which is all of it where torch has one.

    They would also see the engine measure its matrix products.
    """
    torch_threads(1)
    monkeypatch.setenv("SAM_HQ_CPU_MATMUL", "torch")


def test_the_counter_counts():
    with ByteCounter() as counter:
        kept = torch.zeros(1000)
        for _ in range(3):
            torch.zeros(500)
        del kept
        torch.zeros(200)
    assert counter.largest == 4000
    assert counter.peak == 6000


def test_the_counter_counts_in_other_threads_too():
    def work():
        with counter.in_other_thread():
            torch.zeros(700)

    with ByteCounter() as counter:
        kept = torch.zeros(1000)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(kept) == 1000
    assert counter.peak == 6800


def grid_model(image_size=512):
    """A model whose global attention is large beside everything else: a 32x32 grid."""
    vision_config = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": image_size,
        "window_size": 14,
        "global_attn_indexes": [1],
        "output_channels": 32,
        "num_pos_feats": 16,
    }
    config = SamHQConfig(vision_config=vision_config, mask_decoder_config=dict(DECODER))
    return stirred(SamHQModel(config)).eval()


@pytest.mark.parametrize("grad", [False, True])
def test_the_encoder_never_holds_a_bias_of_all_pairs(grad):
    model = grid_model()
    pairs = 4 * 1024 * 1024 * 4  # heads x tokens x tokens in fp32: 16 MB
    with torch.set_grad_enabled(grad), ByteCounter() as counter:
        model.get_image_embeddings(torch.randn(1, 3, 512, 512))
    assert counter.largest < pairs / 2
    assert counter.peak < 2 * pairs


def test_a_windowed_block_holds_a_few_windows_at_a_time():
    encoder, pixel_values = grid_model(image_size=1024).vision_encoder, torch.randn(1, 3, 1024, 1024)
    encoder.layers = encoder.layers[:1]  # the other is global
    with torch.no_grad():
        with ByteCounter() as counter:
            fast = encode(encoder, pixel_values).last_hidden_state
        plain = encoder(pixel_values).last_hidden_state
    position_scores = 4 * 196 * 196 * 4  # heads x tokens x tokens of a window in fp32
    assert counter.largest < 25 * position_scores / 4
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_fast_encoder_does_the_work_of_the_plain_one(backbone):
    model, pixel_values = small_model(backbone), torch.randn(1, 3, 128, 128)
    work = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        work[implementation] = multiply_adds(lambda: model.get_image_embeddings(pixel_values))
    assert work["sdpa"] == work["eager"] > 0


class OperationCounter(Watcher):
    """Counts how often each operation is called."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def test_batch_norms_are_folded_in_inference():
    model = small_model("tiny_vit")
    found = []
    for fast in (False, True):
        model.set_fast_path(fast)
        with torch.no_grad(), OperationCounter() as counter:
            model.get_image_embeddings(torch.randn(1, 3, 128, 128))
        found.append(sum(count for name, count in counter.calls.items() if "batch_norm" in name))
    assert found[0] > 0
    assert found[1] == 0


def test_generation_renders_what_passes_and_fuses_features_once(prompted):
    model, *_ = prompted
    image_processor = processor_for(small_config()).image_processor
    picture = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    everything = {"stability_score_thresh": 0, "crops_nms_thresh": 1, "points_per_crop": 6}
    fused = []
    hook = model.mask_decoder.encoder_conv1.register_forward_hook(lambda *_: fused.append(1))

    def generate(pred_iou_thresh):
        generator = SamHQMaskGenerator(model, image_processor, pred_iou_thresh=pred_iou_thresh, **everything)
        return lambda: generator.generate(picture, output_mode="coco_rle")

    everything_passes, nothing_passes = multiply_adds(generate(0)), multiply_adds(generate(1e9))
    hook.remove()
    assert len(fused) == 2  # once a call
    of_twelve = decoding_work(prompted) - decoding_work(prompted, min_score=float("inf"))
    assert everything_passes - nothing_passes > 0.9 * 3 * of_twelve  # of 36 points; the way to photo size comes on top


class WorkCounter(Watcher):
    """Counts multiply-adds as `FlopCounterMode` does, but without its hooks, which the fast path would give way to."""

    def __init__(self):
        super().__init__()
        self.multiply_adds = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        if "scaled_dot_product" in function.overloadpacket.__name__ and len(args) >= 3:  # the registry lacks the CPU's
            self.multiply_adds += sdpa_flop_count(*(tensor.shape for tensor in args[:3])) / 2
        elif function.overloadpacket in flop_registry:
            self.multiply_adds += flop_registry[function.overloadpacket](*args, **(kwargs or {}), out_val=outputs) / 2
        return outputs


def multiply_adds(call):
    with torch.no_grad(), WorkCounter() as counter:
        call()
    return counter.multiply_adds


@pytest.fixture
def prompted():
    model = small_model()
    with torch.no_grad():
        image_embeddings, intermediate = model.get_image_embeddings(torch.randn(1, 3, 128, 128))
        hq_features = model.get_hq_features(image_embeddings, intermediate)
    points = torch.rand(1, 12, 1, 2) * 128
    return model, image_embeddings, intermediate, hq_features, points


def decoding_work(prompted, **options):
    """Multiply-adds of mask generation's decoding, with the masks made that pass."""
    model, image_embeddings, _, hq_features, points = prompted
    prompts = {"input_points": points, **options}
    return multiply_adds(
        lambda: [masks.logits() for _, masks in passing_masks(model, image_embeddings, hq_features, **prompts)]
    )


def test_the_fast_decoder_does_a_third_less_work_than_the_plain_one():
    vision_config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "global_attn_indexes": [0]}
    model = SamHQModel(
        SamHQConfig(vision_config={**vision_config, "image_size": 256})
    ).eval()  # the decoder's full width
    with torch.no_grad():
        image_embeddings, intermediate = model.get_image_embeddings(torch.randn(1, 3, 256, 256))
        hq_features = model.get_hq_features(image_embeddings, intermediate)
    points = torch.rand(1, 4, 1, 2) * 256
    work = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        work[implementation] = multiply_adds(
            lambda: model(image_embeddings=image_embeddings, hq_features=hq_features, input_points=points)
        )
    assert work["sdpa"] < 0.58 * work["eager"]


def test_held_features_save_their_work(prompted):
    model, image_embeddings, intermediate, hq_features, points = prompted
    anew = multiply_adds(
        lambda: model(image_embeddings=image_embeddings, intermediate_embeddings=intermediate, input_points=points)
    )
    held = multiply_adds(lambda: model(image_embeddings=image_embeddings, hq_features=hq_features, input_points=points))
    assert anew - held == multiply_adds(lambda: model.get_hq_features(image_embeddings, intermediate))


def test_prompts_that_fail_and_rows_that_pad_are_not_rendered(prompted):
    model, image_embeddings, _, hq_features, points = prompted
    with torch.no_grad():
        scores = model(image_embeddings=image_embeddings, hq_features=hq_features, input_points=points).iou_scores
    nothing = decoding_work(prompted, min_score=float("inf"))
    everything = decoding_work(prompted)
    third = decoding_work(prompted, min_score=scores[0, :, 0].sort().values[7].item())
    half_the_rows = decoding_work(prompted, region=(16, 32))
    half_the_columns = decoding_work(prompted, region=(32, 16))
    of_one_branch = decoding_work(prompted, hq_token_only=True)
    assert third - nothing == pytest.approx((everything - nothing) / 3, rel=0.05)
    assert half_the_rows - nothing < 0.7 * (everything - nothing)
    assert half_the_columns - nothing < 0.7 * (everything - nothing)
    assert of_one_branch < everything


def test_decoding_holds_a_group_and_not_all_prompts(prompted, monkeypatch):
    monkeypatch.setattr("sam_hq.model.cpu_decoder.PIXEL_FLOATS_AT_ONCE", 1)  # one object, as at full size
    model, image_embeddings, _, hq_features, _ = prompted
    peaks = []
    for count in (64, 96):  # tokens grow with the prompts, pixels do not
        points = torch.rand(1, count, 1, 2) * 128
        with torch.no_grad(), ByteCounter() as counter:
            for _, masks in passing_masks(model, image_embeddings, hq_features, input_points=points):
                masks.logits()
        peaks.append(counter.peak)
    assert peaks[1] < 1.2 * peaks[0]
