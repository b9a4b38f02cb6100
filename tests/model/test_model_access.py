"""Wrappers are looked through, and inputs go where the model runs."""

import pytest
import torch
from accelerate import cpu_offload
from torch import nn
from torch.optim.swa_utils import AveragedModel

from conftest import small_model
from sam_hq.model.model_access import execution_device, unwrapped
from sam_hq.modeling_sam_hq import SamHQModel


class Module(nn.Module):
    """As Lightning modules and the like hold a model."""

    def __init__(self, model):
        super().__init__()
        self.model = model


def with_lora(model):
    peft = pytest.importorskip("peft", reason="needs the extra `lora`")
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=["lin1"]))


WRAPPERS = {
    "none": lambda model: model,
    "compile": torch.compile,
    "DataParallel": nn.DataParallel,
    "averaged": AveragedModel,
    "module": Module,
    "PEFT": with_lora,
    "compiled PEFT": lambda model: torch.compile(with_lora(model)),
    "PEFT in DataParallel in a module": lambda model: Module(nn.DataParallel(with_lora(model))),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_looked_through(name):
    model = small_model("vit")
    inner = unwrapped(WRAPPERS[name](model), SamHQModel)
    assert type(inner) is SamHQModel
    assert name == "averaged" or inner is model  # an average is a copy


@pytest.mark.parametrize("other", [nn.Linear(2, 2), nn.DataParallel(nn.Linear(2, 2)), "model", None])
def test_something_else_is_refused(other):
    with pytest.raises(TypeError, match="model must be a SamHQModel or a wrapper around one, got"):
        unwrapped(other, SamHQModel)


def test_inputs_go_where_weights_are_brought():
    model = small_model("vit")
    assert execution_device(model) == torch.device("cpu")
    cpu_offload(model, execution_device="cpu")
    assert model.device == torch.device("meta")
    assert execution_device(model) == torch.device("cpu")
