"""Images to pixel values, and low-resolution masks back to images."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import Unpack

from sam_hq_numpy.frame_sizes import check_same_shape, resized_size, size_pairs, warn_if_exchanged
from sam_hq_numpy.number_limits import check_flag, check_number
from sam_hq_numpy.prompt_padding import pad_stacks

from .images.given_masks import binary_stacks
from .images.image_loading import flat_image_list, load_rgb
from .images.image_options import (
    OPTION_NAMES,
    SamHQImageProcessorKwargs,
    frame_size_of,
    known_options,
    mean_and_std,
    size_dict,
)
from .images.mask_frames import low_res_masks_to_photo, photo_masks_to_labels
from .images.pillow_resize import resize_rgb
from .images.predicted_masks import checked_logits
from .images.stock_pipeline import MaskGenerationProcessing
from .model.losses import IGNORED_LABEL

# As SAM's, SAM-HQ's and the built-in class's checkpoints name it.
_OF_SAM = re.compile(r"(Sam)?Sam(HQ)?(ImageProcessor|FeatureExtractor|Processor)(Fast|Pil)?")


class SamHQImageProcessor(MaskGenerationProcessing, BaseImageProcessor):
    """Resizes, normalises and pads images as the authors do, and brings masks back to photo size.

    Images are PIL images, paths, URLs, bytes, arrays or tensors, see `sam_hq.images.image_loading.load_rgb` for what
    becomes of transparency, EXIF orientation, 16-bit and floating point values. They are resized with Pillow on 8-bit
    values, then normalised in float32, then padded with zeros at the right and the bottom. Tensors that lie on an
    accelerator are resized there, bit for bit as Pillow does, see `sam_hq.images.pillow_resize`.

    `size={"longest_edge": n}` keeps the aspect ratio; `size={"height": h, "width": w}` squashes, as the authors'
    evaluation does. `pad_size` is the input of the model. All options can be given at the call as well; None means the
    processor's own. Options of other image processors that make no sense here (`crop_size`, `disable_grouping`, ...)
    are accepted and have no effect, unknown ones are refused.

    Source: segment_anything_hq/utils/transforms.py `ResizeLongestSide`, modeling/sam.py `Sam.preprocess`.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 (the name and type are transformers')
    valid_kwargs = SamHQImageProcessorKwargs

    def __init__(self, **kwargs: Unpack[SamHQImageProcessorKwargs]):
        service_keys = ("image_processor_type", "processor_class", "feature_extractor_type")
        options = known_options({name: value for name, value in kwargs.items() if name not in service_keys})
        super().__init__()
        self.do_convert_rgb = options.get("do_convert_rgb", True)
        self.do_resize = options.get("do_resize", True)
        self.size = size_dict("size", options.get("size", {"longest_edge": 1024}))
        self.resample = int(options.get("resample", Image.Resampling.BILINEAR))
        self.do_rescale = options.get("do_rescale", True)
        self.rescale_factor = options.get("rescale_factor", 1 / 255)
        self.do_normalize = options.get("do_normalize", True)
        self.image_mean = options.get("image_mean", [0.485, 0.456, 0.406])
        self.image_std = options.get("image_std", [0.229, 0.224, 0.225])
        mean_and_std(vars(self))  # refuses what no image could be normalised by
        self.do_pad = options.get("do_pad", True)
        self.pad_size = size_dict("pad_size", options.get("pad_size", {"height": 1024, "width": 1024}))
        self.mask_size = size_dict("mask_size", options.get("mask_size", {"longest_edge": 256}))
        self.max_pixels = options.get("max_pixels")
        self.input_range = options.get("input_range")

    @property
    def mask_pad_size(self) -> dict[str, int]:
        """Height and width of the low-res frame, as the built-in class has it; follows from `pad_size`."""
        height, width = self.low_res_size()
        return {"height": height, "width": width}

    @classmethod
    def get_image_processor_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> tuple[dict, dict]:
        """Read the saved configuration of a directory or a model on the Hub.

        Args:
            pretrained_model_name_or_path: The directory, or the name on the Hub.
            **kwargs: As for `from_pretrained`.

        Raises:
            OSError: If there is none.
            ValueError: If it is no dictionary.
        """
        try:
            return super().get_image_processor_dict(pretrained_model_name_or_path, **kwargs)
        except TypeError as error:
            if "not iterable" not in str(error):
                raise
            place = str(pretrained_model_name_or_path)
            raise ValueError(f"processor_config.json of {place!r} must hold a dictionary") from error

    @classmethod
    def from_dict(cls, image_processor_dict: dict, **kwargs: Any) -> "SamHQImageProcessor":
        """Build the processor from a saved configuration; keys of other image processors in it are left aside.

        Raises:
            ValueError: If it is no dictionary.

        Warns:
            UserWarning: If it is that of another model's image processor.
        """
        if not isinstance(image_processor_dict, dict):
            found = type(image_processor_dict).__name__
            raise ValueError(f"the image processor's configuration must be a dictionary, got a {found}")
        of = image_processor_dict.get("image_processor_type") or image_processor_dict.get("feature_extractor_type")
        if of is not None and of != cls.__name__ and not _OF_SAM.fullmatch(str(of)):
            warnings.warn(f"the image processor's configuration is that of a {of!r}, not of SAM's", stacklevel=3)
        known = {key: value for key, value in image_processor_dict.items() if key in cls.valid_kwargs.__annotations__}
        return super().from_dict(known, **kwargs)

    def options_of_call(self, kwargs: dict) -> dict:
        """All options of one call: the processor's own, and those given for the call instead.

        Raises:
            TypeError: An unknown option.
            ValueError: A value that the model cannot work with.
        """
        options = {**{name: getattr(self, name) for name in OPTION_NAMES}, **known_options(kwargs)}
        for name in ("size", "pad_size", "mask_size"):
            options[name] = size_dict(name, options[name])
        return options

    def reshaped_sizes(self, original_sizes: Sequence[tuple[int, int]], options: dict) -> list[tuple[int, int]]:
        """Sizes (height, width) of images in the resized frame, with the options of one call."""
        if not options["do_resize"]:
            return list(original_sizes)
        size = options["size"]
        if "longest_edge" in size:
            return [resized_size(original_size, size["longest_edge"]) for original_size in original_sizes]
        return [(size["height"], size["width"])] * len(original_sizes)

    def low_res_size(
        self, frame_size: Sequence[int] | None = None, mask_size: dict[str, int] | None = None
    ) -> tuple[int, int]:
        """Size of the low-res frame.

        Args:
            frame_size: (height, width) of the padded frame, instead of `pad_size`.
            mask_size: Instead of the processor's own `mask_size`.
        """
        mask_size = self.mask_size if mask_size is None else mask_size
        if "longest_edge" not in mask_size:
            return mask_size["height"], mask_size["width"]
        frame_size = (self.pad_size["height"], self.pad_size["width"]) if frame_size is None else frame_size
        scale = mask_size["longest_edge"] / max(frame_size)
        return max(1, round(frame_size[0] * scale)), max(1, round(frame_size[1] * scale))

    def preprocess(
        self, images: Any, segmentation_maps: Any = None, **kwargs: Unpack[SamHQImageProcessorKwargs]
    ) -> BatchFeature:
        """Prepare images, and masks to train on, for the model.

        Args:
            images: One image or a list of them, of any sizes.
            segmentation_maps: Binary masks (0 and 1, or 0 and 255; -100 is ignored by the loss) at photo size, nested
                [image][object] of (H, W), or one (P, H, W) stack or one (H, W) mask per image; `[]` or None for an
                image without objects.
            **kwargs: Options of this call, see the class.

        Returns:
            pixel_values (B, 3, S, S) float32, original_sizes (B, 2) and reshaped_input_sizes (B, 2) int64 as height,
            width; with `segmentation_maps` labels (B, P, h, w) int64 in the padded frame at the resolution of
            `mask_size`, -100 in the padding and for the objects an image has fewer than others.

        Raises:
            TypeError: Something that is no image or mask, or an unknown option.
            ValueError: An image that cannot be read or is too large, masks of another size than their image, or
                options that contradict each other.

        Warns:
            UserWarning: If images are resized by single pixels.
        """
        options = self.options_of_call(dict(kwargs))
        mean, std = mean_and_std(options)
        loaded = [
            load_rgb(
                image,
                max_pixels=options["max_pixels"],
                input_data_format=options.get("input_data_format"),
                input_range=options["input_range"],
                timeout=options.get("timeout"),
            )
            for image in flat_image_list(images)
        ]
        original_sizes = [_height_and_width(image) for image, _ in loaded]
        reshaped_sizes = self.reshaped_sizes(original_sizes, options)
        frame_size = frame_size_of(reshaped_sizes, options)
        if options["resample"] == Image.Resampling.NEAREST and reshaped_sizes != original_sizes:
            warnings.warn(
                "resample=0 (nearest) resizes images by single pixels, which changes masks; models are trained with "
                "resample=2 (bilinear)",
                stacklevel=3,
            )
        # Before the heavy work, so that masks of the wrong size do not cost a resize of every photo.
        stacks = binary_stacks(segmentation_maps, original_sizes) if segmentation_maps is not None else None

        first, device = loaded[0][0], options.get("device")
        device = first.device if device is None and isinstance(first, torch.Tensor) else device
        pixel_values = torch.zeros((len(loaded), 3, *frame_size), dtype=torch.float32, device=device)
        for frame, (image, unit_range), (height, width) in zip(pixel_values, loaded, reshaped_sizes, strict=True):
            pixels = resize_rgb(image, (height, width), options["resample"]).to(frame.device, torch.float32)
            # do_rescale=False leaves the numbers as they came: [0, 1] floats stay in [0, 1].
            pixels = pixels / 255 if unit_range and not options["do_rescale"] else pixels
            frame[:, :height, :width] = (pixels - mean.to(frame.device)) / std.to(frame.device)
        outputs = {
            "pixel_values": pixel_values,
            "original_sizes": torch.tensor(original_sizes, dtype=torch.int64),
            "reshaped_input_sizes": torch.tensor(reshaped_sizes, dtype=torch.int64),
        }
        if stacks is not None:
            label_size = self.low_res_size(frame_size, options["mask_size"])
            labels = [
                photo_masks_to_labels(stack, reshaped_size, frame_size, label_size)
                for stack, reshaped_size in zip(stacks, reshaped_sizes, strict=True)
            ]
            outputs["labels"] = pad_stacks(labels, label_size, IGNORED_LABEL)
        if options["return_tensors"] == "np":
            return BatchFeature(data={name: value.cpu().numpy() for name, value in outputs.items()})
        return BatchFeature(data=outputs)

    def post_process_masks(
        self,
        masks: torch.Tensor | Sequence[torch.Tensor],
        original_sizes: torch.Tensor | Sequence[Sequence[int]],
        reshaped_input_sizes: torch.Tensor | Sequence[Sequence[int]] | None = None,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        pad_size: dict[str, int] | None = None,
        valid_objects: torch.Tensor | None = None,
    ) -> list[torch.Tensor]:
        """Bring predicted masks to photo size.

        Args:
            masks: (B, P, M, h, w) low-res logits, or a list of (P, M, h, w); arrays are taken too.
            original_sizes: (B, 2) height, width of the photos.
            reshaped_input_sizes: (B, 2) height, width in the resized frame; follows from the processor's own `size`
                where it is left out.
            mask_threshold: A pixel whose logit is above it belongs to the mask.
            binarize: False returns logits, float32.
            pad_size: Size of the padded frame, instead of the processor's own.
            valid_objects: (B, P) bool, the processor's mark; objects that are only padding are dropped.

        Returns:
            Per image (P, M, H, W) bool, or float32 logits.

        Raises:
            TypeError: Masks that are no tensors or arrays of floating point numbers, a threshold that is no number, or
                a flag that is neither True nor False.
            ValueError: Lists of different lengths, wrong ranks, NaN, or sizes that do not fit the frame or each other.

        Warns:
            UserWarning: `original_sizes` and `reshaped_input_sizes` that can only be exchanged, by the processor's own
                `size`.

        Source: segment_anything_hq/modeling/sam.py, `Sam.postprocess_masks`.
        """
        pad_size = self.pad_size if pad_size is None else size_dict("pad_size", pad_size)
        frame_size = (pad_size["height"], pad_size["width"])
        masks = checked_logits(masks, valid_objects)
        original_sizes = size_pairs("original_sizes", original_sizes, len(masks))
        check_number("mask_threshold", mask_threshold)
        check_flag("binarize", binarize)
        if reshaped_input_sizes is None:
            reshaped_sizes = self.reshaped_sizes(original_sizes, self.options_of_call({}))
        else:
            reshaped_sizes = size_pairs("reshaped_input_sizes", reshaped_input_sizes, len(masks))
        for reshaped_size in reshaped_sizes:
            if reshaped_size[0] > frame_size[0] or reshaped_size[1] > frame_size[1]:
                raise ValueError(f"reshaped_input_sizes has {reshaped_size}, which is more than pad_size={frame_size}")
        # An image may have been squashed into the frame, by the processor's own size or by that of the call.
        squashed = [frame_size] if "longest_edge" in self.size else reshaped_sizes
        check_same_shape(original_sizes, reshaped_sizes, squashed)
        if reshaped_input_sizes is not None:
            resized_again = self.reshaped_sizes(reshaped_sizes, self.options_of_call({}))
            warn_if_exchanged(original_sizes, reshaped_sizes, resized_again)
        return [
            low_res_masks_to_photo(of_image, reshaped_size, original_size, frame_size, mask_threshold, binarize)
            for of_image, original_size, reshaped_size in zip(masks, original_sizes, reshaped_sizes, strict=True)
        ]


def _height_and_width(image: np.ndarray | torch.Tensor) -> tuple[int, int]:
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else image.shape[1:]
    return int(height), int(width)
