"""Automatic mask generation: a grid of points over a photograph and its crops, and the masks worth keeping.

Source: `automatic_mask_generator.py` of the package `segment-anything-hq`.
Differs: the crops of several photographs share a pass of the encoder; masks reach photo size in groups of bounded
memory; nothing found gives an empty list also with crops.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from sam_hq_numpy.crop_grids import Box, layer_crop_boxes, tile_boxes
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

from ..image_processing_sam_hq import SamHQImageProcessor
from ..images.large_photos import PhotoRegions
from ..images.mask_frames import low_res_masks_to_photo
from ..images.mask_ops import passing_scores
from ..images.stock_pipeline import points_in_frame
from ..model.worker_threads import in_threads, worker_count
from ..modeling_sam_hq import SamHQModel
from ..photo_embeddings import PhotoEmbeddings, check_maker, embed_images
from .candidates import MaskCandidates, candidates_of_crop, segmentation
from .passing_masks import PassingMasks, passing_masks, valid_region
from .stability import StableMasks, stable_from_logits, stable_from_strips
from .tiles import stitched
from .upscaling import PhotoUpscaling

# Floats at the padded and at the crop's resolution held at once while masks are brought to the size of the crop: 64 MB.
GROUP_FLOATS = 16 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class _Crop:
    """A part of a photograph to be searched.

    Args:
        pixels: `(h, w, 3)` uint8; None where its embeddings are at hand.
        box: x0 y0 x1 y1 in pixels of the photograph.
        image_size: Height and width of the photograph.
        grid: `(P, 2)` x y in [0, 1].
        is_first: Whether it is the first of its photograph: the whole of it, unless that is tiled.
        is_last: Whether it is the last of its photograph.
    """

    pixels: np.ndarray | None
    box: Box
    image_size: tuple[int, int]
    grid: np.ndarray
    is_first: bool
    is_last: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.box[3] - self.box[1], self.box[2] - self.box[0]


@dataclass(frozen=True, eq=False)
class _Embedding:
    """What the decoder needs of one crop.

    Args:
        kept: Its embeddings, which can be kept where it is a whole photograph.
        frame_side: Side of the padded frame.
    """

    kept: PhotoEmbeddings
    frame_side: int

    @property
    def reshaped_size(self) -> tuple[int, int]:
        """Height and width of the crop in the resized frame."""
        return self.kept.reshaped_size

    @property
    def region(self) -> tuple[int, int]:
        """Rows and columns of the low-res masks that the crop is interpolated from."""
        return valid_region(self.reshaped_size, self.frame_side, self.kept.hq_features.shape[-1])

    @property
    def region_in_frame(self) -> tuple[int, int]:
        """The same in pixels of the padded frame: interpolation only sees this part."""
        scale = self.frame_side // self.kept.hq_features.shape[-1]
        return self.region[0] * scale, self.region[1] * scale


class SamHQMaskGenerator:
    """Finds the masks of everything in a photograph.

    Args:
        model: The model, on the device and in the dtype it shall run in.
        image_processor: Its image processor.
        options: Options for all calls; the single ones in `more_options` go before them. None: those that suit the
            model (`config.mask_generation`), the defaults otherwise.
        **more_options: See `MaskGenerationOptions`.

    Raises:
        TypeError: An option that does not exist; the nearest that does is named.
        ValueError: An option with an impossible value.
    """

    def __init__(
        self,
        model: SamHQModel,
        image_processor: SamHQImageProcessor,
        options: MaskGenerationOptions | None = None,
        **more_options: Any,
    ) -> None:
        self.model = model
        self.image_processor = image_processor
        suited = MaskGenerationOptions().updated(model.config.mask_generation or {})
        chosen = (options or suited).updated(more_options)
        of_processor = {name: getattr(image_processor, name, None) for name in ("max_pixels", "input_range")}
        left_open = {name: value for name, value in of_processor.items() if getattr(chosen, name) is None}
        self.options = chosen.updated(left_open)

    def generate(self, image: object, **options: Any) -> dict | list[dict]:
        """Find the masks of one photograph.

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
        """Find the masks of many photographs, of any sizes, one result after the other.

        Args:
            images: Photographs; taken one by one as they are needed.
            batch_size: How many crops, of one or several photographs, pass the encoder together.
            **options: Options that differ for this call.

        Yields:
            The result of every photograph, in order, as `generate` returns it.
        """
        chosen = self.options.updated(options)
        found = self.candidates_each(images, batch_size, chosen)
        return (
            stock_result(candidates, chosen)
            if chosen.output_mode is None
            else list(candidates.records(chosen.output_mode))
            for candidates in found
        )

    def iterate(self, image: object, **options: Any) -> Iterator[dict]:
        """Find the masks of one photograph and give the records one by one.

        Only one segmentation is ever held in its final form, so that `binary_mask` works for large photographs.

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
            images: Photographs.
            batch_size: How many crops pass the encoder together.
            options: All options.
            keep_embeddings: Called with the embeddings of every whole photograph, in order, before its masks are given.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` must be a whole number of at least 1, got {batch_size!r}.")
        return self._candidates_each(images, batch_size, options, keep_embeddings)

    def candidates_from_embeddings(
        self,
        embeddings: PhotoEmbeddings,
        options: MaskGenerationOptions,
        advance: Callable[[int], Any] = lambda _: None,
    ) -> MaskCandidates:
        """Find the masks of a photograph that was embedded before, without its pixels.

        Args:
            embeddings: Of the whole photograph.
            options: All options, without crops and tiles.
            advance: Called after each group of points with their number; what it raises ends the work.

        Raises:
            ValueError: If crops or tiles are asked for, whose embeddings would need the pixels, or the embeddings are
                another model's.
        """
        check_maker(self.model, embeddings)
        height, width = embeddings.original_size
        if options.crops_n_layers or _is_tiled((height, width), options):
            raise ValueError(
                "crops and tiles have embeddings of their own: leave out `crops_n_layers` and `tile_size`."
            )
        crop = _Crop(None, (0, 0, width, height), (height, width), options.layer_grids()[0], True, True)
        embedding = _Embedding(embeddings, self.image_processor.pad_size["height"])
        return _without_duplicates([self._search(crop, embedding, options, advance)], crop.image_size, options)

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
                most = max(part.shape[0] * part.shape[1] for part in pixels)  # limited where the photo was opened
                embedded = embed_images(self.model, self.image_processor, pixels, max_pixels=most)
                for crop, kept in zip(batch, embedded, strict=True):
                    embedding = _Embedding(kept, self.image_processor.pad_size["height"])
                    if keep_embeddings is not None and crop.is_first and crop.size == crop.image_size:
                        keep_embeddings(embedding.kept)
                    found.append(self._search(crop, embedding, options, bar.update))
                    if crop.is_last:
                        yield _without_duplicates(found, crop.image_size, options)
                        found = []

    @torch.no_grad()
    def _search(
        self, crop: _Crop, embedding: _Embedding, options: MaskGenerationOptions, advance: Callable[[int], Any]
    ) -> MaskCandidates:
        """All masks of one crop that pass the filters, duplicates within the crop dropped, in the photo frame."""
        height, width = crop.size
        in_frame = points_in_frame(crop.grid, (height, width), embedding.reshaped_size)
        in_crop = (crop.grid * [width, height]).tolist()
        per_batch = options.points_per_batch or len(in_frame)
        find_stable = _stability_filter(crop, embedding, options)
        keep_cut = _is_tiled(crop.image_size, options)

        def search(batch: slice) -> list[MaskCandidates]:
            return [
                candidates_of_crop(
                    stable,
                    scores,
                    [in_crop[batch][index] for index in of_point],
                    crop.box,
                    crop.image_size,
                    options,
                    keep_cut,
                )
                for stable, scores, of_point in self._decode(in_frame[batch], embedding, find_stable, options)
            ]

        threads = _works_in_strips(embedding)
        if threads:  # each worker has something to do
            per_batch = min(per_batch, math.ceil(len(in_frame) / worker_count()))
        batches = [slice(start, start + per_batch) for start in range(0, len(in_frame), per_batch)]
        searched = in_threads(search, batches) if threads else map(search, batches)
        found: list[MaskCandidates] = []
        for batch, candidates in zip(batches, searched, strict=True):
            found.extend(candidates)
            advance(len(in_frame[batch]))
        joined = MaskCandidates.joined(found)
        return joined.without_duplicates(options.nms_thresh_within_crop).in_photo(crop.image_size)

    def _decode(
        self,
        points: torch.Tensor,
        embedding: _Embedding,
        find_stable: Callable[[PassingMasks, torch.Tensor], StableMasks],
        options: MaskGenerationOptions,
    ) -> Iterator[tuple[StableMasks, torch.Tensor, list[int]]]:
        """Masks that pass the predicted IoU and the stability, their scores `(K,)`, and the point of each."""
        device = embedding.kept.image_embeddings.device
        decoded = passing_masks(
            self.model,
            embedding.kept.image_embeddings,
            embedding.kept.hq_features,
            input_points=points[None, :, None].to(device),  # (P, 2) -> (1, P, 1, 2)
            input_labels=torch.ones(1, len(points), 1, dtype=torch.int64, device=device),
            min_score=options.pred_iou_thresh if options.pred_iou_thresh > 0 else None,
            multimask_output=options.multimask_output,
            hq_token_only=options.hq_token_only,
            candidates=options.candidates_per_point,
            region=embedding.region,
        )
        for of_prompt, masks in decoded:
            scores = masks.iou_scores.float()  # (K, M)
            passing = passing_scores(scores.flatten(), options)
            stable = find_stable(masks, passing)
            chosen = passing.cpu()[stable.indices]
            yield stable, scores.flatten().cpu()[chosen], of_prompt.cpu()[chosen // scores.shape[1]].tolist()


def _stability_filter(
    crop: _Crop, embedding: _Embedding, options: MaskGenerationOptions
) -> Callable[[PassingMasks, torch.Tensor], StableMasks]:
    """What brings chosen ones of a group's K * M masks to the size of the crop, and keeps those that are stable."""
    size, frame_size = crop.size, embedding.region_in_frame
    if _works_in_strips(embedding):
        upscaling = PhotoUpscaling(embedding.region, frame_size, embedding.reshaped_size, size)

        def strip_by_strip(masks: PassingMasks, chosen: torch.Tensor) -> StableMasks:
            return stable_from_strips((strip.flatten(0, 1)[chosen] for strip in masks.strips()), upscaling, options)

        return strip_by_strip
    group = max(1, GROUP_FLOATS // (math.prod(frame_size) + math.prod(size)))

    def group_by_group(masks: PassingMasks, chosen: torch.Tensor) -> StableMasks:
        found, low_res = [], masks.logits().flatten(0, 1)[chosen]
        for start in range(0, len(low_res), group):
            here = low_res[start : start + group]
            logits = low_res_masks_to_photo(here, embedding.reshaped_size, size, frame_size, binarize=False)
            found.append((start, stable_from_logits(logits, options)))
        return StableMasks.joined(found)

    return group_by_group


def _works_in_strips(embedding: _Embedding) -> bool:
    """Whether masks come to the crop's size strip by strip in worker threads, or in groups on an accelerator."""
    return embedding.kept.image_embeddings.device.type == "cpu"


def stock_result(candidates: MaskCandidates, options: MaskGenerationOptions) -> dict:
    """The dictionary that transformers' pipeline returns.

    Args:
        candidates: The masks of one photograph.
        options: `output_rle_mask` and `output_bboxes_mask` are looked at.
    """
    result: dict[str, Any] = {
        "masks": [segmentation(mask, "binary_mask") for mask in candidates.masks],
        "scores": candidates.scores,
    }
    if options.output_rle_mask:
        result["rle_mask"] = [segmentation(mask, "uncompressed_rle") for mask in candidates.masks]
    if options.output_bboxes_mask:
        result["bounding_boxes"] = candidates.boxes
    return result


def _crops(images: Iterable[object], options: MaskGenerationOptions) -> Iterator[_Crop]:
    """The crops or tiles of all photographs, one after the other, each read when its turn comes."""
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
            yield _Crop(photo.region(box), box, photo.size, grids[layer], index == 0, index == len(boxes) - 1)


def _is_tiled(image_size: tuple[int, int], options: MaskGenerationOptions) -> bool:
    return options.tile_size is not None and max(image_size) > options.tile_size


def _without_duplicates(
    found: Sequence[MaskCandidates], image_size: tuple[int, int], options: MaskGenerationOptions
) -> MaskCandidates:
    """The masks of one photograph from those of its crops or tiles."""
    candidates = MaskCandidates.joined(found)
    if _is_tiled(image_size, options):
        candidates = stitched(candidates).without_duplicates(options.crops_nms_thresh)
    elif len(found) > 1:
        candidates = candidates.without_duplicates_across_crops(options.crops_nms_thresh)
    if options.min_mask_region_area > 0:
        iou_threshold = max(options.nms_thresh_within_crop, options.crops_nms_thresh)
        candidates = candidates.without_small_regions(options.min_mask_region_area, iou_threshold)
    return candidates
