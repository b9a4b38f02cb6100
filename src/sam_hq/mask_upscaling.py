"""Low-resolution logits at photo size, a strip at a time, where a mask can be at all.

The fast twin of `low_res_masks_to_photo` and `stability_scores` for the CPU. Bilinear interpolation acts on rows and
columns apart, so both of its steps are one banded matrix per axis: a strip of the photograph is a product of two small
matrices. And it is a convex combination: where no logit that a pixel is made from exceeds a threshold, the pixel does
not either, so that only the box around the logits above the lowest threshold is made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .mask_rle import RunLengthMask

# Floats of a strip, so that it is still in the cache when it is held against the thresholds: 512 kB.
_STRIP_FLOATS = 128 * 1024
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
        framed = F.interpolate(torch.eye(low_res)[None], frame, mode="linear", align_corners=False)
        weights = F.interpolate(framed[..., :resized], photo, mode="linear", align_corners=False)[0]  # (n, N)
        self.weights = weights.T.contiguous()
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


@dataclass(frozen=True, eq=False)
class PhotoMask:
    """One mask at photo size.

    Attributes:
        window: `(h, w)` boolean, the part of the photograph with all of the mask in it; None for an empty mask.
        corner: x0 y0 of the window, in pixels of the photograph.
        photo_size: Height and width of the photograph.
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


class PhotoUpscaling:
    """Brings low-resolution masks to the size of one photograph.

    Args:
        low_res_size: Height and width of the logits.
        frame_size: Height and width of the part of the padded frame that they cover.
        reshaped_size: Height and width of the photograph in that frame.
        photo_size: Height and width of the photograph.
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

    def cut(self, logits: torch.Tensor, threshold: float, offset: float) -> PhotoMask:
        """Upscale one mask, cut it at a threshold, and measure its stability.

        Args:
            logits: `(h, w)` float32 on the CPU.
            threshold: The logit above which a pixel belongs to the mask.
            offset: How far the threshold is moved down and up for the stability; not negative.
        """
        lower, higher = np.float32(threshold - offset), np.float32(threshold + offset)
        rows, columns = self._reached(logits, float(lower))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return PhotoMask(None, (0, 0), self.photo_size, math.nan)
        widened = self._widened(logits[self.rows.read_by(rows)], columns)
        top = self.rows.read_by(rows).start
        inside = np.empty((rows.stop - rows.start, columns.stop - columns.start), dtype=bool)
        at_once = max(1, _STRIP_FLOATS // inside.shape[1])
        buffer, compared = torch.empty(at_once, inside.shape[1]), np.empty((at_once, inside.shape[1]), dtype=bool)
        below = above = 0
        for start in range(rows.start, rows.stop, at_once):
            strip = slice(start, min(start + at_once, rows.stop))
            count, read = strip.stop - strip.start, self.rows.read_by(strip)
            torch.mm(self.rows.weights[strip, read], widened[read.start - top : read.stop - top], out=buffer[:count])
            # numpy's comparison is an order of magnitude faster than torch's.
            pixels, result = buffer[:count].numpy(), compared[:count]
            below += np.count_nonzero(np.greater(pixels, lower, out=result))
            above += np.count_nonzero(np.greater(pixels, higher, out=result))
            np.greater(pixels, np.float32(threshold), out=inside[start - rows.start :][:count])
        # Rounded as the plain form rounds them, which holds the counts in float32.
        stability = np.float32(above) / np.float32(below) if below else np.float32(math.nan)
        return PhotoMask(inside, (columns.start, rows.start), self.photo_size, float(stability))

    def _reached(self, logits: torch.Tensor, threshold: float) -> tuple[slice, slice]:
        """Rows and columns of the photograph with every pixel that may exceed a threshold."""
        above = logits > threshold - _ROUNDING * (abs(threshold) + 1)
        rows, columns = above.any(1).nonzero(), above.any(0).nonzero()
        if not len(rows):
            return slice(0, 0), slice(0, 0)
        return self.rows.reached_by(int(rows[0]), int(rows[-1])), self.columns.reached_by(
            int(columns[0]), int(columns[-1])
        )

    def _widened(self, logits: torch.Tensor, columns: slice) -> torch.Tensor:
        """Rows of logits `(r, w)` brought to the photograph's columns: `(r, columns)`."""
        at_once = 256
        strips = (
            slice(start, min(start + at_once, columns.stop)) for start in range(columns.start, columns.stop, at_once)
        )
        reads = ((strip, self.columns.read_by(strip)) for strip in strips)
        return torch.cat([logits[:, read] @ self.columns.weights[strip, read].T for strip, read in reads], dim=1)
