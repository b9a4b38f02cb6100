"""Reads the golden numbers of the authors' package. Numpy only.

    golden = load_golden("vit_b")
    for photo in golden.photos:          # encoder outputs, one per photo
        check_samples(embeddings, photo.image_embeddings)
    for case in golden.cases:            # one per photo and prompt
        case.points, case.labels, case.box, case.mask_prompt
        case.low_res_logits == low_res[case.rows, case.columns]

How they were made: `make_golden.py`. The weights: `seeded_weights.seeded_state_dict(variant)`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PHOTOS = Path(__file__).resolve().parents[2] / "docs" / "photos"
FOLDER = Path(__file__).resolve().parent / "golden"


@dataclass(frozen=True)
class Samples:
    """Values of a large array at fixed positions of its flattened form, and two summaries of the whole."""

    shape: tuple[int, ...]
    indices: np.ndarray
    values: np.ndarray
    mean: float
    largest: float

    def difference(self, array: np.ndarray) -> float:
        """Returns the largest deviation of `array` at the sampled positions, relative to the largest magnitude."""
        array = np.asarray(array)
        if array.shape != self.shape:
            raise ValueError(f"expected an array of shape {self.shape}, got {array.shape}")
        return float(np.abs(array.reshape(-1)[self.indices] - self.values).max() / self.largest)


@dataclass(frozen=True)
class PhotoGolden:
    """Encoder outputs of a photo: image embeddings (1, 256, 64, 64), intermediate embeddings (1, 64, 64, C)."""

    photo: str
    original_size: tuple[int, int]
    reshaped_input_size: tuple[int, int]
    image_embeddings: Samples
    intermediate_embeddings: Samples


@dataclass(frozen=True)
class Case:
    """What the authors' predictor answers to one prompt on one photo.

    Prompts are in pixels of the original photo, (x, y): `points` (N, 2), `labels` (N,), `box` (4,), None where
    absent; `mask_prompt` (1, 256, 256) low-res logits or None. Sizes are (height, width).

    Answers: `low_res_logits` = the single returned mask at `[rows, columns]` of 256 x 256, `largest_logit` the largest
    magnitude of the whole mask, `score`, `mask` (height, width) boolean at the photo's size. `all_scores` (4,) and
    `all_logits` (5, 16, 16) = `[:, ::16, ::16]` are what the decoder predicts before the choice (SAM masks 0-3, then
    the HQ mask), `best` is the index of the SAM mask that was chosen.
    """

    photo: str
    name: str
    original_size: tuple[int, int]
    points: np.ndarray | None
    labels: np.ndarray | None
    box: np.ndarray | None
    mask_prompt: np.ndarray | None
    multimask_output: bool
    hq_token_only: bool
    rows: slice
    columns: slice
    low_res_logits: np.ndarray
    largest_logit: float
    score: float
    best: int
    all_scores: np.ndarray
    all_logits: np.ndarray
    packed_mask: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The boolean mask (height, width) at the photo's size."""
        height, width = self.original_size
        return np.unpackbits(self.packed_mask, count=height * width).reshape(height, width).astype(bool)


@dataclass(frozen=True)
class Golden:
    """Golden numbers of one variant."""

    variant: str
    photos: list[PhotoGolden]
    cases: list[Case]


@dataclass(frozen=True)
class PixelGolden:
    """The model's input of one photo: `pixel_values` (3, 1024, 1024) float32 after resizing, scaling and padding.

    `tiles` (rows, columns): the photo is repeated that often before anything else (`np.tile`), for a large input.
    `sha256` is the hash of the resized uint8 picture (height, width, 3) in C order.
    """

    photo: str
    tiles: tuple[int, int]
    original_size: tuple[int, int]
    reshaped_input_size: tuple[int, int]
    sha256: str
    pixel_values: Samples


@dataclass(frozen=True)
class GenerationRun:
    """What the authors' mask generator finds on one photo with `seeded_state_dict(variant, local_masks=True)`.

    `options` are the arguments of the authors' generator (what is absent has their default), `multimask_output` the one
    of its `generate`. `records` are their dictionaries in their order: `segmentation` a COCO RLE `{"size": [height,
    width], "counts": str}`, `area`, `bbox` (x, y, width, height), `predicted_iou`, `point_coords` [[x, y]],
    `stability_score`, `crop_box` (x, y, width, height), all in pixels of the photo.
    """

    photo: str
    name: str
    options: dict
    multimask_output: bool
    records: list[dict]


def photo_path(name: str) -> Path:
    """Returns the path of a photo of `docs/photos`."""
    return PHOTOS / name


