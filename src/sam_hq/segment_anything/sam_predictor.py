"""`SamPredictor`: an image is set, then prompted, with the arguments and results of `segment_anything_hq`."""

from typing import Any

import numpy as np
import torch

from sam_hq_numpy.nested_numbers import plain_numbers
from sam_hq_numpy.number_limits import check_flag
from sam_hq_numpy.prompt_warnings import messages_in_words_of, warn_about_prompts

from ..hub.conversion import processor_for
from ..modeling_sam_hq import SamHQModel
from ..predictor import SamHQPredictor
from .resize_longest_side import ResizeLongestSide
from .sam import Sam, check_tensor, checked_sizes

_NAMES = {
    "input_points": "point_coords",
    "input_labels": "point_labels",
    "input_boxes": "boxes",
    "input_masks": "mask_input",
}


def as_sam(model: Any) -> Sam:
    """A model in any of this package's forms as `Sam`.

    Args:
        model: A `Sam`, a `SamHQModel` or a `SamHQPredictor`.

    Raises:
        TypeError: If it is something else.
    """
    if isinstance(model, Sam):
        return model
    if isinstance(model, SamHQPredictor):
        return Sam(model.model, model.processor)
    if isinstance(model, SamHQModel):
        return Sam(model, processor_for(model.config))
    raise TypeError(f"sam_model must be what sam_model_registry gives, or a SamHQModel, got {type(model).__name__}")


