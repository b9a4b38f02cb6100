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
from sam_hq_onnx.directory_metadata import directory_metadata
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
    working = copy.deepcopy(model).half() if dtype == "fp16" else model
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
        directory: With both programs; the metadata are inside them, and those beside them must say the same.

    Raises:
        ValueError: If a program is missing, cannot be loaded or is none of ours, both do not belong together, or the
            metadata beside them contradict those inside.
    """
    directory = Path(directory)
    encoder = ProgramSession(directory / ENCODER_PROGRAM, ENCODER_INPUTS, ENCODER_OUTPUTS)
    decoder = ProgramSession(directory / DECODER_PROGRAM, DECODER_INPUTS, DECODER_OUTPUTS)
    files = (ENCODER_PROGRAM, DECODER_PROGRAM)
    metadata = directory_metadata(directory, encoder.strings, decoder.strings, files)
    return OnnxSamHQ.from_sessions(encoder, decoder, metadata)


class ProgramSession:
    """An exported program that is called as an onnxruntime session is.

    Args:
        path: The program.
        inputs: Names of its inputs, in order.
        outputs: Names of its outputs, in order.

    Attributes:
        strings: The metadata inside it.

    Raises:
        ValueError: If it is missing, cannot be loaded, has no metadata or other inputs or outputs.
    """

    def __init__(self, path: Path, inputs: Sequence[str], outputs: Sequence[str]):
        if not path.is_file():
            raise ValueError(f"there is no {str(path)!r}; sam-hq export --format torch-export writes it")
        described = {METADATA_FILE: ""}
        try:
            program = torch.export.load(path, extra_files=described)
        except Exception as error:  # torch's errors of damaged archives have no common base
            raise ValueError(f"cannot load {str(path)!r}: {error}") from error
        self.inputs, self.outputs = inputs, outputs
        self.strings = _metadata_strings(described[METADATA_FILE], path)
        _check_inputs(program, path, inputs, self.strings)
        self.module = program.module()

    @torch.no_grad()
    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the program.

        Args:
            outputs: Names of the outputs that are wanted.
            inputs: All inputs by name.
        """
        found = self.module(*(torch.from_numpy(np.asarray(inputs[name])) for name in self.inputs))
        return [found[self.outputs.index(name)].numpy() for name in outputs]


def _metadata_strings(described: str, path: Path) -> dict[str, str]:
    """The keys and values inside a program."""
    try:
        strings = json.loads(described or "{}")
    except ValueError as error:
        raise ValueError(f"the metadata of {str(path)!r} are damaged: {error}") from error
    # Read here too, so that a program of another kind is called that, rather than one with other inputs.
    GraphMetadata.from_strings(strings, repr(str(path)), path.stem)
    return dict(strings)


def _check_inputs(
    program: torch.export.ExportedProgram, path: Path, inputs: Sequence[str], strings: Mapping[str, str]
) -> None:
    """Refuse a program that does not take what it is going to be given."""
    names = program.graph_signature.user_inputs
    if tuple(names) != tuple(inputs):
        raise ValueError(f"{str(path)!r} is damaged: its inputs must be {', '.join(inputs)}, got {names}")
    shapes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.name in names}
    name, key = ("pixel_values", "image_size") if "pixel_values" in names else ("input_masks", "mask_size")
    if [str(side) for side in shapes[name][-2:]] != [strings[key]] * 2:
        raise ValueError(
            f"the metadata of {str(path)!r} are damaged: {key} must be the side of the program's input {name}, which "
            f"is of shape {tuple(shapes[name])}, got {strings[key]}"
        )
