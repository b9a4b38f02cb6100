"""`pipeline("mask-generation")` for SAM-HQ."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from transformers import MaskGenerationPipeline

from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.photo_sources import no_image

from ..image_processing_sam_hq import SamHQImageProcessor
from ..images.image_loading import is_one_image
from ..model.model_access import execution_device, unwrapped
from ..modeling_sam_hq import SamHQModel
from .generator import SamHQMaskGenerator


class SamHQMaskGenerationPipeline(MaskGenerationPipeline):
    """The mask-generation pipeline of `transformers`, with every option of `MaskGenerationOptions`.

    Options given to `pipeline(...)` hold for all calls, those given to a call for that call.

    Differs: unknown options raise; the defaults find the authors' masks, one per point instead of three; batches of
    images of different sizes, half precision, crops with thinner grids and small regions work.
    """

    model: SamHQModel
    image_processor: SamHQImageProcessor

    def __init__(self, model: Any, device: Any = None, **kwargs: Any) -> None:
        """Make the pipeline; `pipeline("mask-generation", ...)` does.

        Args:
            model: A `SamHQModel`, or a wrapper around one, such as those of PEFT and torch.compile.
            device: As `transformers.pipeline` says; not for a model that accelerate has placed.
            **kwargs: Its image processor, and options for all calls.
        """
        model = unwrapped(model, SamHQModel)
        if device is not None or not any(tensor.is_meta for tensor in model.parameters()):
            super().__init__(model=model, device=device, **kwargs)
            return
        # Weights that accelerate keeps elsewhere: transformers would take "disk" for a device, or move the model.
        device_map = model.__dict__.pop("hf_device_map", None)
        try:
            super().__init__(model=model, device=model.device, **kwargs)
        finally:
            if device_map is not None:
                model.hf_device_map = device_map
        self.device = execution_device(model)

    def __call__(  # type: ignore[override]
        self,
        image: object = None,
        *args: Any,
        num_workers: int | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> dict | list | Iterator:
        """Find the masks of everything in one or many images.

        Args:
            image: A path, URL, PIL image, bytes, binary file, array or tensor; or a list, an iterator, a dataset or a
                4-d array of them.
            *args: Refused.
            num_workers: Ignored: images are read in this process.
            batch_size: How many crops, of one or several images, pass the encoder together.
            **options: See `MaskGenerationOptions`.

        Returns:
            For one image, with `output_mode` None, a dictionary with `masks` (list of `(H, W)` boolean arrays)
            and `scores` (float32 `(N,)`), with other modes the authors' list of records. For a list or a 4-d array, a
            list of these; for an iterator or a dataset, an iterator that does the work as it is asked.

        Raises:
            TypeError: An option that does not exist; the nearest that does is named.
            ValueError: An option with an impossible value. Both before any image is read.
        """
        del num_workers
        if args:
            raise TypeError(f"mask generation takes one positional argument, the images; got {len(args)} more")
        image = options.pop("images", image) if image is None else image
        if image is None:
            raise TypeError("mask generation needs the argument image")
        chosen = self.generator(options)
        per_pass = next(size for size in (batch_size, self._batch_size, 1) if size is not None)
        if is_one_image(image):
            return next(chosen.generate_each([image], per_pass))
        if isinstance(image, Sequence | np.ndarray | torch.Tensor):
            return list(chosen.generate_each(image, per_pass))
        if isinstance(image, (Mapping, Set)) or not (hasattr(image, "__iter__") or hasattr(image, "__getitem__")):
            raise no_image(image)
        return chosen.generate_each(_items(image), per_pass)

    def iterate(self, image: object, **options: Any) -> Iterator[dict]:
        """Find the masks of one image and give the authors' records one by one.

        Args:
            image: One image, as above.
            **options: See `MaskGenerationOptions`; `output_mode` is "binary_mask" unless given.

        Yields:
            Records, see `MaskCandidates.records`.
        """
        chosen = self.generator(options)
        return chosen.iterate(image)

    def generator(self, options: dict[str, Any]) -> SamHQMaskGenerator:
        """The engine behind the pipeline, with its options and those of one call.

        Args:
            options: Options of the call, by name.
        """
        return SamHQMaskGenerator(self.model, self.image_processor, **{**self._options, **options})

    def _sanitize_parameters(self, **options: Any) -> tuple[dict, dict, dict]:
        MaskGenerationOptions().updated(options)  # refuses what is wrong before anything is loaded
        self._options = options
        return super()._sanitize_parameters(**options)


def _items(images: Any) -> Iterator[object]:
    """The images of a generator or of a dataset, which may have only `__getitem__` and `__len__`."""
    if hasattr(images, "__iter__"):
        return iter(images)
    return (images[index] for index in range(len(images)))
