"""The matrix product of the CPU engine: equal whichever way is taken, chosen once, and no one's settings touched."""

import functools
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F

import sam_hq
from conftest import BACKBONES, small_model
from sam_hq.model import cpu_encoder, cpu_matmul
from sam_hq.model.cpu_matmul import product
from sam_hq.model.worker_threads import in_threads


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv("SAM_HQ_CPU_MATMUL", raising=False)
    monkeypatch.setattr(cpu_matmul, "WORTH_MEASURING", 0)
    sam_hq.set_cpu_matmul(None)
    yield
    sam_hq.set_cpu_matmul(None)


def factors():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 70, 40, 48, generator=generator)
    return features, torch.randn(96, 48, generator=generator), torch.randn(96, generator=generator)


@pytest.mark.parametrize("way", ["torch", "onednn", "auto"])
@pytest.mark.parametrize("cut", [slice(None), slice(3, 50)], ids=["whole", "a part of the rows"])
def test_every_way_gives_the_same(way, cut):
    features, weight, bias = factors()
    sam_hq.set_cpu_matmul(way)
    with torch.no_grad():
        for added in (bias, None):
            wanted = F.linear(features[:, cut].double(), weight.double(), None if added is None else added.double())
            found = product(features[:, cut], weight, added)
            torch.testing.assert_close(found, wanted.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_engine_gives_the_same_either_way(backbone):
    model, answers = small_model(backbone), []
    pixel_values, box = torch.randn(1, 3, 128, 128), torch.tensor([[[10.0, 20, 90, 100]]])
    for way in ("torch", "onednn"):
        sam_hq.set_cpu_matmul(way)
        with torch.no_grad():
            answers.append(model(pixel_values, input_boxes=box).pred_masks)
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-5)


def test_a_class_of_shapes_is_measured_once_whatever_thread_asks(monkeypatch):
    multiplied, linear = [], F.linear
    monkeypatch.setattr(F, "linear", lambda *inputs: multiplied.append(inputs[0].shape) or linear(*inputs))
    features, weight, bias = factors()
    product(features, weight, bias)
    of_one_measurement = multiplied.count((256, 48))
    assert of_one_measurement
    sam_hq.set_cpu_matmul(None)
    multiplied.clear()

    def work():
        with torch.no_grad():
            for rows in (70, 69):  # as many as count, both
                product(features[:, :rows], weight, bias)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert multiplied.count((256, 48)) == of_one_measurement
    products = sam_hq.cpu_info()["products"]
    assert products.keys() == {"256x48x96"}
    assert products["256x48x96"]["chosen"] in ("torch", "onednn")


@pytest.mark.parametrize("asked_by", ["the caller", "a worker"])
def test_one_thread_measures_and_the_caller_keeps_its_own(monkeypatch, asked_by):
    """Several wait for each other on a busy machine, and the choice would be of such a moment."""
    counts, linear = [], F.linear

    def counted(features, *weights):
        if features.shape == (256, 48):  # a measurement's
            counts.append(torch.get_num_threads())
        return linear(features, *weights)

    monkeypatch.setattr(F, "linear", counted)
    features, weight, bias = factors()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        if asked_by == "the caller":
            product(features, weight, bias)
        else:
            with torch.no_grad():
                list(in_threads(lambda part: product(part, weight, bias), features))
        assert set(counts) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_the_faster_one_is_chosen(monkeypatch):
    for slow, (place, name) in {"torch": (F, "linear"), "onednn": (torch.ops.mkldnn, "_linear_pointwise")}.items():

        def delayed(*inputs, call):
            for _ in range(50):
                outputs = call(*inputs)
            return outputs

        sam_hq.set_cpu_matmul(None)
        with monkeypatch.context() as patch:
            patch.setattr(place, name, functools.partial(delayed, call=getattr(place, name)))
            product(*factors())
        assert sam_hq.cpu_info()["products"]["256x48x96"]["chosen"] != slow


def test_where_the_operator_is_missing_it_is_torch_without_a_word(monkeypatch, recwarn):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    features, weight, bias = factors()
    for way in ("auto", "onednn"):
        sam_hq.set_cpu_matmul(way)
        assert torch.equal(product(features, weight, bias), F.linear(features, weight, bias))
    assert not recwarn.list
    assert sam_hq.cpu_info()["products"] == {}


def test_environment_and_argument(monkeypatch):
    assert sam_hq.cpu_info()["matmul"] == "auto"
    monkeypatch.setenv("SAM_HQ_CPU_MATMUL", "onednn")
    assert sam_hq.cpu_info()["matmul"] == "onednn"
    sam_hq.set_cpu_matmul("torch")
    assert sam_hq.cpu_info()["matmul"] == "torch"
    with pytest.raises(ValueError, match="way must be 'auto', 'torch' or 'onednn', but is 'mkl'"):
        sam_hq.set_cpu_matmul("mkl")
    sam_hq.set_cpu_matmul(None)
    monkeypatch.setenv("SAM_HQ_CPU_MATMUL", "fastest")
    with pytest.raises(ValueError, match="SAM_HQ_CPU_MATMUL must be"):
        sam_hq.cpu_info()


def test_no_setting_of_torch_is_touched():
    before = torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.get_default_dtype()
    inputs, state = factors(), torch.get_rng_state()
    product(*inputs)
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.get_default_dtype()) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_sixteen_bits_where_the_cpu_has_none_warn_once(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    cpu_encoder.warn_of_slow_types.cache_clear()
    model = small_model().to(torch.bfloat16)
    with torch.no_grad():
        with pytest.warns(UserWarning, match=r"no instructions for matrices of torch.bfloat16"):
            model.get_image_embeddings(torch.randn(1, 3, 128, 128))
        with warnings.catch_warnings(record=True) as again:
            model.get_image_embeddings(torch.randn(1, 3, 128, 128))
    assert not again
    assert cpu_matmul.has_hardware_for(torch.float32)
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # torch 2.9 has none: nothing is known, nothing is said
    assert cpu_matmul.has_hardware_for(torch.bfloat16)
    assert sam_hq.cpu_info()["cpu"] == "unknown"
