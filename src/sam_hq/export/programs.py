"""The model written as two programs of `torch.export`: torch, but neither transformers nor this package."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sam_hq_numpy.atomic_writing import check_free_directory, new_directory
from sam_hq_onnx import GraphMetadata, OnnxSamHQ
from sam_hq_onnx.metadata import METADATA_FILE

from ..image_processing_sam_hq import SamHQImageProcessor
from ..modeling_sam_hq import SamHQModel
from .check import Agreement, checked_agreement
from .graphs import (
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    ENCODER_INPUTS,
    ENCODER_OUTPUTS,
    traced_decoder,
    traced_encoder,
)
from .onnx import graph_metadata

ENCODER_PROGRAM, DECODER_PROGRAM = "encoder.pt2", "decoder.pt2"


@dataclass(frozen=True)
class ProgramExport:
    """What was written.

    Attributes:
        directory: With both programs and the metadata.
        metadata: What the programs say about themselves.
        agreement: How near their answers are to the model's.
    """

    directory: Path
    metadata: GraphMetadata
    agreement: Agreement


def export_programs(
    model: SamHQModel, image_processor: SamHQImageProcessor, directory: str | Path, dtype: str = "fp32"
) -> ProgramExport:
    """Write a model as programs with the inputs and outputs of the ONNX graphs, and check them.

    Args:
        model: The model; left as it is.
        image_processor: Its image processor.
        directory: A new or empty directory; it appears whole or not at all.
        dtype: "fp32" or "fp16".

    Raises:
        TypeError: If `model` is no SAM-HQ.
        ValueError: If `dtype` is another, the processor prepares photos in a way that the runner does not, or the
            answers differ from the model's by more than they may.
        OSError: If the directory cannot be written.
    """
    check_program_options(directory, dtype)
    metadata = graph_metadata(model, image_processor, dtype)
    working = model if dtype == "fp32" else copy.deepcopy(model).half()
    strings = metadata.to_strings()
    with new_directory(directory) as aside:
        for program, name in ((traced_encoder(working), ENCODER_PROGRAM), (traced_decoder(working), DECODER_PROGRAM)):
            described = json.dumps({**strings, "graph": Path(name).stem})
            torch.export.save(program, aside / name, extra_files={METADATA_FILE: described})
        (aside / METADATA_FILE).write_text(json.dumps(strings, indent=1) + "\n", encoding="utf-8")
        agreement = checked_agreement(model, image_processor, program_runner(aside))
    return ProgramExport(Path(directory), metadata, agreement)


def check_program_options(directory: str | Path, dtype: str = "fp32") -> None:
    """Refuse what `export_programs` would refuse, before a model is loaded.

    Args:
        directory: As in `export_programs`.
        dtype: Of the weights.

    Raises:
        ValueError: If `dtype` is another.
        FileExistsError: If the directory has contents.
    """
    if dtype not in ("fp32", "fp16"):
        raise ValueError(f"dtype of programs must be fp32 or fp16, got {dtype!r}; int8 needs the format onnx")
    check_free_directory(directory)


def program_runner(directory: str | Path) -> OnnxSamHQ:
    """Load exported programs behind the interface of the ONNX runner.

    Args:
        directory: With both programs and the metadata.
    """
    directory = Path(directory)
    return OnnxSamHQ.from_sessions(
        ProgramSession(directory / ENCODER_PROGRAM, ENCODER_INPUTS, ENCODER_OUTPUTS),
        ProgramSession(directory / DECODER_PROGRAM, DECODER_INPUTS, DECODER_OUTPUTS),
        GraphMetadata.from_file(directory / METADATA_FILE),
    )


class ProgramSession:
    """An exported program that is called as an onnxruntime session is.

    Args:
        path: The program.
        inputs: Names of its inputs, in order.
        outputs: Names of its outputs, in order.
    """

    def __init__(self, path: Path, inputs: Sequence[str], outputs: Sequence[str]):
        self.module = torch.export.load(path).module()
        self.inputs, self.outputs = inputs, outputs

    @torch.no_grad()
    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the program.

        Args:
            outputs: Names of the outputs that are wanted.
            inputs: All inputs by name.
        """
        found = self.module(*(torch.from_numpy(np.asarray(inputs[name])) for name in self.inputs))
        return [found[self.outputs.index(name)].numpy() for name in outputs]


__all__ = ["ProgramExport", "ProgramSession", "export_programs", "program_runner"]
