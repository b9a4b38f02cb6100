"""The options of automatic mask generation: one place for their names, defaults and limits."""

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .crop_grids import MOST_POINTS_PER_SIDE, layer_point_grids
from .number_limits import check_choice, check_flag, check_number, check_whole
from .value_ranges import checked_input_range

# Layer n has 4^n crops, so that one more layer takes four times as long: 5461 crops are hours already.
MOST_LAYERS = 6
OUTPUT_MODES = (None, "binary_mask", "uncompressed_rle", "coco_rle")


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskGenerationOptions:
    """How masks of a whole image are found, filtered and returned.

    Names and defaults are those of transformers' `MaskGenerationPipeline`; the ones below the line are added here. A
    model's configuration may suggest others (`SamHQConfig.mask_generation`).

    Args:
        points_per_batch: Points decoded in one go; None decodes all points of a crop at once.
        points_per_crop: Points along each side of the grid laid over the image and, thinned, over every crop.
        crops_n_layers: Layers of crops searched besides the whole image; layer n has `4**n` crops.
        crop_overlap_ratio: Overlap of the crops of the first layer, as a fraction of the shorter side, in [0, 1).
        crop_n_points_downscale_factor: Layer n has `points_per_crop / factor**n` points along each side.
        timeout: Seconds to wait for an image given as URL; None waits as long as it takes.
        pred_iou_thresh: Masks whose predicted IoU is not above it are dropped. 0 or less keeps all.
        stability_score_thresh: Masks whose stability is below it are dropped. 0 or less keeps all.
        stability_score_offset: How far the threshold is moved up and down to measure the stability, in logits.
        mask_threshold: Logit above which a pixel belongs to a mask.
        max_hole_area: Holes of at most so many pixels of the photo are filled in every mask; None or 0: none.
        max_sprinkle_area: Specks of at most so many pixels are removed from every mask; None or 0: none.
        crops_nms_thresh: Box IoU above which the worse of two masks is dropped, within a crop and across crops.
        output_rle_mask: Whether the stock dictionary also holds `rle_mask`.
        output_bboxes_mask: Whether the stock dictionary also holds `bounding_boxes`.

        box_nms_thresh: Box IoU within one crop, where it shall differ from `crops_nms_thresh`.
        min_mask_region_area: Holes and specks with fewer pixels are removed at the very end, and masks that thereby
            became duplicates are dropped, as the authors do. 0 does nothing.
        multimask_output: Whether a point's mask is chosen among the three candidates for ambiguous prompts; False
            takes the one meant for clear prompts.
        candidates_per_point: 1 keeps the candidate with the best predicted IoU, as the authors do; 3 keeps all three,
            as transformers' pipeline does.
        hq_token_only: Whether masks come from the HQ token alone, not added to SAM's own.
        point_grids: Own points instead of `points_per_crop`: one array (P, 2) of x, y in [0, 1] for every layer.
        output_mode: None for the stock dictionary; "binary_mask", "uncompressed_rle" or "coco_rle" for the authors'
            list of records with the segmentation in that form.
        tile_size: Images with a side longer than this are searched in tiles of this side, in pixels, and masks cut
            by the border of a tile are joined; None never tiles.
        tile_overlap: Overlap of neighbouring tiles as a fraction of `tile_size`, in (0, 0.5].
        max_pixels: Images with more pixels are refused before they are decoded; None: the image processor's, or
            Pillow's own limit.
        input_range: Values of images of more than 8 bits that become black and white, as (low, high), or "auto" for the
            lowest and the highest of each image; None: the image processor's, or the whole range of the type.
        progress_bar: Whether to show a progress bar on standard error.

    Raises:
        ValueError: A value that cannot work, or two that contradict each other.
        TypeError: A value of the wrong type.
    """

    points_per_batch: int | None = 64
    points_per_crop: int = 32
    crops_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: float = 1
    timeout: float | None = None
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1
    mask_threshold: float = 0.0
    max_hole_area: float | None = None
    max_sprinkle_area: float | None = None
    crops_nms_thresh: float = 0.7
    output_rle_mask: bool = False
    output_bboxes_mask: bool = False
    box_nms_thresh: float | None = None
    min_mask_region_area: float = 0
    multimask_output: bool = True
    candidates_per_point: int = 1
    hq_token_only: bool = False
    point_grids: tuple[np.ndarray, ...] | None = None
    output_mode: str | None = None
    tile_size: int | None = None
    tile_overlap: float = 0.25
    max_pixels: int | None = None
    input_range: str | tuple[float, float] | None = None
    progress_bar: bool = False

    def __post_init__(self) -> None:
        """Check every value, and freeze the point grids."""
        for name in ("points_per_crop", "candidates_per_point"):
            check_whole(name, getattr(self, name), at_least=1, at_most=MOST_POINTS_PER_SIDE)
        check_whole("crops_n_layers", self.crops_n_layers, at_least=0, at_most=MOST_LAYERS)
        check_whole(
            "points_per_batch", self.points_per_batch, at_least=1, at_most=MOST_POINTS_PER_SIDE**2, optional=True
        )
        for name in ("tile_size", "max_pixels"):
            check_whole(name, getattr(self, name), at_least=1, optional=True)
        for name in ("pred_iou_thresh", "stability_score_thresh", "mask_threshold", "crops_nms_thresh"):
            check_number(name, getattr(self, name))
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            if (threshold := getattr(self, name)) > 1:
                warnings.warn(f"{name} is {threshold:g}, but scores are fractions: 1 is the highest", stacklevel=4)
        check_number("box_nms_thresh", self.box_nms_thresh, optional=True)
        for name in ("stability_score_offset", "min_mask_region_area"):
            check_number(name, getattr(self, name), at_least=0)
        for name in ("max_hole_area", "max_sprinkle_area"):
            check_number(name, getattr(self, name), at_least=0, optional=True)
        check_number("timeout", self.timeout, above=0, optional=True)
        check_number("crop_n_points_downscale_factor", self.crop_n_points_downscale_factor, above=0)
        check_number("crop_overlap_ratio", self.crop_overlap_ratio, at_least=0, below=1)
        check_number("tile_overlap", self.tile_overlap, above=0, at_most=0.5)
        for name in (
            "output_rle_mask",
            "output_bboxes_mask",
            "multimask_output",
            "hq_token_only",
            "progress_bar",
        ):
            check_flag(name, getattr(self, name))
        object.__setattr__(self, "input_range", checked_input_range(self.input_range))
        self._check_candidates()
        self._check_output()
        if self.tile_size is not None and self.crops_n_layers:
            raise ValueError("tile_size replaces crops: give it or crops_n_layers, not both")
        object.__setattr__(self, "point_grids", self._checked_grids())

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all options."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def check_names(cls, options: Mapping[str, Any]) -> None:
        """Refuse options that do not exist, naming the nearest that does.

        Args:
            options: What the caller gave, by name.

        Raises:
            TypeError: If a name is unknown.
        """
        for name in options:
            if name not in cls.names():
                nearest = difflib.get_close_matches(name, cls.names(), n=1, cutoff=0.0)[0]
                raise TypeError(
                    f"mask generation has no option {name!r}; the nearest is {nearest!r}; "
                    f"all options: {', '.join(cls.names())}"
                )

    def updated(self, options: Mapping[str, Any]) -> "MaskGenerationOptions":
        """A copy with some options changed.

        Args:
            options: New values by name.
        """
        self.check_names(options)
        return replace(self, **options)

    @property
    def nms_thresh_within_crop(self) -> float:
        """The box IoU for suppression within one crop."""
        return self.crops_nms_thresh if self.box_nms_thresh is None else self.box_nms_thresh

    def layer_grids(self) -> list[np.ndarray]:
        """The point grid `(P, 2)` of every layer, x y in [0, 1]."""
        if self.point_grids is not None:
            return list(self.point_grids)
        return layer_point_grids(self.points_per_crop, self.crops_n_layers, self.crop_n_points_downscale_factor)

    def _check_candidates(self) -> None:
        if self.candidates_per_point not in (1, 3):
            raise ValueError(f"candidates_per_point must be 1 or 3, got {self.candidates_per_point}")
        if self.candidates_per_point == 3 and (self.hq_token_only or not self.multimask_output):
            other = "hq_token_only=True" if self.hq_token_only else "multimask_output=False"
            raise ValueError(f"candidates_per_point=3 contradicts {other}, which gives one mask per point")

    def _check_output(self) -> None:
        check_choice("output_mode", self.output_mode, OUTPUT_MODES)
        for name in ("output_rle_mask", "output_bboxes_mask"):
            if self.output_mode is not None and getattr(self, name):
                raise ValueError(
                    f"{name} belongs to the stock dictionary, output_mode={self.output_mode!r} returns records "
                    "that hold segmentation and box already: leave one out"
                )

    def _checked_grids(self) -> tuple[np.ndarray, ...] | None:
        if self.point_grids is None:
            self.layer_grids()  # refuses layers without points
            return None
        try:
            grids = tuple(np.asarray(grid, dtype=np.float64) for grid in self.point_grids)
        except (TypeError, ValueError) as error:
            raise TypeError(f"point_grids must be a list of arrays of numbers: {error}") from error
        if len(grids) < self.crops_n_layers + 1:
            raise ValueError(
                f"point_grids needs one grid for the image and each of crops_n_layers={self.crops_n_layers}, "
                f"got {len(grids)}"
            )
        for layer, grid in enumerate(grids):
            if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid):
                raise ValueError(f"point_grids[{layer}] must be (P, 2) with P of at least 1, got {grid.shape}")
            if len(grid) > MOST_POINTS_PER_SIDE**2:
                raise ValueError(f"point_grids[{layer}] must hold at most {MOST_POINTS_PER_SIDE**2} points")
            if not ((grid >= 0) & (grid <= 1)).all():
                raise ValueError(f"point_grids[{layer}] must hold x and y as fractions in [0, 1]")
        return grids


def check_generation_options(options: object) -> None:
    """Refuse what are no options of mask generation.

    Args:
        options: What came.

    Raises:
        TypeError: If they are no `MaskGenerationOptions`.
    """
    if not isinstance(options, MaskGenerationOptions):
        raise TypeError(
            f"options must be MaskGenerationOptions, got {type(options).__name__}; pass single options by name, as in "
            "generate(image, points_per_crop=16)"
        )
