"""ONNX in the layout of `segment_anything_hq`: one prompted object at a time.

docs/export.md describes it beside our own graphs, which take many objects at once.

Source: segment_anything_hq/utils/onnx.py, `SamOnnxModel`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from sam_hq_numpy.atomic_writing import new_directory
from sam_hq_numpy.prompt_labels import NOT_A_POINT_LABEL
from sam_hq_onnx.metadata import SAM_LAYOUT_GRAPHS

from ..image_processing_sam_hq import SamHQImageProcessor
from ..model.forward_validation import check_flags
from ..model.model_access import evaluating
from ..modeling_sam_hq import SamHQModel
from ..predictor import SamHQPredictor
from ..processing_sam_hq import SamHQProcessor
from .check import Agreement, Comparison, drawn_logits, drawn_photo, within_limits
from .graphs import DecoderGraph, EncoderGraph
from .onnx import DEFAULT_OPSET, OnnxExport, check_onnx_options, graph_metadata, graph_program, write_graph

ENCODER_FILE, DECODER_FILE = (f"{name}.onnx" for name in SAM_LAYOUT_GRAPHS)
ENCODER_INPUTS, ENCODER_OUTPUTS = ("input_image",), ("image_embeddings", "interm_embeddings")
DECODER_INPUTS = (
    "image_embeddings",
    "interm_embeddings",
    "point_coords",
    "point_labels",
    "mask_input",
    "has_mask_input",
    "orig_im_size",
)
DECODER_OUTPUTS = ("masks", "iou_predictions", "low_res_masks")


class SamEncoderGraph(EncoderGraph):
    """An image to its embeddings and the encoder's early features.

    Args:
        model: The model; left as it is.
    """

    def __init__(self, model: SamHQModel):
        super().__init__(model)
        del self.mask_decoder

    def forward(self, input_image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode an image.

        Args:
            input_image: (1, 3, S, S) float32, resized, normalised and padded.

        Returns:
            `image_embeddings` (1, C, h, w) and `interm_embeddings` (L, 1, h, w, C').
        """
        image_embeddings, early = self.vision_encoder(input_image).embeddings()
        return image_embeddings.float(), torch.stack(list(early)).float()


