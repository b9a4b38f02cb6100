"""Images and prompts to what the model takes."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from sam_hq_numpy.frame_sizes import size_pairs
from sam_hq_numpy.json_files import read_json
from sam_hq_numpy.number_limits import shown
from sam_hq_numpy.prompt_labels import PADDING_LABEL
from sam_hq_numpy.prompt_nesting import check_every_object_has_points, masks_per_object, nested_prompts, object_counts
from sam_hq_numpy.prompt_padding import pad_points, pad_stacks
from sam_hq_numpy.prompt_warnings import warn_about_prompts

from .image_processing_sam_hq import SamHQImageProcessor
from .images.given_masks import mask_prompt_stacks
from .images.image_loading import flat_image_list
from .images.image_options import SamHQImageProcessorKwargs, frame_size_of, known_options
from .model.prompt_validation import validate_prompts


class SamHQProcessorKwargs(ProcessingKwargs, total=False):
    """Options of `SamHQProcessor`: those of its image processor.

    Attributes:
        images_kwargs: The same options as a dictionary of their own.
    """

    images_kwargs: SamHQImageProcessorKwargs  # type: ignore[misc]


class SamHQInputs(BatchFeature):
    """What the processor returns: a dictionary of tensors that moves to a device and a dtype as a whole."""

    def to(self, *args: Any, **kwargs: Any) -> "SamHQInputs":
        """Move all tensors, and cast the floating point ones except coordinates.

        Coordinates stay float32 because bfloat16 keeps 8 bits of them: in a frame of 1024 pixels that is an error of
        up to 2 pixels.

        Args:
            *args: Device, dtype or both, as for `torch.Tensor.to`.
            **kwargs: The same by name.

        Returns:
            Itself.
        """
        coordinates = {
            name: self.data[name]
            for name in ("input_points", "input_boxes")
            if isinstance(self.data.get(name), torch.Tensor)
        }
        super().to(*args, **kwargs)
        for name, values in coordinates.items():
            self.data[name] = values.to(self.data[name].device)
        return self


class SamHQProcessor(ProcessorMixin):
    """Prepares images and prompts, ragged ones too, and brings masks back to photo size.

    Args:
        image_processor: A `SamHQImageProcessor`, or the built-in SAM image processor that older checkpoints name, whose
            options are taken over.
    """

    valid_processor_kwargs = SamHQProcessorKwargs  # type: ignore[assignment]

    def __init__(self, image_processor: Any):
        if not isinstance(image_processor, SamHQImageProcessor):
            if not hasattr(image_processor, "to_dict"):
                raise TypeError(f"image_processor must be an image processor, got {type(image_processor).__name__}")
            image_processor = SamHQImageProcessor.from_dict(image_processor.to_dict())
        super().__init__(image_processor)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load the processor of a directory or a model on the Hub.

        Args:
            pretrained_model_name_or_path: The directory, or the name on the Hub.
            *args: As for all processors.
            **kwargs: Likewise, such as `revision`.

        Raises:
            OSError: If there is none, or its files are not JSON.
            ValueError: If its files hold no dictionaries, or options that the model cannot work with.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        except (AttributeError, TypeError, json.JSONDecodeError):  # what the files hold is asked for its fields at once
            _check_files(Path(pretrained_model_name_or_path, kwargs.get("subfolder") or ""))
            raise

    def __call__(
        self,
        images: Any = None,
        segmentation_maps: Any = None,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        original_sizes: Any = None,
        point_pad_value: int | None = None,
        **kwargs: Any,  # `SamHQProcessorKwargs`, and what is common to all processors
    ) -> SamHQInputs:
        """Prepare one call of the model.

        Prompts are nested lists, arrays or tensors, in x, y pixels of the upright photo; they may lie outside it.
        Images may differ in their number of objects and objects in their number of points; an image may have none, as
        in `input_boxes=[[]]`. All prompts of an image must have the same number of objects; an object with a box or a
        mask needs no points. What can only be a mistake, such as a box that lies wholly outside its image, gives a
        `PromptWarning`.

        Args:
            images: One image or a list of them, see `SamHQImageProcessor`. May be left out when the image
                embeddings are at hand: give `original_sizes` then.
            segmentation_maps: Binary masks to train on, see `SamHQImageProcessor.preprocess`.
            input_points: [image][object][point][x, y], or [image][point][x, y] for one object per image.
            input_labels: 1 foreground, 0 background, nested as the points without the last level; default: all 1.
            input_boxes: [image][object][x0, y0, x1, y1], or [image][x0, y0, x1, y1] for one object per image.
            input_masks: [image][object] of low-res logits or of rough masks at photo size, see
                `sam_hq.images.given_masks.mask_prompt_stacks`.
            original_sizes: (height, width) of each image, only without `images`.
            point_pad_value: The label of padding; -10, as the model knows no other.
            **kwargs: Options of the image processor, or `images_kwargs` with them.

        Returns:
            What `SamHQImageProcessor.preprocess` returns (without images only the two sizes), and for the prompts
            given, in resized-image pixels: input_points (B, P, N, 2) float32, padded with zeros; input_labels (B, P, N)
            int64, padded with -10; input_boxes (B, P, 4) float32, padded with zeros; input_masks (B, P, h, w) float32
            logits, padded with zeros; and valid_objects (B, P) bool, False for objects that are only padding.

        Raises:
            TypeError: An argument of the wrong type, or an unknown option.
            ValueError: An image that cannot be read, prompts that are misshapen, not finite or contradict each other,
                or neither `images` nor `original_sizes`.
        """
        options = _merged_options(kwargs)
        if point_pad_value not in (None, PADDING_LABEL):
            raise ValueError(f"point_pad_value must be {PADDING_LABEL} or None, got {point_pad_value!r}")
        if (images is None) == (original_sizes is None):
            raise ValueError("give either images, or original_sizes when the image embeddings are at hand")
        if images is None and segmentation_maps is not None:
            raise ValueError("segmentation_maps were given without images")
        # Prompts are looked at first: they are cheap to refuse, images are not cheap to decode and resize.
        if images is None:
            original_sizes = size_pairs("original_sizes", original_sizes)
            batch_size = len(original_sizes)
        else:
            images = flat_image_list(images)
            batch_size = len(images)
        if segmentation_maps is not None:
            segmentation_maps = masks_per_object(segmentation_maps, batch_size, "segmentation_maps")
        if input_masks is not None:
            input_masks = masks_per_object(input_masks, batch_size, "input_masks")
        points, labels, boxes = nested_prompts(batch_size, input_points, input_labels, input_boxes)
        prompts = _padded_prompts(batch_size, points, labels, boxes, input_masks, segmentation_maps)

        if images is None:
            outputs = self._sizes_only(original_sizes, options)
        else:
            options_of_call = {**options, "return_tensors": "pt"}
            outputs = dict(self.image_processor(images, segmentation_maps=segmentation_maps, **options_of_call))
        sizes = [(int(height), int(width)) for height, width in outputs["original_sizes"].tolist()]
        warn_about_prompts(sizes, points, labels, boxes, masks_too=input_masks is not None)
        outputs.update(self._in_resized_frame(prompts, outputs))
        if input_masks is not None:
            outputs["input_masks"] = self._mask_prompts(input_masks, outputs, options)
        if options["return_tensors"] == "np":
            return SamHQInputs(data={name: value.cpu().numpy() for name, value in outputs.items()})
        return SamHQInputs(data=outputs)

    def post_process_masks(self, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        """Bring predicted masks to photo size, see `SamHQImageProcessor.post_process_masks`."""
        return self.image_processor.post_process_masks(*args, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the inputs the model cannot do without, and of the two sizes that post-processing wants."""
        return [*self.image_processor.model_input_names, "original_sizes", "reshaped_input_sizes"]

    def _sizes_only(self, original_sizes: list[tuple[int, int]], options: dict) -> dict[str, torch.Tensor]:
        options = self.image_processor.options_of_call(options)
        reshaped_sizes = self.image_processor.reshaped_sizes(original_sizes, options)
        frame_size_of(reshaped_sizes, options)
        return {"original_sizes": torch.tensor(original_sizes), "reshaped_input_sizes": torch.tensor(reshaped_sizes)}

    @staticmethod
    def _in_resized_frame(prompts: dict[str, torch.Tensor], sizes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        scale = (sizes["reshaped_input_sizes"].double() / sizes["original_sizes"].double()).flip(-1)  # (B, 2): x, y
        scaled = dict(prompts)
        if "input_points" in prompts:
            scaled["input_points"] = (prompts["input_points"] * scale[:, None, None]).float()
        if "input_boxes" in prompts:
            scaled["input_boxes"] = (prompts["input_boxes"] * scale.repeat(1, 2)[:, None]).float()
        for name in ("input_points", "input_boxes"):
            if name in scaled and not torch.isfinite(scaled[name]).all():
                raise ValueError(f"{name} must be finite in 32 bits, got numbers too large")
        return scaled

    def _mask_prompts(
        self, masks: list[list[torch.Tensor]], sizes: dict[str, torch.Tensor], options: dict
    ) -> torch.Tensor:
        reshaped_sizes = [tuple(size) for size in sizes["reshaped_input_sizes"].tolist()]
        original_sizes = [tuple(size) for size in sizes["original_sizes"].tolist()]
        frame_size = frame_size_of(reshaped_sizes, self.image_processor.options_of_call(options))
        mask_size = self.image_processor.low_res_size(frame_size)
        return pad_stacks(
            mask_prompt_stacks(masks, original_sizes, reshaped_sizes, frame_size, mask_size), mask_size, 0.0
        )


def _merged_options(kwargs: dict) -> dict:
    options = dict(kwargs)
    for group in ("text_kwargs", "videos_kwargs", "audio_kwargs"):
        if given := options.pop(group, None):
            raise TypeError(f"{group} must be empty, there are only images and prompts, got {given!r}")
    for group in ("images_kwargs", "common_kwargs"):
        for name, value in (options.pop(group, None) or {}).items():
            if name in options:
                raise ValueError(f"option {name!r} was given twice, by itself and in {group}")
            options[name] = value
    return known_options(options)


def _padded_prompts(
    batch_size: int,
    points: list[list] | None,
    labels: list[list] | None,
    boxes: list | None,
    masks: list | None,
    segmentation_maps: list | None,
) -> dict[str, torch.Tensor]:
    counts = object_counts(
        batch_size, input_points=points, input_boxes=boxes, input_masks=masks, segmentation_maps=segmentation_maps
    )
    if not counts:
        return {}
    prompts = {}
    if points is not None and labels is not None:
        if boxes is None and masks is None:
            check_every_object_has_points(points)
        if not any(counts):
            prompts["input_points"] = torch.zeros(batch_size, 0, 1, 2, dtype=torch.float64)
            prompts["input_labels"] = torch.zeros(batch_size, 0, 1, dtype=torch.int64)
        elif any(len(of_object) for image in points for of_object in image):
            prompts["input_points"], prompts["input_labels"] = pad_points(points, labels)
    if boxes is not None:
        prompts["input_boxes"] = pad_stacks([torch.from_numpy(of_image) for of_image in boxes], (4,), 0.0)
    validate_prompts(
        batch_size=batch_size,
        mask_input_size=0,  # ignored: mask prompts get their size later
        input_points=prompts.get("input_points"),
        input_labels=prompts.get("input_labels"),
        input_boxes=prompts.get("input_boxes"),
    )
    prompts["valid_objects"] = torch.arange(max(counts)) < torch.tensor(counts, dtype=torch.int64)[:, None]
    return prompts


def _check_files(directory: Path) -> None:
    """Refuse the first of a directory's files that holds no fields, by its name."""
    for name in ("processor_config.json", "preprocessor_config.json", "config.json"):
        if not (file := directory / name).is_file():
            continue
        content = read_json(file)
        if isinstance(content, dict):
            content = content.get("image_processor", content)
        if not isinstance(content, dict):
            raise ValueError(f"{str(file)!r} must hold a dictionary of fields, got {shown(content, 60)}")
