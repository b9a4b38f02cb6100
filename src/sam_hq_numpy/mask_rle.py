"""Run-length encoded masks: a full-size mask in a few kilobytes, read and written as COCO does, without pycocotools.

Runs go down the columns (COCO's order) and alternate outside, inside, outside, ...; the first count may be 0.

Source: `maskApi.c` of pycocotools for the byte format; `utils/amg.py` of `segment-anything-hq` for the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .frame_sizes import size_pairs
from .number_limits import shown


@dataclass(frozen=True, eq=False)
class RunLengthMask:
    """A binary mask as run lengths.

    Args:
        height: Rows of the mask.
        width: Columns of the mask.
        counts: `(R,)` int64, lengths of the runs, outside first; they sum to `height * width`.
    """

    height: int
    width: int
    counts: np.ndarray

    def __eq__(self, other: object) -> bool:
        """Equal size and equal pixels."""
        if not isinstance(other, RunLengthMask):
            return NotImplemented
        return (self.height, self.width) == (other.height, other.width) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def from_runs(cls, height: int, width: int, starts: np.ndarray, ends: np.ndarray) -> RunLengthMask:
        """The mask whose pixels `starts[i] <= position < ends[i]`, counted down the columns, are inside.

        Args:
            height: Rows of the mask.
            width: Columns of the mask.
            starts: `(R,)` ascending.
            ends: `(R,)`; a run may start where the one before ends, but not earlier.
        """
        apart = starts[1:] != ends[:-1]  # touching runs are one
        starts = starts[np.concatenate([[True], apart])] if len(starts) else starts
        ends = ends[np.concatenate([apart, [True]])] if len(ends) else ends
        bounds = np.empty(2 * len(starts) + 2, dtype=np.int64)
        bounds[0], bounds[-1] = 0, height * width
        bounds[1:-1:2], bounds[2:-1:2] = starts, ends
        counts = np.diff(bounds)
        return cls(height, width, counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts)

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> RunLengthMask:
        """Encode one mask.

        Args:
            mask: `(H, W)`, non-zero is inside.

        Raises:
            TypeError: It holds no numbers.
            ValueError: It has another rank, or holds NaN or numbers below 0, as logits do.
        """
        mask = np.asarray(mask)
        if mask.dtype.kind not in "biuf":
            raise TypeError(f"mask must hold truth values or numbers, got {mask.dtype}")
        if mask.ndim != 2:
            raise ValueError(f"mask must be (H, W), got shape {mask.shape}")
        if mask.dtype.kind in "if" and not (mask >= 0).all():  # NaN is not either
            raise ValueError("mask must not hold NaN or numbers below 0; of logits, give those above the threshold")
        height, width = mask.shape
        filled_columns = np.flatnonzero(mask.any(0))
        if not len(filled_columns):
            return cls(height, width, np.array([height * width], dtype=np.int64))
        first, last = int(filled_columns[0]), int(filled_columns[-1])
        # Only the columns that hold something are turned to column order, framed by one pixel outside on either end.
        pixels = np.zeros((last - first + 1) * height + 2, dtype=bool)
        pixels[1:-1].reshape(-1, height)[:] = mask[:, first : last + 1].T
        changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + first * height
        return cls.from_runs(height, width, changes[::2], changes[1::2])

    @classmethod
    def from_dict(cls, rle: Mapping) -> RunLengthMask:
        """Read `{"size": [height, width], "counts": ...}`: a list of counts, or COCO's compressed string or bytes.

        Args:
            rle: The dictionary.

        Raises:
            TypeError: It is no dictionary, or the counts are no numbers.
            ValueError: The size is no size, or the counts are not whole, negative, damaged, or do not sum to the number
                of pixels.
        """
        if not isinstance(rle, Mapping) or not {"size", "counts"} <= rle.keys():
            raise TypeError(f"run lengths must be a dictionary with size and counts, got {shown(rle, 80)}")
        [(height, width)] = size_pairs("the size of run lengths", [rle["size"]])
        counts = rle["counts"]
        if isinstance(counts, (str, bytes)):
            counts = _decompress(counts.encode("ascii", "replace") if isinstance(counts, str) else counts)
        try:
            given = np.asarray(counts)
        except ValueError:  # of lists of several lengths
            given = np.zeros(0, dtype=object)
        if given.ndim != 1 or given.dtype.kind not in "iuf" or (given != np.round(given)).any():
            raise TypeError(f"counts must be a list of whole lengths, or compressed, got {shown(counts, 80)}")
        counts = given.astype(np.int64)
        # Each for itself too: a sum of huge ones may wrap around to the right number.
        if ((counts < 0) | (counts > height * width)).any() or counts.sum() != height * width:
            raise ValueError(
                f"counts must be lengths that sum to {height} x {width} = {height * width}, got a sum of "
                f"{counts.sum()} with a smallest of {counts.min(initial=0)}"
            )
        starts, ends = _run_bounds(counts)
        kept = starts < ends
        return cls.from_runs(height, width, starts[kept], ends[kept])

    def to_mask(self) -> np.ndarray:
        """Decode to `(H, W)` boolean."""
        inside = np.zeros(len(self.counts), dtype=bool)
        inside[1::2] = True
        return np.repeat(inside, self.counts).reshape(self.width, self.height).T

    def to_uncompressed(self) -> dict:
        """`{"size": [height, width], "counts": [int, ...]}`, the authors' `uncompressed_rle`."""
        return {"size": [self.height, self.width], "counts": self.counts.tolist()}

    def to_coco(self) -> dict:
        """`{"size": [height, width], "counts": str}`, COCO's compressed form, byte for byte what pycocotools writes."""
        return {"size": [self.height, self.width], "counts": _compress(self.counts).decode("ascii")}

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        return int(self.counts[1::2].sum())

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends `(R,)` of the runs inside, as positions counted down the columns; ends lie outside."""
        return _run_bounds(self.counts)

    def column_runs(self) -> tuple[np.ndarray, np.ndarray]:
        """As `runs`, with every run that crosses the foot of a column cut there."""
        return cut_at_columns(*self.runs(), self.height)

    def box(self) -> tuple[int, int, int, int]:
        """x0 y0 x1 y1 of the tightest box, both corners inside the mask; zeros for an empty mask."""
        starts, ends = self.runs()
        if not len(starts):
            return 0, 0, 0, 0
        lasts = ends - 1
        x0, x1 = int(starts[0] // self.height), int(lasts[-1] // self.height)
        if (starts // self.height != lasts // self.height).any():  # over the foot of a column: bottom row and top row
            return x0, 0, x1, self.height - 1
        return x0, int((starts % self.height).min()), x1, int((lasts % self.height).max())

    def window(self, box: Sequence[int]) -> np.ndarray:
        """Decode a part of the mask, at the cost of that part.

        Args:
            box: x0 y0 x1 y1 within the mask; x1 and y1 outside the part.

        Returns:
            `(y1 - y0, x1 - x0)` boolean.
        """
        x0, y0, x1, y1 = box
        starts, ends = self.runs()
        near = slice(np.searchsorted(ends, x0 * self.height, "right"), np.searchsorted(starts, x1 * self.height))
        starts, ends = cut_at_columns(starts[near], ends[near], self.height)
        columns = starts // self.height
        tops = np.maximum(starts - columns * self.height, y0) - y0
        bottoms = np.minimum(ends - columns * self.height, y1) - y0
        kept = (tops < bottoms) & (columns >= x0) & (columns < x1)
        # One column longer than the window, so that a run that ends at its foot has a place to end.
        changes = np.zeros((x1 - x0, y1 - y0 + 1), dtype=np.int8)
        np.add.at(changes, (columns[kept] - x0, tops[kept]), 1)
        np.add.at(changes, (columns[kept] - x0, bottoms[kept]), -1)
        return np.cumsum(changes[:, :-1], axis=1, dtype=np.int8).T.astype(bool)

    def joined(self, others: Sequence[RunLengthMask]) -> RunLengthMask:
        """The union of this mask and others of the same size."""
        starts, ends = (
            np.concatenate(bounds) for bounds in zip(*(mask.runs() for mask in (self, *others)), strict=True)
        )
        places = np.concatenate([starts, ends])
        order = np.argsort(places, kind="stable")  # starts before ends at one place: touching runs stay one
        depth = np.cumsum(np.repeat([1, -1], [len(starts), len(ends)])[order])
        begins = (depth == 1) & (np.concatenate([[0], depth[:-1]]) == 0)
        return RunLengthMask.from_runs(self.height, self.width, places[order][begins], places[order][depth == 0])

    def pasted(self, x0: int, y0: int, image_size: tuple[int, int]) -> RunLengthMask:
        """The mask of a crop, put back into its image.

        Args:
            x0: Left edge of the crop, in pixels of the photo.
            y0: Its upper edge.
            image_size: Height and width of the photo.
        """
        height, width = image_size
        if (x0, y0, self.height, self.width) == (0, 0, height, width):
            return self
        if x0 < 0 or y0 < 0 or x0 + self.width > width or y0 + self.height > height:
            raise ValueError(
                f"a mask of {self.height}x{self.width} at x0={x0}, y0={y0} does not fit into image_size={image_size}"
            )
        starts, ends = self.column_runs()
        columns = starts // self.height
        shift = (columns + x0) * height + y0 - columns * self.height
        return RunLengthMask.from_runs(height, width, starts + shift, ends + shift)


def mask_boxes(masks: Sequence[RunLengthMask]) -> np.ndarray:
    """Boxes (N, 4) int64 of N masks, as `RunLengthMask.box` gives them."""
    return np.array([mask.box() for mask in masks], dtype=np.int64).reshape(-1, 4)


def cut_at_columns(starts: np.ndarray, ends: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut runs at the feet of the columns, so that each lies in one.

    Args:
        starts: `(R,)` positions counted down the columns.
        ends: `(R,)`, exclusive, each after its start.
        height: Length of a column.

    Returns:
        Starts and ends of the pieces, in order.
    """
    first_column, last_column = starts // height, (ends - 1) // height
    pieces = last_column - first_column + 1
    of_run = np.repeat(np.arange(len(starts)), pieces)
    within = np.arange(len(of_run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # 0, 1, ... within each run
    column = first_column[of_run] + within
    return np.maximum(starts[of_run], column * height), np.minimum(ends[of_run], (column + 1) * height)


def _run_bounds(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.cumsum(counts)
    ends = bounds[1::2]
    return bounds[::2][: len(ends)], ends


def _compress(counts: np.ndarray) -> bytes:
    """COCO's string: differences to the count two before (from the fourth on), 5 bits a character, low bits first."""
    numbers = counts.astype(np.int64)
    numbers[3:] -= counts[1:-2]
    # n characters hold -2**(5n-1) <= number < 2**(5n-1); counts stay below 2**34, so seven are enough.
    magnitude = np.where(numbers < 0, ~numbers, numbers)
    lengths = 1 + (magnitude[:, None] >= 1 << np.arange(4, 34, 5)).sum(1)
    of_number = np.repeat(np.arange(len(numbers)), lengths)
    place = np.arange(len(of_number)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    characters = (numbers[of_number] >> 5 * place) & 31
    characters |= (place < lengths[of_number] - 1) << 5  # bit 5: more follow
    return (characters + 48).astype(np.uint8).tobytes()


def _decompress(text: bytes) -> np.ndarray:
    characters = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    damaged = (characters < 0) | (characters > 63)
    if damaged.any() or (len(characters) and characters[-1] & 32):
        raise ValueError("counts is not a COCO run-length string: a character is out of range, or the end is missing")
    is_last = (characters & 32) == 0
    number_of = np.cumsum(is_last) - is_last
    ends = np.flatnonzero(is_last)
    lengths = np.diff(ends, prepend=-1)
    if lengths.max(initial=0) > 7:
        raise ValueError("counts is not a COCO run-length string: a number has more than seven characters")
    place = np.arange(len(characters)) - np.repeat(ends - lengths + 1, lengths)
    counts = np.zeros(len(ends), dtype=np.int64)
    np.add.at(counts, number_of, (characters & 31) << 5 * place)
    counts[(characters[ends] & 16) != 0] -= (np.int64(1) << 5 * lengths)[(characters[ends] & 16) != 0]
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts
