"""Automatic mask generation: a grid of points over an image and its crops, and the masks worth keeping.

Source: `automatic_mask_generator.py` of the package `segment-anything-hq`.
Differs: the crops of several images share a pass of the encoder; masks reach photo size in groups of bounded
memory; nothing found gives an empty list also with crops.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from sam_hq_numpy.crop_grids import layer_crop_boxes, tile_boxes
from sam_hq_numpy.mask_candidates import MaskCandidates, candidates_of_image
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions, check_generation_options
from sam_hq_numpy.number_limits import check_whole

from ..image_processing_sam_hq import SamHQImageProcessor
from ..images.image_loading import is_one_image
from ..images.large_photos import PhotoRegions, options_of_parts
from ..images.processor_fit import check_processor_fits
from ..model.forward_validation import warn_of_untrained_hq_token
from ..model.model_access import unwrapped
from ..modeling_sam_hq import SamHQModel
from ..photo_embeddings import PhotoEmbeddings, check_maker, embed_images
from ..processing_sam_hq import SamHQProcessor
from .crop_search import Crop, CropEmbedding, search_crop
from .tiles import stitched

# Crops that pass the encoder together: 12 MB of pixels each, and activations ten times as large.
MOST_CROPS_AT_ONCE = 1024


class SamHQMaskGenerator:
    """Finds the masks of everything in an image.

    Args:
        model: The model, on the device and in the dtype it runs in; wrappers around it (PEFT, torch.compile,
            DistributedDataParallel) are looked through; set to evaluation.
        image_processor: Its image processor, or its processor.
        options: Options for all calls; the single ones in `more_options` go before them. None: those that suit the
            model (`config.mask_generation`), the defaults otherwise.
        **more_options: See `MaskGenerationOptions`.

    Raises:
        TypeError: An option that does not exist, the nearest that does is named; or not a SAM-HQ model, image processor
            or options.
        ValueError: An option with an impossible value, or an image processor for another image size.

    Warns:
        UserWarning: If the image processor can only be another model's.
    """

    def __init__(
        self,
        model: SamHQModel,
        image_processor: SamHQImageProcessor | SamHQProcessor,
        options: MaskGenerationOptions | None = None,
        **more_options: Any,
    ) -> None:
        self.model = unwrapped(model, SamHQModel).eval()
        if isinstance(image_processor, SamHQProcessor):
            image_processor = image_processor.image_processor
        if not isinstance(image_processor, SamHQImageProcessor):
            raise TypeError(f"image_processor must be a SamHQImageProcessor, got {type(image_processor).__name__}")
        check_processor_fits(self.model.config, image_processor)
        self.image_processor = image_processor
        if options is not None:
            check_generation_options(options)
        suited = MaskGenerationOptions().updated(self.model.config.mask_generation or {})
        chosen = (options or suited).updated(more_options)
        of_processor = {name: getattr(image_processor, name, None) for name in ("max_pixels", "input_range")}
        left_open = {name: value for name, value in of_processor.items() if getattr(chosen, name) is None}
        self.options = chosen.updated(left_open)

    def generate(self, image: object, **options: Any) -> dict | list[dict]:
        """Find the masks of one image.

        Args:
            image: Whatever `sam_hq.images.image_loading.load_rgb` takes: a path, URL, PIL image, bytes, array, tensor.
            **options: Options that differ for this call.

        Returns:
            With `output_mode` None the stock dictionary: `masks`, a list of `(H, W)` boolean arrays; `scores`, `(N,)`
            float32; on request `rle_mask` and `bounding_boxes` `(N, 4)`, x0 y0 x1 y1. Otherwise the authors' list of
            records, see `MaskCandidates.records`.
        """
        return next(self.generate_each([image], **options))

    def generate_each(self, images: Iterable[object], batch_size: int = 1, **options: Any) -> Iterator[dict | list]:
        """Find the masks of many images, of any sizes, one result after the other.

        Args:
            images: Images; taken one by one as they are needed.
            batch_size: How many crops, of one or several images, pass the encoder together.
            **options: Options that differ for this call.

        Yields:
            The result of every image, in order, as `generate` returns it.

        Raises:
            TypeError: A single image, or an option that does not exist; at once, as is ValueError for its value.
        """
        chosen = self.options.updated(options)
        return (_result(candidates, chosen) for candidates in self.candidates_each(images, batch_size, chosen))

    def iterate(self, image: object, **options: Any) -> Iterator[dict]:
        """Find the masks of one image and give the records one by one.

        Only one segmentation is ever held in its final form, so that `binary_mask` works for large images.

        Args:
            image: A path, URL, PIL image, array or tensor.
            **options: Options that differ for this call; `output_mode` is "binary_mask" unless given.

        Yields:
            The authors' records.
        """
        chosen = self.options.updated(options)
        (candidates,) = self.candidates_each([image], 1, chosen)
        yield from candidates.records(chosen.output_mode or "binary_mask")

    def candidates_each(
        self,
        images: Iterable[object],
        batch_size: int,
        options: MaskGenerationOptions,
        keep_embeddings: Callable[[PhotoEmbeddings], None] | None = None,
    ) -> Iterator[MaskCandidates]:
        """As `generate_each`, with masks still run-length encoded.

        Args:
            images: Images.
            batch_size: How many crops pass the encoder together.
            options: All options.
            keep_embeddings: Called with the embeddings of every whole image, in order, before its masks are given.
        """
        if is_one_image(images) or not (hasattr(images, "__iter__") or hasattr(images, "__getitem__")):
            raise TypeError(
                f"images must be several, such as in a list, got {type(images).__name__}; generate takes one"
            )
        check_generation_options(options)
        check_whole("batch_size", batch_size, at_least=1, at_most=MOST_CROPS_AT_ONCE)
        warn_of_untrained_hq_token(self.model.config, options.hq_token_only)
        return self._candidates_each(images, batch_size, options, keep_embeddings)

    def candidates_from_embeddings(
        self,
        embeddings: PhotoEmbeddings,
        options: MaskGenerationOptions,
        advance: Callable[[int], Any] = lambda _: None,
    ) -> MaskCandidates:
        """Find the masks of an image that was embedded before, without its pixels.

        Args:
            embeddings: Of the whole image.
            options: All options, without crops and tiles.
            advance: Called after each group of points with their number; what it raises ends the work.

        Raises:
            ValueError: If crops or tiles are asked for, whose embeddings would need the pixels, or the embeddings are
                another model's.
        """
        check_generation_options(options)
        check_maker(self.model, embeddings)
        warn_of_untrained_hq_token(self.model.config, options.hq_token_only)
        height, width = embeddings.original_size
        if options.crops_n_layers or _is_tiled((height, width), options):
            raise ValueError("crops and tiles have embeddings of their own: leave out crops_n_layers and tile_size")
        crop = Crop(None, (0, 0, width, height), (height, width), options.layer_grids()[0], True, True)
        found = self._search(crop, embeddings, options, advance)
        return candidates_of_image([found], options)

    def _candidates_each(
        self,
        images: Iterable[object],
        batch_size: int,
        options: MaskGenerationOptions,
        keep_embeddings: Callable[[PhotoEmbeddings], None] | None,
    ) -> Iterator[MaskCandidates]:
        found: list[MaskCandidates] = []
        crops = _crops(images, options)
        with tqdm(disable=not options.progress_bar, unit="point", desc="masks") as bar:
            while batch := list(islice(crops, batch_size)):
                bar.total = (bar.total or 0) + sum(len(crop.grid) for crop in batch)
                bar.refresh()
                pixels = [crop.pixels for crop in batch if crop.pixels is not None]
                embedded = embed_images(self.model, self.image_processor, pixels, **options_of_parts(pixels))
                for crop, embeddings in zip(batch, embedded, strict=True):
                    if keep_embeddings is not None and crop.is_first and crop.size == crop.image_size:
                        keep_embeddings(embeddings)
                    found.append(self._search(crop, embeddings, options, bar.update))
                    if crop.is_last:
                        tiled = _is_tiled(crop.image_size, options)
                        yield _candidates_of_tiles(found, options) if tiled else candidates_of_image(found, options)
                        found = []

    def _search(
        self, crop: Crop, embeddings: PhotoEmbeddings, options: MaskGenerationOptions, advance: Callable[[int], Any]
    ) -> MaskCandidates:
        frame_side, keep_cut = self.image_processor.pad_size["height"], _is_tiled(crop.image_size, options)
        return search_crop(self.model, crop, CropEmbedding(embeddings, frame_side), options, keep_cut, advance)


def _result(candidates: MaskCandidates, options: MaskGenerationOptions) -> dict[str, Any] | list[dict]:
    """What the options ask for; the arrays of the stock dictionary as tensors, which transformers' pipeline returns."""
    result = candidates.result(options)
    if isinstance(result, list):
        return result
    arrays = {name: value for name, value in result.items() if isinstance(value, np.ndarray)}
    return {**result, **{name: torch.from_numpy(value) for name, value in arrays.items()}}


