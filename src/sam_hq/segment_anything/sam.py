"""`Sam`: a SamHQModel behind the methods that code for `segment_anything` calls."""

import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sam_hq_numpy.frame_sizes import check_same_shape, resized_size, size_pairs, warn_if_exchanged
from sam_hq_numpy.number_limits import shown
from sam_hq_numpy.prompt_warnings import messages_in_words_of

from ..images.image_options import mean_and_std
from ..images.mask_frames import low_res_masks_to_photo
from ..model.model_access import execution_device
from ..modeling_sam_hq import SamHQModel
from ..processing_sam_hq import SamHQProcessor

_RECORD = ("image", "original_size", "point_coords", "point_labels", "boxes", "mask_inputs")


class Sam(nn.Module):
    """A model as `sam_model_registry` gives it.

    Args:
        model: The model.
        processor: Its processor.

    Source: segment_anything_hq/modeling/sam.py.
    Differs: `image_encoder` can be called and knows `img_size`; `prompt_encoder` and `mask_decoder` are those of
        `SamHQModel`, which take other arguments.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor
    mask_threshold = 0.0
    image_format = "RGB"

    def __init__(self, model: SamHQModel, processor: SamHQProcessor) -> None:
        super().__init__()
        self.model = model.eval()
        self.processor = processor
        mean, std = mean_and_std(processor.image_processor.options_of_call({}))
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
        return execution_device(self.model)

    @property
    def image_encoder(self) -> Any:
        """The encoder: `img_size`, and a call from preprocessed images to features and early features."""
        return _ImageEncoder(self.model)

    @property
    def prompt_encoder(self) -> Any:
        """Sizes of the prompt encoder; prompts are encoded by `SamHQModel`."""
        side, grid = self.model.config.vision_config.image_size, self.model.config.prompt_encoder_config
        return SimpleNamespace(
            embed_dim=grid.hidden_size,
            input_image_size=(side, side),
            image_embedding_size=(grid.image_embedding_size,) * 2,
            mask_input_size=(grid.mask_input_size,) * 2,
            get_dense_pe=self.model.get_image_wide_positional_embeddings,
        )

    def preprocess(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise images and pad them to the model's square.

        Args:
            x: (..., 3, h, w) in the resized frame, values in 0 to 255.

        Raises:
            TypeError: If it is no tensor.
            ValueError: If it has another shape, is larger than the square, or holds values in 0 to 1.
        """
        side = self.image_encoder.img_size
        check_tensor("image", x)
        if x.ndim < 3 or x.shape[-3] != 3 or 0 in x.shape or max(x.shape[-2:]) > side:
            raise ValueError(f"image must be (3, h, w) of at most {side} pixels along a side, got {tuple(x.shape)}")
        if x.is_floating_point() and x.max() <= 1 and (x != x.round()).any():
            raise ValueError(f"image must hold values in 0 to 255, got {x.min():g} to {x.max():g}")
        normalised = (x.to(self.device) - self.pixel_mean.to(self.device)) / self.pixel_std.to(self.device)
        return F.pad(normalised, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def postprocess_masks(
        self, masks: torch.Tensor, input_size: Sequence[int], original_size: Sequence[int]
    ) -> torch.Tensor:
        """Bring low-res logits to the photo's size.

        Args:
            masks: (B, M, h, w) logits.
            input_size: (height, width) in the resized frame.
            original_size: (H, W) of the photo.

        Returns:
            (B, M, H, W) logits.
        """
        side = self.image_encoder.img_size
        (given,), (resized,) = size_pairs("input_size", [input_size]), size_pairs("original_size", [original_size])
        warn_if_exchanged([resized], [given], [resized_size(given, side)])
        return low_res_masks_to_photo(masks, input_size, original_size, (side, side), binarize=False)

    @torch.no_grad()
    def decode(
        self,
        image_embeddings: torch.Tensor,
        hq_features: torch.Tensor,
        points: tuple[torch.Tensor, torch.Tensor] | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        multimask_output: bool,
        hq_token_only: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict the masks of B prompts on one image.

        Args:
            image_embeddings: (1, C, h, w).
            hq_features: (1, C / 8, 4h, 4w).
            points: Coordinates (B, N, 2) in the resized frame and labels (B, N), or None.
            boxes: (B, 4) in the resized frame, or None.
            masks: Logits (B, 1, 4h, 4w), or (1, 1, 4h, 4w) for all, or None.
            multimask_output: Whether the best of three masks is taken, or the one for clear prompts.
            hq_token_only: Whether the mask is the HQ token's alone.

        Returns:
            Low-res logits (B, 1, 4h, 4w) and scores (B, 1).

        Raises:
            TypeError: If a prompt is no tensor.
            ValueError: If prompts are malformed.
        """
        given = {"boxes": boxes, "mask_input": masks}
        given |= {} if points is None else {"point_coords": points[0], "point_labels": points[1]}
        for name, value in given.items():
            if value is not None:
                check_tensor(name, value)
        marks = given.get("point_labels")
        if marks is not None and marks.is_floating_point() and (marks != marks.round()).any():
            raise ValueError(f"point_labels must be whole numbers, got {marks.flatten()[:5].tolist()}")
        if boxes is not None and (boxes.shape[-1:] != (4,) or boxes.ndim > 2):
            raise ValueError(f"boxes must be (B, 4), got {tuple(boxes.shape)}")
        if masks is not None and (masks.ndim not in (3, 4) or (masks.ndim == 4 and masks.shape[1] != 1)):
            raise ValueError(f"mask_input must be (B, 1, 4h, 4w), got {tuple(masks.shape)}")
        prompts: dict[str, torch.Tensor] = {}
        if points is not None:
            coordinates, labels = points
            prompts["input_points"] = coordinates[None].to(self.device, torch.float32)
            prompts["input_labels"] = labels[None].to(self.device, torch.int64)
        if boxes is not None:
            prompts["input_boxes"] = boxes.reshape(1, -1, 4).to(self.device, torch.float32)
        if masks is not None:
            count = max((prompt.shape[1] for prompt in prompts.values()), default=len(masks))
            if len(masks) not in (1, count):
                raise ValueError(f"mask_input must be of 1 object or of {count}, got {tuple(masks.shape)}")
            prompts["input_masks"] = (
                masks.to(self.device, torch.float32).reshape(-1, *masks.shape[-2:]).expand(count, -1, -1)[None]
            )
        outputs = self.model(
            image_embeddings=image_embeddings,
            hq_features=hq_features,
            multimask_output=multimask_output,
            hq_token_only=hq_token_only,
            **prompts,
        )
        return outputs.pred_masks[0, :, :1], outputs.iou_scores[0, :, :1]

    @torch.no_grad()
    def forward(
        self, batched_input: list[dict[str, Any]], multimask_output: bool, hq_token_only: bool = False
    ) -> list[dict[str, torch.Tensor]]:
        """Predict masks for several images with their prompts.

        Args:
            batched_input: A dictionary for each image: `image` (3, h, w) in the resized frame, `original_size` (H, W),
                and of `point_coords` (B, N, 2) with `point_labels` (B, N), `boxes` (B, 4) and `mask_inputs`
                (B, 1, 4h, 4w) what there is; coordinates in the resized frame.
            multimask_output: As in `SamPredictor.predict`.
            hq_token_only: Likewise.

        Returns:
            A dictionary for each image: `masks` (B, 1, H, W) bool, `iou_predictions` (B, 1), `low_res_logits`.

        Raises:
            TypeError: If an image or a prompt is no tensor.
            ValueError: If a dictionary lacks something, a prompt is malformed, or sizes are not of one image.
        """
        is_list = isinstance(batched_input, list | tuple) and all(isinstance(record, dict) for record in batched_input)
        if not is_list or not batched_input:
            got = shown(batched_input, 80)
            raise ValueError(f"batched_input must be a list with a dictionary for each image, got {got}")
        for index, record in enumerate(batched_input):
            given = {name for name, value in record.items() if value is not None or name in _RECORD[:2]}
            wanted = _RECORD[:4] if given & {"point_coords", "point_labels"} else _RECORD[:2]
            if missing := [name for name in wanted if name not in given]:
                raise ValueError(f"batched_input[{index}] lacks {missing[0]!r}")
            if unknown := sorted(given - {*_RECORD}):
                message = f"batched_input[{index}] has {unknown}, which are ignored; there are {list(_RECORD)}"
                warnings.warn(message, stacklevel=5)  # through the decorator and torch's two calls
            check_tensor("image", record["image"])
            checked_sizes(record["original_size"], record["image"].shape[-2:], self.image_encoder.img_size)
        pixel_values = torch.stack([self.preprocess(record["image"]) for record in batched_input])
        features, early = self.model.get_image_embeddings(pixel_values.to(self.model.dtype))
        hq_features = self.model.get_hq_features(features, early)
        outputs = []
        for index, record in enumerate(batched_input):
            points = None if record.get("point_coords") is None else (record["point_coords"], record["point_labels"])
            one = slice(index, index + 1)
            prompts = points, record.get("boxes"), record.get("mask_inputs")
            low_res, scores = self.decode(features[one], hq_features[one], *prompts, multimask_output, hq_token_only)
            masks = self.postprocess_masks(low_res, record["image"].shape[-2:], record["original_size"])
            outputs.append({"masks": masks > self.mask_threshold, "iou_predictions": scores, "low_res_logits": low_res})
        return outputs


def check_tensor(name: str, value: object) -> None:
    """Refuse what is no tensor, with a TypeError that names it."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")


def checked_sizes(original_size: Any, input_size: Sequence[int], side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The sizes of an image in its own pixels and in the resized frame.

    Args:
        original_size: (H, W).
        input_size: (h, w).
        side: Of the model's square, which an image may have been squashed into.

    Raises:
        ValueError: If they are no sizes, or not of one image.
    """
    (original,), (given,) = size_pairs("original_size", [original_size]), size_pairs("image", [input_size])
    with messages_in_words_of(
        lambda message: message.replace("original_sizes[0]", "original_size").replace(
            "reshaped_input_sizes[0]", "the resized frame"
        )
    ):
        check_same_shape([original], [given], squashed=[(side, side)])
    return original, given


class _ImageEncoder:
    """What callers use of `sam.image_encoder`."""

    def __init__(self, model: SamHQModel) -> None:
        self._model = model
        self.img_size: int = model.config.vision_config.image_size

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features (B, C, h, w) of preprocessed images (B, 3, S, S), and early features, a list of (B, h, w, C')."""
        return self._model.get_image_embeddings(x.to(self._model.dtype))
