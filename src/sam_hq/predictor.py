"""Embed an image once, prompt it many times: prompts in pixels of the photo, masks of its size."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch

from sam_hq_numpy.number_limits import check_flag, check_whole
from sam_hq_numpy.prompt_warnings import messages_in_words_of

from .images.image_loading import flat_image_list, is_one_image
from .images.mask_frames import low_res_masks_to_photo
from .images.processor_fit import check_processor_fits
from .model.loaded_weights import load_checked
from .model.model_access import execution_device, unwrapped
from .modeling_sam_hq import SamHQModel
from .photo_embeddings import PhotoEmbeddings, check_maker, embed_images
from .predictor_prompts import in_words_of_predict, processor_arguments, prompts_of_images
from .processing_sam_hq import SamHQProcessor

_EMBEDDED_CHECKPOINT = Path(__file__).with_name("checkpoints") / "sam-hq-small"


class Prediction(NamedTuple):
    """Masks of P objects in one image, M candidates each, best first; tensors on the model's device.

    Attributes:
        masks: (P, M, H, W) of the photo's size: bool, or float32 logits where these were asked for.
        scores: (P, M) float32, predicted IoU.
        low_res_logits: (P, M, h, w) float32; `[:, 0]` can be given as `masks` of the next call, to be refined.
    """

    masks: torch.Tensor
    scores: torch.Tensor
    low_res_logits: torch.Tensor

    def numpy(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same three as arrays."""
        masks, scores, low_res_logits = (tensor.cpu().numpy() for tensor in self)
        return masks, scores, low_res_logits


