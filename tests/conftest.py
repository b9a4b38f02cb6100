"""What tests share: small models whose grids do not fit their windows, and real photos."""

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.modeling_sam_hq import SamHQModel

REPOSITORY = Path(__file__).resolve().parents[1]
PHOTOS = REPOSITORY / "docs" / "photos"
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support")]

pytest_plugins = ["browser_fixtures", "demo_fixtures"]

# No test is timed: on a busy machine any example may take longer than Hypothesis allows it by default.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Files that take long, the longest first: begun late, one would keep one process busy when the others are at the end.
LONGEST = [
    "test_modeling_deployment.py",
    "sam_hq_onnx/test_runner.py",
    "documentation/test_code_blocks.py",
    "parity/test_generation.py",
    "demo/test_page.py",
    "parity/test_parity.py",
    "documentation/test_exported_calls.py",
    "training/test_trainer.py",
    "test_embedded_checkpoint.py",
    "export/test_onnx.py",
    "model/test_fast_path.py",
    "documentation/test_site.py",
    "test_packaging.py",
    "demo/test_static_page.py",
    "hub/test_code_export.py",
    "cli/test_export.py",
    "generation/test_generation_memory.py",
    "generation/test_generator.py",
]

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 128,
    "window_size": 3,
    "global_attn_indexes": [1, 3],
    "output_channels": 32,
    "num_pos_feats": 16,
}
TINY_VIT = {
    "model_type": "sam_hq_tiny_vit",
    "hidden_sizes": [8, 16, 24, 32],
    "num_attention_heads": [1, 2, 3, 4],
    "window_size": [7, 7, 5, 7],
    "image_size": 128,
    "output_channels": 32,
    "num_pos_feats": 16,
}
EFFICIENTNET = {
    "model_type": "sam_hq_efficientnet",
    "hidden_sizes": [4, 6, 8, 10, 12, 14, 16],
    "num_hidden_layers": [1, 2, 1, 1, 2, 1, 1],
    "stem_width": 8,
    "fusion_width": 16,
    "fine_channels": 2,
    "image_size": 128,
    "output_channels": 32,
    "num_pos_feats": 16,
}
BACKBONES = ["vit", "tiny_vit", "efficientnet"]
# One layer of every kind: compilers and exporters take seconds a layer, whatever the size of its weights.
SHALLOW = {
    "vit": {"num_hidden_layers": 2, "global_attn_indexes": [1]},
    "tiny_vit": {"depths": [1, 1, 1, 1]},
    "efficientnet": {"num_hidden_layers": [1] * 7},
}
# Two heads: with eight tokens or so, some attentions of the fast path are absorbed and others projected.
DECODER = {"mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of `LONGEST` first, for `--no-loadscope-reorder`."""
    rank = {REPOSITORY / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def small_config(backbone: str = "vit", shallow: bool = False) -> SamHQConfig:
    """A configuration with a 128-pixel input and an 8x8 grid; one of `BACKBONES`."""
    vision_config = {"vit": VIT, "tiny_vit": TINY_VIT, "efficientnet": EFFICIENTNET}[backbone]
    layers = SHALLOW[backbone] if shallow else {}
    return SamHQConfig(vision_config={**vision_config, **layers}, mask_decoder_config=dict(DECODER))


def stirred(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Move every weight and statistic away from its neutral value, so that none can be forgotten unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.add_(torch.rand(buffer.shape, generator=generator))
            elif name.endswith("running_mean"):  # of both signs, or what follows a rectifier is zero throughout
                buffer.add_(torch.rand(buffer.shape, generator=generator) - 0.5)
    return model


def small_model(backbone: str = "vit", seed: int = 0, shallow: bool = False) -> SamHQModel:
    """A small model in evaluation mode with nothing at its neutral value."""
    torch.manual_seed(seed)
    return stirred(SamHQModel(small_config(backbone, shallow)), seed).eval()


@pytest.fixture(params=BACKBONES)
def model(request) -> SamHQModel:
    """A small model of each backbone."""
    return small_model(request.param)


@pytest.fixture(scope="session")
def directory(tmp_path_factory) -> Path:
    """A small ViT with its processor, saved; to be read only."""
    from sam_hq.hub.conversion import processor_for

    directory = tmp_path_factory.mktemp("model")
    small_model().save_pretrained(directory)
    processor_for(small_config()).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of photos."""
    return PHOTOS


@pytest.fixture(scope="session")
def folder_of_the_run(tmp_path_factory) -> Path:
    """The folder of temporary files that the processes of a run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def exports(folder_of_the_run):
    """Small models as ONNX, see `exported_models.Exports`."""
    from exported_models import Exports

    return Exports(folder_of_the_run)


@pytest.fixture
def torch_threads():
    """Sets torch's thread count until the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def any_precision():
    """Lets a test train in several precisions; accelerate otherwise keeps to the first of a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield AcceleratorState._reset_state
    AcceleratorState._reset_state(reset_partial_state=True)
