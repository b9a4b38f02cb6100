"""`ModelTesterMixin` over the whole models and the encoders alone."""

import unittest

import torch

from conftest import DECODER, EFFICIENTNET, TINY_VIT, VIT
from sam_hq.configuration_sam_hq import SamHQConfig, SamHQEfficientNetConfig, SamHQTinyVitConfig, SamHQVisionConfig
from sam_hq.modeling_sam_hq import SamHQEfficientNetModel, SamHQModel, SamHQTinyVitModel, SamHQVisionModel

from .mixins import modeling

BATCH = 2
VISION = {
    "vit": VIT | {"num_hidden_layers": 2, "global_attn_indexes": [1], "image_size": 64},
    "tiny_vit": TINY_VIT | {"image_size": 64},
    "efficientnet": EFFICIENTNET | {"image_size": 64},
}


class Tester:
    """What the mixin asks for: configurations and inputs."""

    batch_size, image_size, seq_length = BATCH, 64, 16

    def __init__(self, test: "ModelTests"):
        self.whole, self.config_class, self.fields = test.whole, test.config_class, VISION[test.vision]
        layers = self.fields.get("num_hidden_layers", 2)
        self.num_hidden_layers = layers if isinstance(layers, int) else 2  # whose stages are of one layer or two
        self.hidden_size, self.num_attention_heads = self.fields.get("hidden_size"), 4
        self.is_training = test.whole  # the encoders alone have no loss

    def get_config(self):
        fields = {name: value for name, value in self.fields.items() if self.whole or name != "model_type"}
        if not self.whole:
            return self.config_class(**fields)
        return SamHQConfig(vision_config=fields, mask_decoder_config=dict(DECODER))

    def prepare_config_and_inputs_for_common(self):
        generator = torch.Generator().manual_seed(0)
        inputs = {"pixel_values": torch.rand(BATCH, 3, self.image_size, self.image_size, generator=generator)}
        if self.whole:
            corners = torch.rand(BATCH, 2, 2, generator=generator) * 30
            inputs["input_points"] = torch.rand(BATCH, 2, 3, 2, generator=generator) * 64
            inputs["input_labels"] = torch.tensor([[[1, 0, 1], [1, 1, 0]]] * BATCH)
            inputs["input_boxes"] = torch.cat([corners, corners + 30], dim=-1)
            inputs["input_masks"] = torch.randn(BATCH, 2, 16, 16, generator=generator)
        return self.get_config(), inputs


class ModelTests(modeling.ModelTesterMixin):
    """What the classes have in common."""

    whole, config_class = True, SamHQConfig
    test_resize_embeddings = False  # there is no vocabulary

    def setUp(self):
        self.model_tester = Tester(self)


class VitTest(ModelTests, unittest.TestCase):
    vision, all_model_classes = "vit", (SamHQModel,)


class TinyVitTest(ModelTests, unittest.TestCase):
    vision, all_model_classes = "tiny_vit", (SamHQModel,)


class EfficientNetTest(ModelTests, unittest.TestCase):
    vision, all_model_classes = "efficientnet", (SamHQModel,)


class VitVisionTest(ModelTests, unittest.TestCase):
    vision, all_model_classes = "vit", (SamHQVisionModel,)
    whole, config_class = False, SamHQVisionConfig


class TinyVitVisionTest(ModelTests, unittest.TestCase):
    vision, all_model_classes = "tiny_vit", (SamHQTinyVitModel,)
    whole, config_class = False, SamHQTinyVitConfig


class EfficientNetVisionTest(ModelTests, unittest.TestCase):
    vision, all_model_classes = "efficientnet", (SamHQEfficientNetModel,)
    has_attentions = False  # it is convolutions throughout
    whole, config_class = False, SamHQEfficientNetConfig
