"""The demo without HTTP: a model, the limits, and the sessions of all who use it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sam_hq_numpy.formats.label_maps import label_map
from sam_hq_numpy.mask_candidates import MaskCandidates

from ..generation.generator import SamHQMaskGenerator
from ..modeling_sam_hq import SamHQModel
from ..predictor import SamHQPredictor
from ..processing_sam_hq import SamHQProcessor
from .model_turns import ModelTurns
from .opened_photo import PhotoLimits, open_photo, resized_nearest, thumbnail_jpeg
from .photo_session import PhotoSession
from .session_steps import css_color
from .session_store import SessionStore


@dataclass(frozen=True, eq=False)
class ExamplePhoto:
    """An image that the page offers.

    Args:
        name: Its file name, without any folder.
        data: The file.
        thumbnail: A small JPEG.
    """

    name: str
    data: bytes
    thumbnail: bytes


class DemoService:
    """Opens images, embeds each once, and holds the sessions.

    Args:
        model: The model.
        processor: Its processor.
        model_name: What the page calls the model; never a path.
        limits: What is accepted.
        store: Holds the sessions.
        examples: Files as (name, data) that the page offers.

    Raises:
        ValueError: If an example cannot be opened.
    """

    def __init__(
        self,
        model: SamHQModel,
        processor: SamHQProcessor,
        model_name: str = "SAM-HQ",
        limits: PhotoLimits | None = None,
        store: SessionStore | None = None,
        examples: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self.limits = limits or PhotoLimits()
        self.store = SessionStore() if store is None else store  # an empty one is false
        self.model_name = model_name
        self.examples = [self._example(name, data) for name, data in examples]
        self._predictor = SamHQPredictor(model, processor)
        self._generator = SamHQMaskGenerator(model, processor.image_processor)
        self._turns = ModelTurns()
        self._searches = ThreadPoolExecutor(1, thread_name_prefix="sam-hq-generation")

    def open(self, data: bytes, name: str) -> str:
        """Embed an image and open a session with it.

        Args:
            data: The file.
            name: Its name, as the user gave it.

        Returns:
            The name of the session.

        Raises:
            ValueError: If the image is refused.
        """
        photo, pixels = open_photo(data, name, self.limits)
        with self._turns.short():
            embeddings = self._predictor.embed(pixels, max_pixels=self.limits.pixels)
        return self.store.add(PhotoSession(photo, embeddings, self._predictor, self._generator, self._turns))

    def start_generation(self, session: PhotoSession, **options: Any) -> None:
        """Start mask generation on the image of a session; one search at a time.

        Args:
            session: The session.
            **options: See `GenerationRun`.
        """
        session.start_generation(self._searches.submit, **options)

    def close(self) -> None:
        """End all sessions and the work in the background."""
        self.store.close()
        self._searches.shutdown(cancel_futures=True)

    def about(self) -> dict[str, Any]:
        """What a page needs to know before an image is opened, ready for JSON."""
        suited = self._generator.options
        return {
            "model": self.model_name,
            "upload_bytes": self.limits.upload_bytes,
            "pixels": self.limits.pixels,
            "examples": [example.name for example in self.examples],
            "least_score": suited.pred_iou_thresh,
            "least_stability": suited.stability_score_thresh,
        }

    def _example(self, name: str, data: bytes) -> ExamplePhoto:
        try:
            photo, pixels = open_photo(data, name, self.limits)
        except ValueError as error:
            raise ValueError(f"cannot offer {name!r}: {error}") from error
        return ExamplePhoto(photo.name, data, thumbnail_jpeg(Image.fromarray(pixels)))


def found_masks(session: PhotoSession) -> dict[str, Any]:
    """What is known of everything that was found, ready for JSON.

    Args:
        session: The session.

    Raises:
        ValueError: If no search is done.
    """
    found = _search_result(session)
    pixels = session.photo.size[0] * session.photo.size[1]
    return {
        "scores": found.scores.tolist(),
        "shares": [mask.area / pixels for mask in found.masks],
        "colors": [css_color(number) for number in range(1, len(found) + 1)],
    }


def found_labels(session: PhotoSession) -> np.ndarray:
    """Everything that was found as one picture at the shown size, small masks on top.

    Args:
        session: The session.

    Returns:
        `(shown height, shown width)` little-endian uint16: 0, or the position of a mask from 1.

    Raises:
        ValueError: If no search is done.
    """
    labels = label_map(_search_result(session).masks, session.photo.size)
    return resized_nearest(labels, session.photo.shown_size).astype("<u2")


def _search_result(session: PhotoSession) -> MaskCandidates:
    found = session.found  # once: a new search may begin meanwhile
    if found is None:
        raise ValueError("nothing has been searched yet")
    return found