class SamDecoderGraph(DecoderGraph):
    """Prompts for one object to its mask at the photo's size.

    Args:
        model: The model; left as it is.
        multimask_output: Whether the mask is the best of three, or the one for clear prompts.
        hq_token_only: Whether the mask is the HQ token's alone.
    """

    multimask_output: torch.Tensor
    hq_token_only: torch.Tensor

    def __init__(self, model: SamHQModel, multimask_output: bool = False, hq_token_only: bool = False):
        super().__init__(model)
        self.image_size: int = model.config.vision_config.image_size
        self.register_buffer("multimask_output", torch.tensor(multimask_output))
        self.register_buffer("hq_token_only", torch.tensor(hq_token_only))

    def forward(  # type: ignore[override]
        self,
        image_embeddings: torch.Tensor,
        interm_embeddings: torch.Tensor,
        point_coords: torch.Tensor,
        point_labels: torch.Tensor,
        mask_input: torch.Tensor,
        has_mask_input: torch.Tensor,
        orig_im_size: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predict a mask.

        Args:
            image_embeddings: (1, C, h, w).
            interm_embeddings: (L, 1, h, w, C').
            point_coords: (1, N, 2) as x, y in the resized frame.
            point_labels: (1, N) float32: 1 on the object, 0 not, 2 and 3 the corners of a box, -1 not a point, which
                has to be the last of points without a box.
            mask_input: Low-res logits (1, 1, 4h, 4w).
            has_mask_input: (1,) float32, 0 where there are none.
            orig_im_size: (2,) float32, height and width of the photo.

        Returns:
            Logits `masks` (1, 1, H, W), `iou_predictions` (1, 1) and `low_res_masks` (1, 1, 4h, 4w).
        """
        none = torch.zeros(1, 1, dtype=torch.bool)
        low_res, scores = super().forward(
            image_embeddings,
            self.mask_decoder.hq_features(image_embeddings, interm_embeddings[0]),
            point_coords[:, None],
            point_labels[:, None].to(torch.int64),
            torch.zeros(1, 1, 4),
            none,
            mask_input,
            has_mask_input[None] > 0,
            self.multimask_output,
            self.hq_token_only,
        )
        best = torch.zeros(1, dtype=torch.int64)
        low_res, scores = low_res[0].index_select(1, best), scores[0].index_select(1, best)
        return self._at_photo_size(low_res, orig_im_size), scores, low_res

    def _tokens(
        self,
        points: torch.Tensor,
        labels: torch.Tensor,
        boxes: torch.Tensor,  # noqa: ARG002 (corners of boxes are among the points)
        has_box: torch.Tensor,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        encoder: Any = self.prompt_encoder
        embedded = self.encode_positions((points + 0.5) / self.image_size).to(self.dtype)
        labels = labels.unsqueeze(-1)
        is_point = labels != NOT_A_POINT_LABEL
        embedded = embedded * is_point + encoder.not_a_point_embed.weight[0] * ~is_point
        for label, kind in enumerate(encoder.point_embed):
            embedded = embedded + kind.weight[0] * (labels == label)
        return embedded, torch.ones_like(labels.squeeze(-1), dtype=torch.bool)

    def _at_photo_size(self, low_res: torch.Tensor, original_size: torch.Tensor) -> torch.Tensor:
        """Bilinear to the padded frame, then from its unpadded part to the photo's size."""
        masks = F.interpolate(low_res, (self.image_size, self.image_size), mode="bilinear", align_corners=False)
        reshaped = torch.floor(self.image_size / original_size.max() * original_size + 0.5)
        for axis in (0, 1):
            length = original_size[axis].to(torch.int64).item()
            torch._check(length >= 1)
            places = torch.arange(length, dtype=torch.float32)
            places = ((places + 0.5) * reshaped[axis] / original_size[axis] - 0.5).clamp(min=0)
            first = places.floor()
            share = (places - first).reshape(-1, 1) if axis == 0 else places - first
            last = reshaped[axis] - 1
            lower, upper = (torch.minimum(place, last).to(torch.int64) for place in (first, first + 1))
            masks = masks.index_select(2 + axis, lower) * (1 - share) + masks.index_select(2 + axis, upper) * share
        return masks


def export_sam_layout(
    model: SamHQModel,
    image_processor: SamHQImageProcessor,
    directory: str | Path,
    opset: int = DEFAULT_OPSET,
    multimask_output: bool = False,
    hq_token_only: bool = False,
) -> OnnxExport:
    """Write a model as ONNX in the layout of `segment_anything_hq`, and check it against torch.

    Args:
        model: The model; left as it is.
        image_processor: Its image processor.
        directory: A new or empty directory; it appears whole or not at all.
        opset: The version of ONNX's operators, 18 to 23.
        multimask_output: Whether the mask is the best of three, or the one for clear prompts.
        hq_token_only: Whether the mask is the HQ token's alone.

    Raises:
        TypeError: If `model` is no SAM-HQ, or a flag neither True nor False.
        ValueError: If an option is unknown, the processor does not scale the longest side to the model's, or the
            graphs' answers differ from torch's by more than they may.
        ImportError: If the extra `onnx` is not installed.
        OSError: If the directory cannot be written.
    """
    check_flags(multimask_output=multimask_output, hq_token_only=hq_token_only)
    check_onnx_options(directory, "fp32", opset)
    metadata = graph_metadata(model, image_processor, "fp32")
    if metadata.size != {"longest_edge": metadata.image_size}:
        raise ValueError(
            f"size must be longest_edge={metadata.image_size}, as these graphs take it, got {metadata.size}"
        )
    with new_directory(directory) as aside, torch.no_grad():
        encoder = SamEncoderGraph(model).eval()
        side = metadata.image_size
        image = torch.zeros(1, model.config.vision_config.num_channels, side, side)
        traced = torch.export.export(encoder, (image,), strict=False)
        write_graph(graph_program(traced, ENCODER_INPUTS, ENCODER_OUTPUTS, opset), aside / ENCODER_FILE, metadata)
        decoder = SamDecoderGraph(model, multimask_output, hq_token_only).eval()
        low_res = metadata.mask_size
        example = (
            *encoder(image),
            torch.zeros(1, 3, 2),
            torch.ones(1, 3),
            torch.zeros(1, 1, low_res, low_res),
            torch.zeros(1),
            torch.tensor([float(side) * 2 - 31, float(side) + 17]),
        )
        points = torch.export.Dim("num_points")
        dynamic = tuple({1: points} if name.startswith("point_") else None for name in DECODER_INPUTS)
        traced = torch.export.export(decoder, example, dynamic_shapes=dynamic, strict=False)
        write_graph(graph_program(traced, DECODER_INPUTS, DECODER_OUTPUTS, opset), aside / DECODER_FILE, metadata)
        with evaluating(model):
            agreement = agreement_of(model, image_processor, aside, multimask_output, hq_token_only)
        within_limits(agreement, "fp32")
    return OnnxExport(Path(directory), metadata, agreement)


def agreement_of(
    model: SamHQModel,
    image_processor: SamHQImageProcessor,
    directory: Path,
    multimask_output: bool,
    hq_token_only: bool,
) -> Agreement:
    """How near the graphs in a directory are to the model, on a drawn photo.

    Args:
        model: The model.
        image_processor: Its image processor.
        directory: With both graphs.
        multimask_output: How the decoder was exported.
        hq_token_only: Likewise.
    """
    import onnxruntime

    encoder, decoder = (
        onnxruntime.InferenceSession(str(directory / name), providers=["CPUExecutionProvider"])
        for name in (ENCODER_FILE, DECODER_FILE)
    )
    predictor = SamHQPredictor(model, SamHQProcessor(image_processor))
    comparison = Comparison()
    for size in ((180, 240), (240, 150)):
        photo = drawn_photo(size)
        inputs = image_processor(photo, return_tensors="np")
        encoded = dict(zip(ENCODER_OUTPUTS, encoder.run(None, {"input_image": inputs["pixel_values"]}), strict=True))
        embeddings = predictor.embed(photo)
        scale = inputs["reshaped_input_sizes"][0][::-1] / np.array(size[::-1])
        for prompts, points, labels, mask in _calls(graph_side=embeddings.hq_features.shape[-1]):
            found = decoder.run(
                None,
                {
                    **encoded,
                    "point_coords": (points * scale).astype(np.float32)[None],
                    "point_labels": labels.astype(np.float32)[None],
                    "mask_input": mask,
                    "has_mask_input": np.array([float(mask.any())], np.float32),
                    "orig_im_size": np.array(size, np.float32),
                },
            )
            wanted = predictor.predict(
                embeddings,
                **prompts,
                multimask_output=multimask_output,
                hq_token_only=hq_token_only,
                return_logits=True,
            ).numpy()
            (masks, scores, low_res), (torch_masks, torch_scores, torch_low_res) = found, wanted
            comparison.add_logits(low_res, torch_low_res)
            comparison.add_logits(masks, torch_masks)
            comparison.add_masks(masks > 0, torch_masks > 0)
            comparison.add_scores(scores, torch_scores)
    return comparison.agreement()


def _calls(graph_side: int) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]]:
    """Prompts as the predictor takes them, and as the graph does: points, a box, both with a mask."""
    blob = drawn_logits(graph_side)
    none = np.zeros((1, 1, graph_side, graph_side), np.float32)
    points, box = np.array([[60.0, 60.0], [20.0, 20.0]]), np.array([[30.0, 30.0], [100.0, 100.0]])
    yield (
        {"points": points, "labels": [1, 0]},
        np.concatenate([points, np.zeros((1, 2))]),
        np.array([1, 0, NOT_A_POINT_LABEL]),
        none,
    )
    yield {"boxes": box.reshape(4)}, box, np.array([2, 3]), none
    both = {"points": points, "labels": [1, 0], "boxes": box.reshape(4), "masks": blob}
    yield both, np.concatenate([points, box]), np.array([1, 0, 2, 3]), blob[None, None]


__all__ = ["DECODER_FILE", "ENCODER_FILE", "SamDecoderGraph", "SamEncoderGraph", "export_sam_layout"]
