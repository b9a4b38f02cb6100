"""What `program_runner` refuses: metadata that are missing, impossible or contradict what lies beside the programs."""

import json

import pytest
import torch
from torch import nn

from described_graphs import METADATA
from sam_hq.export.graphs import DECODER_INPUTS
from sam_hq.export.programs import program_runner

STRINGS = METADATA.to_strings()
LOW_RES = METADATA.mask_size


class Encoder(nn.Module):
    """What stands where an encoder could."""

    def forward(self, pixel_values):
        """The mean of each image."""
        return pixel_values.mean((1, 2, 3)), pixel_values * 2


class Decoder(nn.Module):
    """What stands where a decoder could."""

    def forward(
        self,
        image_embeddings,
        hq_features,
        input_points,
        input_labels,
        input_boxes,
        has_box,
        input_masks,
        has_mask,
        multimask_output,
        hq_token_only,
    ):
        """Two answers."""
        return input_masks * 2, image_embeddings + 1


PROGRAMS = {
    "encoder": torch.export.export(Encoder(), (torch.zeros(1, 3, METADATA.image_size, METADATA.image_size),)),
    "decoder": torch.export.export(
        Decoder(), tuple(torch.zeros(1, 1, LOW_RES, LOW_RES) for _ in DECODER_INPUTS), strict=False
    ),
}


def write(directory, described=STRINGS, encoder=None, decoder=None, programs=PROGRAMS):
    """Programs with these keys besides the usual ones, and a file beside them."""
    for name, changes in (("encoder", encoder or {}), ("decoder", decoder or {})):
        inside = {"sam_hq.json": json.dumps({**STRINGS, "graph": name, **changes})}
        torch.export.save(programs[name], directory / f"{name}.pt2", extra_files=inside)
    if described is not None:
        (directory / "sam_hq.json").write_text(json.dumps(described))
    return directory


@pytest.mark.parametrize("described", [STRINGS, None])
def test_the_metadata_are_those_inside(described, tmp_path):
    runner = program_runner(write(tmp_path, described))
    assert runner.metadata == METADATA


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"described": {**STRINGS, "image_mean": "[1, 2, 3]"}},
            r"image_mean is \(1.0, 2.0, 3.0\) there, but .*encoder.p",
        ),
        ({"described": {**STRINGS, "model": "def"}}, "contradicts the graphs beside it: model is 'def' there"),
        ({"decoder": {"model": "def"}}, "are of different models: model is 'abc' and 'def'"),
        ({"decoder": {"mask_threshold": "1"}}, "must have the same mask_threshold, got 0.0 and 1.0"),
        ({"encoder": {"graph": "decoder"}}, r"encoder\.pt2' must be the encoder, but its metadata say graph is"),
        ({"encoder": {"image_size": "256"}}, r"encoder\.pt2' are damaged: image_size must .*pixel_values.*, got 256"),
        ({"decoder": {"mask_size": "64"}}, r"decoder\.pt2' are damaged: mask_size must .*input_masks.*, got 64"),
        ({"encoder": {"format": "other"}}, r"encoder\.pt2' must be a graph of the format"),
        ({"decoder": {"image_std": "[0, 0, 0]"}}, r"decoder\.pt2' are damaged: image_std must be"),
    ],
)
def test_programs_that_do_not_belong_together_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        program_runner(write(tmp_path, **changes))


def test_programs_of_others_are_refused(tmp_path):
    write(tmp_path)
    torch.export.save(PROGRAMS["encoder"], tmp_path / "encoder.pt2")
    with pytest.raises(ValueError, match=r"encoder\.pt2' must be a graph of the format 'sam-hq-onnx/1', got None"):
        program_runner(tmp_path)
    write(tmp_path, programs={"encoder": PROGRAMS["encoder"], "decoder": PROGRAMS["encoder"]})
    with pytest.raises(ValueError, match=r"decoder\.pt2' is damaged: its inputs must be image_embeddings, .*pixel_v"):
        program_runner(tmp_path)


def test_missing_and_damaged_programs_are_refused_by_name(tmp_path):
    write(tmp_path)
    (tmp_path / "decoder.pt2").write_bytes(b"no program")
    with pytest.raises(ValueError, match=r"cannot load .*decoder\.pt2'"):
        program_runner(tmp_path)
    (tmp_path / "decoder.pt2").unlink()
    with pytest.raises(ValueError, match=r"there is no .*decoder\.pt2'; sam-hq export --format torch-export writes it"):
        program_runner(tmp_path)