class SamPredictor:
    """Prompts one image at a time.

    Args:
        sam_model: What `sam_model_registry` gives, a `SamHQModel` or a `SamHQPredictor`.

    Attributes:
        features: Image embeddings (1, C, h, w) of the image; they can be kept and set again.
        interm_features: Early features of the image, a list of (1, h, w, C'), likewise.
        original_size: (H, W) of the photo.
        input_size: (height, width) in the resized frame.

    Source: segment_anything_hq/predictor.py.
    """

    features: torch.Tensor | None
    interm_features: list[torch.Tensor] | None
    original_size: tuple[int, int]
    input_size: tuple[int, int]

    def __init__(self, sam_model: Any) -> None:
        self.model = as_sam(sam_model)
        self.transform = ResizeLongestSide(self.model.image_encoder.img_size)
        self.reset_image()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """Embed an image for the following calls.

        Args:
            image: (H, W, 3) uint8.
            image_format: "RGB" or "BGR".

        Raises:
            ValueError: If the image has another shape or dtype, or the format is unknown.
        """
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format must be RGB or BGR, got {image_format!r}")
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
        if image_format != self.model.image_format:
            image = image[..., ::-1]
        resized = torch.from_numpy(self.transform.apply_image(image)).to(self.device)
        self.set_torch_image(resized.permute(2, 0, 1).contiguous()[None], image.shape[:2])

    @torch.no_grad()
    def set_torch_image(self, transformed_image: torch.Tensor, original_image_size: tuple[int, ...]) -> None:
        """Embed an image that is in the resized frame already.

        Args:
            transformed_image: (1, 3, h, w), values in 0 to 255; the longest side is the model's.
            original_image_size: (H, W) of the photo.

        Raises:
            TypeError: If it is no tensor.
            ValueError: If the image has another shape or size, or holds values in 0 to 1.
        """
        check_tensor("transformed_image", transformed_image)
        side, shape = self.transform.target_length, tuple(transformed_image.shape)
        if len(shape) != 4 or shape[:2] != (1, 3) or max(shape[2:]) != side:
            raise ValueError(f"transformed_image must be (1, 3, h, w) with a longest side of {side}, got {shape}")
        with messages_in_words_of(_in_words_of_set_torch_image):
            original_size, input_size = checked_sizes(original_image_size, shape[2:], side)
            preprocessed = self.model.preprocess(transformed_image)
        self.reset_image()
        self.original_size, self.input_size = original_size, input_size
        self.features, self.interm_features = self.model.image_encoder(preprocessed)
        self.is_image_set = True

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment one object.

        Args:
            point_coords: (N, 2) as x, y in pixels of the photo.
            point_labels: (N,), 1 on the object, 0 not.
            box: (4,) as x0, y0, x1, y1 in pixels of the photo.
            mask_input: Low-res logits (1, 4h, 4w) of an earlier answer.
            multimask_output: Whether the best of three masks is taken, or the one for clear prompts.
            return_logits: Whether logits are returned rather than booleans.
            hq_token_only: Whether the mask is the HQ token's alone.

        Returns:
            Masks (1, H, W), scores (1,), and low-res logits (1, 4h, 4w).

        Raises:
            RuntimeError: If there is no image.
            ValueError: If prompts are malformed.
        """
        self._check_image()
        given: dict[str, list] = {}
        coords, labels, boxes, masks = None, None, None, None
        _check_together(point_coords, point_labels)
        if point_coords is not None:
            points, marks = (
                plain_numbers(point_coords, "point_coords"),
                plain_numbers(point_labels, "point_labels", True),
            )
            if points.ndim != 2 or points.shape[1] != 2:
                raise ValueError(f"point_coords must be (N, 2), got {points.shape}")
            if marks.shape == points.shape[:1]:
                given |= {"points": [[points]], "labels": [[marks]]}
            coords = torch.from_numpy(self.transform.apply_coords(points, self.original_size))[None]
            labels = torch.from_numpy(marks)[None]
        if box is not None:
            corners = plain_numbers(box, "box")
            if corners.size != 4:
                raise ValueError(f"box must hold x0, y0, x1, y1 of one object, got shape {corners.shape}")
            corners = corners.reshape(1, 4)
            if (corners[:, 2:] < corners[:, :2]).any():
                raise ValueError(f"box must be x0, y0, x1, y1 with x1 >= x0 and y1 >= y0, got {corners[0].tolist()}")
            given["boxes"] = [corners]
            boxes = torch.from_numpy(self.transform.apply_boxes(corners, self.original_size))
        if mask_input is not None:
            masks = torch.from_numpy(plain_numbers(mask_input, "mask_input", allow_bool=True)).float()[None]
        with messages_in_words_of(_in_words_of_predict):
            found = self.predict_torch(coords, labels, boxes, masks, multimask_output, return_logits, hq_token_only)
            warn_about_prompts([self.original_size], **given, stacklevel=3, masks_too=masks is not None)
        masks_np, scores, low_res = (tensor[0].cpu().numpy() for tensor in found)
        return masks_np, scores, low_res

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: torch.Tensor | None,
        point_labels: torch.Tensor | None,
        boxes: torch.Tensor | None = None,
        mask_input: torch.Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Segment B objects, whose prompts are in the resized frame already (`transform`).

        Args:
            point_coords: (B, N, 2) as x, y.
            point_labels: (B, N).
            boxes: (B, 4).
            mask_input: Low-res logits (B, 1, 4h, 4w).
            multimask_output: As in `predict`.
            return_logits: Likewise.
            hq_token_only: Likewise.

        Returns:
            Masks (B, 1, H, W), scores (B, 1), and low-res logits (B, 1, 4h, 4w).

        Raises:
            RuntimeError: If there is no image.
            ValueError: If prompts are malformed.
        """
        self._check_image()
        check_flag("return_logits", return_logits)
        _check_together(point_coords, point_labels)
        points = None if point_coords is None or point_labels is None else (point_coords, point_labels)
        features: Any = self.features
        with messages_in_words_of(_in_sams_words):
            low_res, scores = self.model.decode(
                features, self._hq_features(), points, boxes, mask_input, multimask_output, hq_token_only
            )
        low_res, scores = low_res.float(), scores.float()
        masks = self.model.postprocess_masks(low_res, self.input_size, self.original_size)
        return masks if return_logits else masks > self.model.mask_threshold, scores, low_res

    def get_image_embedding(self) -> torch.Tensor:
        """The image embeddings (1, C, h, w) of the image.

        Raises:
            RuntimeError: If there is none.
        """
        self._check_image()
        features: Any = self.features
        return features

    def reset_image(self) -> None:
        """Forget the image."""
        self.is_image_set = False
        self.features = self.interm_features = None
        self._fused: tuple[list, torch.Tensor] | None = None

    def _hq_features(self) -> torch.Tensor:
        """Fused once for the features that are set, which callers may have exchanged."""
        sources: list[Any] = [self.features, *(self.interm_features or ())]
        if self._fused is None or any(one is not other for one, other in zip(sources, self._fused[0], strict=True)):
            self._fused = sources, self.model.model.get_hq_features(sources[0], sources[1:])
        return self._fused[1]

    def _check_image(self) -> None:
        if not self.is_image_set or self.features is None:
            raise RuntimeError("an image must be set with set_image before it is prompted")


class SamPredictorHQ(SamPredictor):
    """The predictor under the name and with the arguments that ComfyUI's nodes use.

    Args:
        sam_model: As for `SamPredictor`.
        sam_is_hq: Without effect, as every model of this package is SAM-HQ.
    """

    def __init__(self, sam_model: Any, sam_is_hq: bool = False) -> None:
        super().__init__(sam_model)
        self.is_hq = sam_is_hq


def _check_together(point_coords: object, point_labels: object) -> None:
    if (point_coords is None) != (point_labels is None):
        given, lacking = ("point_labels", "point_coords") if point_coords is None else ("point_coords", "point_labels")
        raise ValueError(f"{given} were given without {lacking}")


def _in_sams_words(message: str) -> str:
    for ours, sams in _NAMES.items():
        message = message.replace(ours, sams)
    return message


def _in_words_of_predict(message: str) -> str:
    message = _in_sams_words(message).replace("object 0 of image 0, ", "").replace("boxes must", "box must")
    return message.replace("boxes has boxes that lie ", "box is one that lies ").replace(
        "boxes has boxes", "box is one"
    )


def _in_words_of_set_torch_image(message: str) -> str:
    return message.replace("image must", "transformed_image must").replace("original_size", "original_image_size")
