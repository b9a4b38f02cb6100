"""Masks at photo size in mask generation on a CPU: low-resolution logits upscaled a strip at a time.

`low_res_masks_to_photo` and `stability_scores` streamed, for the CPU. Bilinear interpolation acts on rows and columns
apart, so both of its steps are one banded matrix per axis, which is read off `low_res_masks_to_photo` itself: a strip
of the photo is a product of two small matrices. And it is a convex combination: where no logit that a pixel is
made from exceeds a threshold, the pixel does not either, so that only the box around the logits above the lowest
threshold is made.

The rows of a mask may come one after the other. The pixels that have come bound its stability from above, so that one
that will fail is known before its last row is rendered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sam_hq_numpy.mask_rle import RunLengthMask

from ..images.mask_frames import low_res_masks_to_photo

# Floats of a strip, so that it is still in the cache when it is held against the thresholds: 512 kB.
STRIP_FLOATS = 128 * 1024
# Weights that sum to one do so up to rounding: a logit this close below a threshold, relatively, counts as above it.
_ROUNDING = 1e-5


class _Axis:
    """The interpolation along one axis, from n logits to N pixels.

    Args:
        low_res: n.
        frame: Pixels of the padded frame that the logits cover.
        resized: Pixels of it that are not padding.
        photo: N.
    """

    def __init__(self, low_res: int, frame: int, resized: int, photo: int):
        # What the plain form makes of columns in which one logit is 1.
        columns = torch.eye(low_res, dtype=torch.float32)[:, :, None]
        weights = low_res_masks_to_photo(columns, (resized, 1), (photo, 1), (frame, 1), binarize=False)[..., 0]
        self.weights = weights.T.contiguous()  # (n, N) -> (N, n)
        read = weights != 0
        self.first = read.int().argmax(0).numpy()  # ascending, as is the other
        self.after_last = low_res - read.flip(0).int().argmax(0).numpy()

    def reached_by(self, first: int, last: int) -> slice:
        """The pixels that read any of the logits from `first` to `last`."""
        start, stop = np.searchsorted(self.after_last, first, "right"), np.searchsorted(self.first, last, "right")
        return slice(int(start), int(stop))

    def read_by(self, pixels: slice) -> slice:
        """The logits that these pixels read."""
        return slice(int(self.first[pixels.start]), int(self.after_last[pixels.stop - 1]))

    def read_up_to(self, after_last: int) -> int:
        """How many pixels, the first ones, read no logit from `after_last` on."""
        return int(np.searchsorted(self.after_last, after_last, "right"))

    def first_read(self, pixel: int) -> int:
        """The first logit that this pixel and those after it read; the number of logits if there are none."""
        return int(self.first[pixel]) if pixel < len(self.first) else self.weights.shape[1]


@dataclass(frozen=True, eq=False)
class PhotoMask:
    """One mask at photo size.

    Attributes:
        window: `(h, w)` boolean, the part of the photo with all of the mask in it; None for an empty mask.
        corner: x0 y0 of the window, in pixels of the photo.
        photo_size: Height and width of the photo.
        stability: As `stability_scores` says.
    """

    window: np.ndarray | None
    corner: tuple[int, int]
    photo_size: tuple[int, int]
    stability: float

    def encoded(self) -> RunLengthMask:
        """The mask as run lengths."""
        if self.window is None:
            return RunLengthMask(*self.photo_size, np.array([math.prod(self.photo_size)]))
        return RunLengthMask.from_mask(self.window).pasted(*self.corner, self.photo_size)


class UpscalingWeights:
    """How low-resolution masks are upscaled to the size of one photo.

    Args:
        low_res_size: Height and width of the logits.
        frame_size: Height and width of the part of the padded frame that they cover.
        reshaped_size: Height and width of the photo in that frame.
        photo_size: Height and width of the photo.
    """

    def __init__(
        self,
        low_res_size: Sequence[int],
        frame_size: Sequence[int],
        reshaped_size: Sequence[int],
        photo_size: Sequence[int],
    ):
        self.photo_size = (int(photo_size[0]), int(photo_size[1]))
        self.rows, self.columns = (
            _Axis(*sizes) for sizes in zip(low_res_size, frame_size, reshaped_size, photo_size, strict=True)
        )


class StreamingUpscaler:
    """Upscales one mask to the size of its photo as its rows come, thresholds it, and measures its stability.

    Args:
        weights: Of the photo.
        threshold: The logit above which a pixel belongs to the mask.
        offset: How far the threshold is moved down and up for the stability; not negative.
    """

    def __init__(self, weights: UpscalingWeights, threshold: float, offset: float):
        self._rows, self._columns, self._photo_size = weights.rows, weights.columns, weights.photo_size
        self._threshold = np.float32(threshold)
        self._lower, self._higher = np.float32(threshold - offset), np.float32(threshold + offset)
        self._waiting: torch.Tensor | None = None  # logits that pixels still to be made read too
        self._top = 0  # the row of the first of them
        self._made = 0  # rows of the photo
        self._below = self._above = 0  # pixels above the lower, and above the higher threshold
        self._windows: list[tuple[slice, slice, np.ndarray]] = []

    def add(self, logits: torch.Tensor) -> None:
        """Take the next rows of logits, `(r, w)` float32 on the CPU, and make the pixels that read no later ones."""
        logits = logits.float()
        if self._waiting is not None:
            logits = torch.cat([self._waiting, logits])
        rows = slice(self._made, self._rows.read_up_to(self._top + len(logits)))
        with torch.autocast("cpu", enabled=False):  # the caller's is for the model
            self._make(logits, rows)
        self._made = rows.stop
        done = min(self._rows.first_read(self._made) - self._top, len(logits))  # some logits are read by no pixel
        self._waiting, self._top = logits[done:], self._top + done

    def highest_stability(self) -> float:
        """What the stability will not exceed: it is reached if all pixels to come are above both thresholds."""
        to_come = (self._photo_size[0] - self._made) * self._photo_size[1]
        below = self._below + to_come
        return (self._above + to_come) / below if below else math.nan

    def finished(self) -> PhotoMask:
        """The mask, once all of its rows have come."""
        # Rounded as the plain form rounds them, which holds the counts in float32.
        stability = float(np.float32(self._above) / np.float32(self._below)) if self._below else math.nan
        if not self._windows:
            return PhotoMask(None, (0, 0), self._photo_size, stability)
        if len(self._windows) == 1:
            rows, columns, window = self._windows[0]
            return PhotoMask(window, (columns.start, rows.start), self._photo_size, stability)
        top, bottom = self._windows[0][0].start, self._windows[-1][0].stop
        left = min(columns.start for _, columns, _ in self._windows)
        right = max(columns.stop for _, columns, _ in self._windows)
        joined = np.zeros((bottom - top, right - left), dtype=bool)
        for rows, columns, window in self._windows:
            joined[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = window
        return PhotoMask(joined, (left, top), self._photo_size, stability)

    def _make(self, logits: torch.Tensor, wanted: slice) -> None:
        """Make these rows of the photo from the logits at hand, where they can exceed the lower threshold."""
        rows, columns = self._reached(logits, wanted)
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        needed = self._rows.read_by(rows)
        top = needed.start
        widened = self._widened(logits[top - self._top : needed.stop - self._top], columns)
        inside = np.empty((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
        at_once = max(1, STRIP_FLOATS // inside.shape[1])
        buffer = torch.empty(at_once, inside.shape[1], dtype=torch.float32)
        compared = np.empty((at_once, inside.shape[1]), dtype=bool)
        for start in range(rows.start, rows.stop, at_once):
            strip = slice(start, min(start + at_once, rows.stop))
            count, read = strip.stop - strip.start, self._rows.read_by(strip)
            torch.mm(self._rows.weights[strip, read], widened[read.start - top : read.stop - top], out=buffer[:count])
            # numpy's comparison is an order of magnitude faster than torch's.
            pixels, result = buffer[:count].numpy(), compared[:count]
            self._below += int(np.count_nonzero(np.greater(pixels, self._lower, out=result)))
            self._above += int(np.count_nonzero(np.greater(pixels, self._higher, out=result)))
            np.greater(pixels, self._threshold, out=inside[start - rows.start :][:count])
        self._windows.append((rows, columns, inside))

    def _reached(self, logits: torch.Tensor, wanted: slice) -> tuple[slice, slice]:
        """Rows, of those that are wanted, and columns of the photo with every pixel that may exceed `_lower`."""
        above = logits > float(self._lower) - _ROUNDING * (abs(float(self._lower)) + 1)
        rows, columns = above.any(1).nonzero(), above.any(0).nonzero()
        if not len(rows):
            return slice(0, 0), slice(0, 0)
        reached = self._rows.reached_by(self._top + int(rows[0]), self._top + int(rows[-1]))
        return slice(max(reached.start, wanted.start), min(reached.stop, wanted.stop)), self._columns.reached_by(
            int(columns[0]), int(columns[-1])
        )

    def _widened(self, logits: torch.Tensor, columns: slice) -> torch.Tensor:
        """Rows of logits `(r, w)` upscaled to the photo's columns: `(r, columns)`."""
        at_once = 256
        strips = (
            slice(start, min(start + at_once, columns.stop)) for start in range(columns.start, columns.stop, at_once)
        )
        reads = ((strip, self._columns.read_by(strip)) for strip in strips)
        return torch.cat([logits[:, read] @ self._columns.weights[strip, read].T for strip, read in reads], dim=1)