def ellipse_mask_prompt(box: list[float], original_size: tuple[int, int]) -> np.ndarray:
    """Returns low-res logits (1, 256, 256) of the ellipse inscribed in a box: positive inside, within [-8, 4].

    Args:
        box: (x0, y0, x1, y1) in pixels of the original photo.
        original_size: (height, width).
    """
    scale = 256 / max(original_size)
    x0, y0, x1, y1 = (side * scale for side in box)
    centre = np.arange(256) + 0.5
    along_x = ((centre - (x0 + x1) / 2) / ((x1 - x0) / 2))[None, :] ** 2
    along_y = ((centre - (y0 + y1) / 2) / ((y1 - y0) / 2))[:, None] ** 2
    return np.clip(4 * (1 - along_x - along_y), -8, None).astype(np.float32)[None]


def load_golden(variant: str) -> Golden:
    """Returns the golden numbers of `vit_tiny`, `vit_b`, `vit_l` or `vit_h`."""
    with np.load(FOLDER / f"{variant}.npz") as arrays:
        meta = json.loads(str(arrays["meta"]))
        photos = [
            PhotoGolden(
                photo=entry["photo"],
                original_size=tuple(entry["original_size"]),
                reshaped_input_size=tuple(entry["reshaped_input_size"]),
                image_embeddings=read_samples(arrays, f"{entry['photo']}/image_embeddings"),
                intermediate_embeddings=read_samples(arrays, f"{entry['photo']}/intermediate_embeddings"),
            )
            for entry in meta["photos"]
        ]
        return Golden(variant, photos, [read_case(arrays, entry) for entry in meta["cases"]])


def read_case(arrays, entry: dict) -> Case:
    """Returns one case from its entry in the file's table."""
    prefix = f"{entry['photo']}/{entry['name']}"
    size = tuple(entry["original_size"])
    ellipse = entry["mask_prompt_box"]
    row, column, stride = entry["grid"]
    return Case(
        photo=entry["photo"],
        name=entry["name"],
        original_size=size,
        points=None if entry["points"] is None else np.array(entry["points"], dtype=np.float64),
        labels=None if entry["labels"] is None else np.array(entry["labels"], dtype=np.int64),
        box=None if entry["box"] is None else np.array(entry["box"], dtype=np.float64),
        mask_prompt=None if ellipse is None else ellipse_mask_prompt(ellipse, size),
        multimask_output=entry["multimask_output"],
        hq_token_only=entry["hq_token_only"],
        rows=slice(row, None, stride),
        columns=slice(column, None, stride),
        low_res_logits=arrays[f"{prefix}/low_res_logits"],
        largest_logit=entry["largest_logit"],
        score=entry["score"],
        best=entry["best"],
        all_scores=np.array(entry["all_scores"], dtype=np.float32),
        all_logits=arrays[f"{prefix}/all_logits"],
        packed_mask=arrays[f"{prefix}/packed_mask"],
    )


def read_samples(arrays, name: str) -> Samples:
    """Returns the samples stored under a name."""
    mean, largest = arrays[f"{name}/summary"]
    return Samples(
        shape=tuple(int(side) for side in arrays[f"{name}/shape"]),
        indices=sample_indices(arrays[f"{name}/shape"], len(arrays[f"{name}/values"])),
        values=arrays[f"{name}/values"],
        mean=float(mean),
        largest=float(largest),
    )


def sample_indices(shape, count: int) -> np.ndarray:
    """Returns `count` positions spread over a flattened array of the given shape: always the same ones."""
    size = int(np.prod(shape))
    # A stride near the golden ratio of the size visits all rows, columns and channels alike.
    stride = int(size * 0.6180339887) | 1
    return np.unique(np.arange(count, dtype=np.int64) * stride % size) if size > count else np.arange(size)


def load_pixel_golden() -> list[PixelGolden]:
    """Returns the golden inputs, which do not depend on the variant."""
    with np.load(FOLDER / "pixels.npz") as arrays:
        meta = json.loads(str(arrays["meta"]))
        return [
            PixelGolden(
                photo=entry["photo"],
                tiles=tuple(entry["tiles"]),
                original_size=tuple(entry["original_size"]),
                reshaped_input_size=tuple(entry["reshaped_input_size"]),
                sha256=entry["sha256"],
                pixel_values=read_samples(arrays, entry["key"]),
            )
            for entry in meta
        ]


def load_generation_golden(variant: str) -> list[GenerationRun]:
    """Returns the runs of the authors' mask generator for `vit_tiny` or `vit_b`."""
    with np.load(FOLDER / f"generation_{variant}.npz") as arrays:
        return [GenerationRun(**run) for run in json.loads(str(arrays["meta"]))]