def _crops(images: Iterable[object], options: MaskGenerationOptions) -> Iterator[Crop]:
    """The crops or tiles of all images, one after the other, each read when its turn comes."""
    grids = options.layer_grids()
    for image in images:
        photo = (
            image
            if isinstance(image, PhotoRegions)
            else PhotoRegions(image, options.max_pixels, options.input_range, options.timeout)
        )
        if _is_tiled(photo.size, options):
            boxes = tile_boxes(photo.size, options.tile_size or 0, options.tile_overlap)
            layers = [0] * len(boxes)
        else:
            boxes, layers = layer_crop_boxes(photo.size, options.crops_n_layers, options.crop_overlap_ratio)
        for index, (box, layer) in enumerate(zip(boxes, layers, strict=True)):
            yield Crop(photo.region(box), box, photo.size, grids[layer], index == 0, index == len(boxes) - 1)


def _is_tiled(image_size: tuple[int, int], options: MaskGenerationOptions) -> bool:
    return options.tile_size is not None and max(image_size) > options.tile_size


def _candidates_of_tiles(of_tiles: Sequence[MaskCandidates], options: MaskGenerationOptions) -> MaskCandidates:
    """The masks of one image from those of its tiles."""
    whole = stitched(MaskCandidates.joined(of_tiles)).without_duplicates(options.crops_nms_thresh)
    return whole.without_small_regions(options)
