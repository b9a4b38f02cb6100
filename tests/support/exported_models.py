"""Exported graphs that several tests share: small models of each kind of encoder, exported once a run.

Tracing takes seconds whatever the size of the weights, so that these models have as few layers as show everything.
"""

import functools
import json
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock

import sam_hq
from conftest import DECODER, EFFICIENTNET, TINY_VIT, VIT, stirred
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.export.check import Agreement
from sam_hq.export.onnx import OnnxExport, export_onnx
from sam_hq.hub.conversion import processor_for
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.processing_sam_hq import SamHQProcessor
from sam_hq_onnx import GraphMetadata

VISION = {
    "vit": {**VIT, "num_hidden_layers": 2, "global_attn_indexes": [1]},
    "tiny_vit": {**TINY_VIT, "depths": [1, 1, 1, 1]},
    "efficientnet": {**EFFICIENTNET, "num_hidden_layers": [1] * 7},
}


def kinds() -> list[str]:
    """Names of the models there are: one of each kind of encoder, the last the embedded checkpoint where it is."""
    return ["vit", "tiny_vit", "embedded" if Path(sam_hq.EMBEDDED_CHECKPOINT).is_dir() else "efficientnet"]


@functools.cache
def model_and_processor(kind: str) -> tuple[SamHQModel, SamHQProcessor]:
    """The torch model of a kind, and its processor."""
    if kind == "embedded":
        model = SamHQModel.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT, dtype=torch.float32).eval()
        return model, SamHQProcessor.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT)
    config = SamHQConfig(vision_config=dict(VISION[kind]), mask_decoder_config={**DECODER, "num_hidden_layers": 1})
    torch.manual_seed(0)
    return stirred(SamHQModel(config)).eval(), processor_for(config)


class Exports:
    """The ONNX exports by kind, made when first asked for, shared by the processes of a run.

    Args:
        root: Where they are kept.
    """

    def __init__(self, root: Path):
        self.root = root

    def __call__(self, kind: str) -> OnnxExport:
        """The export of a kind."""
        directory, note = self.root / f"exported-{kind}", self.root / f"exported-{kind}.json"
        with FileLock(self.root / f"exported-{kind}.lock"):
            if not note.exists():
                model, processor = model_and_processor(kind)
                export = export_onnx(model, processor.image_processor, directory)
                note.write_text(json.dumps(asdict(export.agreement)))
        metadata = GraphMetadata.from_strings(json.loads((directory / "sam_hq.json").read_text()), kind)
        return OnnxExport(directory, metadata, Agreement(**json.loads(note.read_text())))