class SamHQPredictor:
    """Prompts images that are embedded once.

    `embed` and `predict` with embeddings keep no state, so one predictor may serve many images and threads; `set_image`
    keeps the embeddings of the last image for calls of `predict` without any.

    Args:
        model: The model, on the device and in the dtype it runs in, or one in a wrapper; set to evaluation.
        processor: Its processor.

    Raises:
        TypeError: If one is something else.
        ValueError: If the processor makes other images than the model takes.

    Warns:
        UserWarning: If the processor can only be another model's.
    """

    def __init__(self, model: SamHQModel, processor: SamHQProcessor) -> None:
        self.model = unwrapped(model, SamHQModel).eval()
        if not isinstance(processor, SamHQProcessor):
            raise TypeError(f"processor must be a SamHQProcessor, got {type(processor).__name__}")
        check_processor_fits(self.model.config, processor.image_processor)
        self.processor = processor
        self.embeddings: PhotoEmbeddings | list[PhotoEmbeddings] | None = None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        **kwargs: Any,
    ) -> "SamHQPredictor":
        """Load a model and its processor.

        Args:
            name: A directory, or a name on the Hub; None for the model that comes with the package.
            device: Where the model runs; None for the accelerator, or the CPU where there is none.
            dtype: Of the weights; None for that of the saved ones.
            **kwargs: For `from_pretrained` of model and processor, such as `revision` or `local_files_only`.

        Raises:
            ValueError: If there is no such device, or a weight is missing, unknown, misshapen or not finite.
            OSError: If there is no such model.
        """
        place = str(_EMBEDDED_CHECKPOINT if name is None else name)
        if device is None:
            device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        try:
            torch.empty(0, device=device)  # before the weights are read
        except (RuntimeError, TypeError, AssertionError) as error:
            raise ValueError(f"device is {device!r}, where torch can hold nothing here: {error}") from error
        model = load_checked(SamHQModel, place, dtype=dtype or "auto", **kwargs)
        return cls(model.to(device), SamHQProcessor.from_pretrained(place, **kwargs))

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
        return execution_device(self.model)

    def set_image(self, image: Any) -> None:
        """Embed one image, or each of a list, for the following calls of `predict`.

        Args:
            image: A path, URL, PIL image, array or tensor, or a list of them.
        """
        self.embeddings = None
        self.embeddings = self.embed(image)

    @overload
    def embed(self, image: list | tuple, batch_size: int = 1, **options: Any) -> list[PhotoEmbeddings]: ...

    @overload
    def embed(self, image: Any, batch_size: int = 1, **options: Any) -> PhotoEmbeddings: ...

    def embed(self, image: Any, batch_size: int = 1, **options: Any) -> PhotoEmbeddings | list[PhotoEmbeddings]:
        """Embed one image, or each of a list.

        Args:
            image: A path, URL, PIL image, array or tensor, or a list of them.
            batch_size: How many images pass the encoder together.
            **options: Options of the image processor that change no sizes, such as `max_pixels`.

        Returns:
            Embeddings to keep, save and prompt; a list of them for a list or an array of several images.
        """
        check_whole("batch_size", batch_size, at_least=1)
        images = flat_image_list(image)
        found = [
            each
            for start in range(0, len(images), batch_size)
            for each in embed_images(
                self.model, self.processor.image_processor, images[start : start + batch_size], **options
            )
        ]
        return found[0] if is_one_image(image) else found

    def predict(
        self,
        embeddings: PhotoEmbeddings | Sequence[PhotoEmbeddings] | None = None,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        multimask_output: bool = False,
        hq_token_only: bool = False,
        return_logits: bool = False,
    ) -> Any:
        """Segment objects, which prompts in pixels of the photo show.

        Objects may differ in their number of points. All prompts must be for the same number of objects; with a box or
        a mask an object needs no points. Without any prompt the model is asked for one object of its own choice.

        Args:
            embeddings: From `embed`, of one image or a list; None for the image or images of `set_image`. With a list
                every prompt is a list too, with an entry (or None) for each image.
            points: (x, y), the points (N, 2) of one object, or those of each object, [object][point][x, y].
            labels: 1 on the object, 0 not; nested as the points without the last level; all 1 where left out.
            boxes: The box (x0, y0, x1, y1) of one object, or (P, 4); or a detector's results that hold such boxes as
                `xyxy`: supervision's `Detections`, Ultralytics' `Results` or `Boxes`.
            masks: Low-res logits of an earlier answer or a rough mask of the photo's size, for one object or for each.
            multimask_output: Whether each object gets three candidates, best first, or one mask.
            hq_token_only: Whether masks are the HQ token's alone; there is one candidate then.
            return_logits: Whether `masks` are logits.

        Returns:
            A `Prediction` with masks, scores and low-res logits; a list of them for a list.

        Raises:
            TypeError: If a prompt is of the wrong kind.
            ValueError: If there is no image, prompts are malformed or contradict each other, or the embeddings are
                another model's.
        """
        chosen = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
        for name, flag in {**chosen, "return_logits": return_logits}.items():
            check_flag(name, flag)
        prompts = {"points": points, "labels": labels, "boxes": boxes, "masks": masks}
        if embeddings is None:
            if self.embeddings is None:
                raise ValueError("there is no image to predict masks for: call set_image, or give embeddings")
            embeddings = self.embeddings
        if isinstance(embeddings, PhotoEmbeddings):
            return self._predict(embeddings, prompts, chosen, return_logits)
        is_list = isinstance(embeddings, list | tuple)
        if not is_list or not all(isinstance(each, PhotoEmbeddings) for each in embeddings):
            kinds = dict.fromkeys(type(each).__name__ for each in (embeddings if is_list else [embeddings]))
            got = f"{'a list of ' if is_list else ''}{' and '.join(kinds)}"
            raise TypeError(f"embeddings must be what embed returns, or a list of it, got {got}")
        found = []
        for index, of_image in enumerate(prompts_of_images(prompts, len(embeddings))):
            with messages_in_words_of(f"image {index}: {{}}".format):
                found.append(self._predict(embeddings[index], of_image, chosen, return_logits))
        return found

    @torch.no_grad()
    def decode(
        self,
        embeddings: PhotoEmbeddings,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        **options: Any,
    ) -> Any:
        """As `predict`, for one image, up to the model's own outputs in the low-res frame.

        Args:
            embeddings: Of the image.
            points: As in `predict`.
            labels: As in `predict`.
            boxes: As in `predict`.
            masks: As in `predict`.
            **options: Of `SamHQModel.forward`, such as `multimask_output` or `output_branches`.

        Returns:
            The model's `SamHQImageSegmentationOutput` for a batch of one image; None if the prompts are for no object.
        """
        check_maker(self.model, embeddings)
        with messages_in_words_of(in_words_of_predict):
            return self._decode(embeddings, processor_arguments(points, labels, boxes, masks), options)

    def photo_masks(
        self,
        embeddings: PhotoEmbeddings,
        logits: torch.Tensor,
        size: tuple[int, int] | None = None,
        return_logits: bool = False,
    ) -> torch.Tensor:
        """Upscale low-res logits to the photo's size.

        Args:
            embeddings: Of the image.
            logits: (..., h, w).
            size: Another height and width, in the photo's proportions.
            return_logits: Whether logits are returned.

        Returns:
            (..., H, W) bool, or float32 logits.
        """
        pad_size = self.processor.image_processor.pad_size
        return low_res_masks_to_photo(
            logits,
            embeddings.reshaped_size,
            size or embeddings.original_size,
            (pad_size["height"], pad_size["width"]),
            binarize=not return_logits,
        )

    def _decode(self, embeddings: PhotoEmbeddings, prompts: dict[str, Any] | None, options: dict[str, Any]) -> Any:
        if prompts is None:
            return None
        inputs = self.processor(original_sizes=[embeddings.original_size], **prompts)
        if tuple(inputs.pop("reshaped_input_sizes")[0].tolist()) != tuple(embeddings.reshaped_size):
            raise ValueError(
                f"the embeddings are of an image resized to {tuple(embeddings.reshaped_size)} (height, width), which "
                "this processor resizes to another size"
            )
        device = self.device
        tensors = {name: inputs[name].to(device) for name in inputs if name.startswith("input_")}
        return self.model(
            image_embeddings=embeddings.image_embeddings.to(device),
            hq_features=embeddings.hq_features.to(device),
            **tensors,
            **options,
        )

    def _predict(
        self, embeddings: PhotoEmbeddings, prompts: dict[str, Any], chosen: dict[str, bool], return_logits: bool
    ) -> Prediction:
        outputs = self.decode(embeddings, **prompts, **chosen)
        if outputs is None:
            candidates = self.model.config.mask_decoder_config.num_multimask_outputs
            count = candidates if chosen["multimask_output"] and not chosen["hq_token_only"] else 1
            logits = torch.zeros((0, count, *self.processor.image_processor.low_res_size()), device=self.device)
            scores = logits.new_zeros((0, count))
        else:
            logits, scores = outputs.pred_masks[0].float(), outputs.iou_scores[0].float()
        return Prediction(self.photo_masks(embeddings, logits, return_logits=return_logits), scores, logits)


def __getattr__(name: str) -> Any:
    """Load `SamPredictorHQ`, which ComfyUI's nodes look for here, when it is first asked for."""
    if name != "SamPredictorHQ":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(".segment_anything", __package__).SamPredictorHQ


__all__ = ["PhotoEmbeddings", "Prediction", "SamHQPredictor"]
