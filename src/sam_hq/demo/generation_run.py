"""Automatic mask generation of one photo in the background, with progress, and an end at any time."""

import logging
import threading
from typing import Any

from sam_hq_numpy.mask_candidates import MaskCandidates
from sam_hq_numpy.number_limits import check_whole

from ..generation.generator import SamHQMaskGenerator
from ..photo_embeddings import PhotoEmbeddings
from .model_turns import ModelTurns

logger = logging.getLogger(__name__)

MOST_POINTS_PER_SIDE = 64
# Few, so that a click need not wait long for the group that is being decoded.
_POINTS_PER_BATCH = 16


class _CancelledError(Exception):
    pass


class GenerationRun:
    """One search for everything in a photo.

    Args:
        generator: Finds the masks.
        embeddings: Of the photo.
        turns: Who may use the model.
        points_per_side: Points along each side of the grid.
        least_score: Predicted IoU that masks must be above; None: as suits the model.
        least_stability: Stability that masks must have; None: as suits the model.
        hq_token_only: Whether masks are the HQ token's alone.

    Attributes:
        status: "waiting", "running", "done", "cancelled" or "failed".
        points_done: Points of the grid that are decoded.
        found: The masks, once it is done.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option has an impossible value.
    """

    def __init__(
        self,
        generator: SamHQMaskGenerator,
        embeddings: PhotoEmbeddings,
        turns: ModelTurns,
        points_per_side: int = 16,
        least_score: float | None = None,
        least_stability: float | None = None,
        hq_token_only: bool = False,
    ) -> None:
        check_whole("points_per_side", points_per_side, at_least=1, at_most=MOST_POINTS_PER_SIDE)
        options: dict[str, Any] = {
            "points_per_crop": points_per_side,
            "points_per_batch": _POINTS_PER_BATCH,
            "pred_iou_thresh": least_score,
            "stability_score_thresh": least_stability,
            "hq_token_only": hq_token_only,
        }
        given = {name: value for name, value in options.items() if value is not None}
        self._options = generator.options.updated(given)
        self._generator = generator
        self._embeddings = embeddings
        self._turns = turns
        self._stop = threading.Event()
        self.status = "waiting"
        self.points_done = 0
        self.points = points_per_side**2
        self.found: MaskCandidates | None = None

    def run(self) -> None:
        """Search, in the thread that calls; a fault ends up in the log and in `status`."""
        try:
            with self._turns.long():
                self._check_stop()
                self.status = "running"
                self.found = self._generator.candidates_from_embeddings(self._embeddings, self._options, self._advance)
            self.status = "done"
        except _CancelledError:
            self.status = "cancelled"
        except Exception:
            self.status = "failed"
            logger.exception("the search for everything failed")
        finally:
            self._embeddings = None  # type: ignore[assignment]  # closing the photo frees its memory

    def cancel(self) -> None:
        """End it after the group of points that is being decoded."""
        self._stop.set()
        if self.status == "waiting":
            self.status = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.status in ("done", "cancelled", "failed")

    def state(self) -> dict[str, Any]:
        """What a page shows of it."""
        return {
            "status": self.status,
            "points_done": self.points_done,
            "points": self.points,
            "found": None if self.found is None else len(self.found),
        }

    def _advance(self, points: int) -> None:
        self.points_done += points
        self._check_stop()
        self._turns.give_way()
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _CancelledError
