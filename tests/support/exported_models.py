"""Exported graphs that several tests share: small models of each kind of encoder, exported once a run.

Tracing takes seconds whatever the size of the weights, so that these models have as few layers as show everything, and
the small ones have one decoder.
"""

import functools
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import onnx_ir
import pytest
import torch
from filelock import FileLock, Timeout

import sam_hq
import sam_hq.export.onnx
from conftest import small_config, stirred
from sam_hq.export.check import Agreement
from sam_hq.export.onnx import OnnxExport, export_onnx, graph_program
from sam_hq.hub.conversion import processor_for
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.processing_sam_hq import SamHQProcessor
from sam_hq_onnx import GraphMetadata

SMALL = ("vit", "tiny_vit", "efficientnet")


def kinds() -> list[str]:
    """Names of the models there are: a small one of each kind of encoder, and the embedded checkpoint where it is."""
    return [*SMALL, "embedded"] if Path(sam_hq.EMBEDDED_CHECKPOINT).is_dir() else list(SMALL)


@functools.cache
def model_and_processor(kind: str) -> tuple[SamHQModel, SamHQProcessor]:
    """The torch model of a kind, and its processor."""
    if kind == "embedded":
        model = SamHQModel.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT, dtype=torch.float32).eval()
        return model, SamHQProcessor.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT)
    config = small_config(kind, shallow=True)
    config.mask_decoder_config.num_hidden_layers = 1
    torch.manual_seed(0)
    model = stirred(SamHQModel(config)).eval()
    if kind != SMALL[0]:  # what its decoder's graph holds is the same
        weights, own = model_and_processor(SMALL[0])[0].state_dict(), model.state_dict()
        behind = [name for name in own if not name.startswith("vision_encoder.")]
        model.load_state_dict(
            {name: weights[name] for name in behind if weights[name].shape == own[name].shape}, strict=False
        )
    return model, processor_for(config)


class Exports:
    """The ONNX exports by kind, made when first asked for, shared by the processes of a run.

    Args:
        root: Where they are kept.
    """

    def __init__(self, root: Path):
        self.root = root

    def __call__(self, kind: str) -> OnnxExport:
        """The export of a kind."""
        try:
            self._make(kind, wait=False)
        except Timeout:  # another process is at it: what else is wanted is made meanwhile
            for other in reversed(kinds()):
                with suppress(Timeout):
                    self._make(other, wait=False)
            self._make(kind, wait=True)
        directory = self.root / f"exported-{kind}"
        metadata = GraphMetadata.from_strings(json.loads((directory / "sam_hq.json").read_text()), kind)
        return OnnxExport(directory, metadata, Agreement(**json.loads(self._note(kind).read_text())))

    def _make(self, kind: str, wait: bool) -> None:
        with FileLock(self.root / f"exported-{kind}.lock").acquire(blocking=wait):
            if not self._note(kind).exists():
                model, processor = model_and_processor(kind)
                with pytest.MonkeyPatch.context() as patch:
                    if kind in SMALL[1:]:
                        self._make(SMALL[0], wait=True)
                        patch.setattr(sam_hq.export.onnx, "traced_decoder", lambda _: "decoder.onnx")
                        patch.setattr(sam_hq.export.onnx, "graph_program", self._read_or_made)
                    export = export_onnx(model, processor.image_processor, self.root / f"exported-{kind}")
                self._note(kind).write_text(json.dumps(asdict(export.agreement)))

    def _read_or_made(self, traced, *options):
        """The small models' decoder as it was exported, or what is traced."""
        if traced == "decoder.onnx":
            return torch.onnx.ONNXProgram(onnx_ir.load(self.root / f"exported-{SMALL[0]}" / traced), None)
        return graph_program(traced, *options)

    def _note(self, kind: str) -> Path:
        return self.root / f"exported-{kind}.json"
