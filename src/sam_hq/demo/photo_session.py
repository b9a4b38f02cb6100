"""What one person does with one photo: prompts, candidates, kept objects, undo, and everything found."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sam_hq_numpy.mask_candidates import MaskCandidates
from sam_hq_numpy.mask_rle import RunLengthMask

from ..generation.generator import SamHQMaskGenerator
from ..photo_embeddings import PhotoEmbeddings
from ..predictor import SamHQPredictor
from .generation_run import GenerationRun
from .model_turns import ModelTurns
from .opened_photo import OpenedPhoto
from .prompted_photo import PromptedPhoto
from .prompting import Answer, Preview, Prompts, checked_box, checked_point
from .session_history import SessionHistory
from .session_state import session_state
from .session_steps import SegmentedObject, SessionOptions, Step, plain_object_name

MOST_POINTS = 100  # of one object


class PhotoSession:
    """One embedded photo and what is segmented in it.

    All methods may be called from any thread; one at a time does its work. An action that is refused changes nothing.

    Args:
        photo: The photo.
        embeddings: Its embeddings.
        predictor: Answers prompts.
        generator: Finds everything.
        turns: Who may use the model.
    """

    def __init__(
        self,
        photo: OpenedPhoto,
        embeddings: PhotoEmbeddings,
        predictor: SamHQPredictor,
        generator: SamHQMaskGenerator,
        turns: ModelTurns,
    ) -> None:
        self.photo = photo
        self.generation: GenerationRun | None = None
        self._prompted = PromptedPhoto(photo, embeddings, predictor, turns)
        self._generator = generator
        self._lock = threading.RLock()
        self._options = SessionOptions()
        self._now = SessionHistory()
        self._preview: Preview | None = None

    @property
    def found(self) -> MaskCandidates | None:
        """What the last search found; None where none is done."""
        return None if self.generation is None else self.generation.found

    def add_point(self, x: float, y: float, label: int = 1) -> None:
        """Show the object by one point more.

        Args:
            x: In pixels of the photo.
            y: Likewise.
            label: 1 on the object, 0 not.

        Raises:
            TypeError: If a coordinate is no number.
            ValueError: If it lies outside the photo, the label is another, or there are too many points.
        """
        point = checked_point(self.photo.size, x, y, label)
        with self._lock:
            known = self._preview
            if known is not None and known.asked == (self._now.step, self._options, point):
                self._now.go_to(replace(self._now.step, prompts=known.prompts, chosen=0), known.answer)
            else:
                self._prompt(self._prompts_with(point))

    def preview_point(self, x: float, y: float, label: int = 1) -> dict[str, Any] | None:
        """The mask that `add_point` would show; nothing changes.

        Args:
            x: As in `add_point`, like the others.
            y: Likewise.
            label: Likewise.

        Returns:
            Its score, share of the photo and run lengths, as of a candidate in `state()`; None where it would have to
            wait for other work.

        Raises:
            TypeError: As `add_point`.
            ValueError: As `add_point`.
        """
        point = checked_point(self.photo.size, x, y, label)
        if not self._lock.acquire(blocking=False):
            return None
        try:
            prompts = self._prompts_with(point)
            answer = self._prompted.answer_if_free(prompts, self._options)
            if answer is None:
                return None
            self._preview = Preview((self._now.step, self._options, point), prompts, answer)
            return {"score": float(answer.scores[0]), **self._prompted.summary(answer.masks[0])}
        finally:
            self._lock.release()

    def set_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Show the object by a box, instead of an earlier one; points stay.

        Args:
            x0: A corner, in pixels of the photo.
            y0: Likewise.
            x1: The corner opposite.
            y1: Likewise.

        Raises:
            TypeError: If a coordinate is no number.
            ValueError: If it lies outside the photo, or the box is empty.
        """
        box = checked_box(self.photo.size, x0, y0, x1, y1)
        with self._lock:
            # What was found without the box is no mask of what the box shows.
            self._prompt(replace(self._now.step.prompts, box=box, previous_mask=None))

    def choose(self, candidate: int) -> None:
        """Take another candidate.

        Args:
            candidate: From 0, the best scored.

        Raises:
            ValueError: If there is none of that number.
        """
        with self._lock:
            count = len(self._now.step.candidates(self._now.answer))
            if type(candidate) is not int or not 0 <= candidate < count:
                raise ValueError(f"there are {count} candidates, got number {candidate!r}")
            self._now.show(replace(self._now.step, chosen=candidate), self._now.answer)

    def keep(self) -> None:
        """Keep the object with the mask that is shown, and start another.

        Raises:
            ValueError: If there is no mask, or no room for more.
        """
        with self._lock:
            if self._now.step.shown(self._now.answer) is None:
                raise ValueError("there is no mask to keep: click on an object first")
            self._now.go_to(self._now.step.with_shown_kept(self._now.answer), None)

    def keep_found(self, numbers: list[int] | None = None) -> None:
        """Keep masks that were found as objects; one that is kept already is not kept twice.

        Args:
            numbers: Their places among what was found, from 1; None for all.

        Raises:
            TypeError: If `numbers` is no list of whole numbers.
            ValueError: If nothing was found, there is none of a number, or no room for so many.
        """
        with self._lock:
            found = self.found
            if not found:
                raise ValueError("nothing has been found yet: press Find everything first")
            step = self._now.step.with_found(found.masks, found.scores, numbers)
            if step is not self._now.step:
                self._now.go_to(step, self._now.answer)

    def remove(self, number: int) -> None:
        """Drop a kept object.

        Args:
            number: Its number.

        Raises:
            ValueError: If there is none of that number.
        """
        with self._lock:
            self._now.go_to(self._now.step.without(number), self._now.answer)

    def rename(self, number: int, name: str) -> None:
        """Give a kept object a name, which becomes its category in the files.

        Args:
            number: Its number.
            name: The name; empty: none.

        Raises:
            TypeError: If the name is no string.
            ValueError: If there is no object of that number.
        """
        plain = plain_object_name(name)
        with self._lock:
            kept = self._now.step.object(number)
            if kept.name != plain:
                self._now.go_to(self._now.step.without(number).with_kept(replace(kept, name=plain)), self._now.answer)

    def refine(self, number: int) -> None:
        """Take a kept object up again: points refine its mask; a mask that is in work is kept before.

        Args:
            number: Its number.

        Raises:
            ValueError: If there is no object of that number, or no room to keep the one in work.
        """
        with self._lock:
            wanted = self._now.step.object(number)
            step = self._now.step.with_shown_kept(self._now.answer).without(number)
            self._now.go_to(replace(step, taken_up=wanted), None)

    def clear(self) -> None:
        """Drop the prompts of the object in work; kept objects stay, and one that was taken up is as it was."""
        with self._lock:
            step = self._now.step
            if not step.prompts.is_empty or step.taken_up is not None:
                back = Step(kept=step.kept)
                self._now.go_to(back if step.taken_up is None else back.with_kept(step.taken_up), None)

    def undo(self) -> None:
        """Take back the last action; does nothing where there is none."""
        with self._lock:
            self._now.undo(self._answer_to)

    def redo(self) -> None:
        """Do again what was taken back; does nothing where there is none."""
        with self._lock:
            self._now.redo(self._answer_to)

    def set_options(self, **changes: Any) -> None:
        """Ask the model in another way, and again at once.

        Args:
            **changes: Fields of `SessionOptions`.

        Raises:
            TypeError: If there is no such option, or it has the wrong type.
            ValueError: If it has an impossible value.
        """
        with self._lock:
            before, self._options = self._options, replace(self._options, **changes)
            try:
                answer = self._answer_to(self._now.step)
            except BaseException:
                self._options = before
                raise
            self._now.show(self._now.step, answer)

    def start_generation(self, submit: Callable[[Callable[[], None]], Any], **options: Any) -> None:
        """Start mask generation; its masks replace those found before.

        Args:
            submit: Calls a function in another thread, now or later.
            **options: See `GenerationRun`.

        Raises:
            TypeError: If there is no such option, or it has the wrong type.
            ValueError: If an option has an impossible value, or a search is running already.
        """
        with self._lock:
            if self.generation is not None and not self.generation.is_over:
                raise ValueError("the photo is being searched already")
            run = GenerationRun(
                self._generator,
                self._prompted.embeddings,
                self._prompted.turns,
                **{"hq_token_only": self._options.hq_token_only, **options},
            )
            self.generation = run
        submit(run.run)

    def close(self) -> None:
        """End the work in the background."""
        if self.generation is not None:
            self.generation.cancel()

    def objects(self) -> list[SegmentedObject]:
        """The kept objects and the one in work, in the order of their making."""
        with self._lock:
            shown = self._now.step.shown(self._now.answer)
            return [*self._now.step.kept, *([] if shown is None else [shown])]

    def mask_at(self, each: SegmentedObject, size: tuple[int, int]) -> RunLengthMask:
        """The mask of an object.

        Args:
            each: One of `objects()`.
            size: Height and width wanted, in the photo's proportions.
        """
        return self._prompted.encoded(each.mask, size)

    def state(self) -> dict[str, Any]:
        """All that a page shows, ready for JSON; masks are run lengths down the columns of the shown picture."""
        with self._lock:
            return session_state(self._prompted, self._now, self._options, self.generation)

    def _prompts_with(self, point: tuple[float, float, int]) -> Prompts:
        """The prompts and one point more; the mask that is shown is refined."""
        prompts, (x, y, label) = self._now.step.prompts, point
        if len(prompts.points) >= MOST_POINTS:
            raise ValueError(f"an object can have at most {MOST_POINTS} points")
        previous = None if self._now.step.taken_up is None else self._now.step.taken_up.mask
        if self._options.refine and self._now.answer is not None:
            previous = self._now.answer.masks[self._now.step.chosen]
        return prompts.with_point((x, y), label, previous)

    def _prompt(self, prompts: Prompts) -> None:
        answer = self._prompted.answer(prompts, self._options)
        self._now.go_to(replace(self._now.step, prompts=prompts, chosen=0), answer)

    def _answer_to(self, step: Step) -> Answer | None:
        return self._prompted.answer(step.prompts, self._options)
