"""The values that a session goes through: its objects, what undo restores, and how the model is asked."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.number_limits import check_choice
from sam_hq_numpy.overlays import object_color

from .prompting import Answer, Prompts

MOST_OBJECTS = 255  # as many as masks of 8 bits can number
CANDIDATE_CHOICES = ("auto", "three", "one")
LONGEST_OBJECT_NAME = 60


@dataclass(frozen=True, eq=False)
class SegmentedObject:
    """An object with its mask.

    Args:
        number: From 1; gives its colour and its pixel value, and stays.
        mask: `(h, w)` low-res logits, or, of one that was found, the mask at photo size.
        score: Predicted IoU.
        name: What somebody calls it; empty: nothing.
        found: The mask of the search that it began as, if any.
    """

    number: int
    mask: torch.Tensor | RunLengthMask
    score: float
    name: str = ""
    found: RunLengthMask | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """What undo restores.

    Args:
        prompts: Of the object in work.
        chosen: Which of its candidates is shown.
        kept: The kept objects, by number.
        taken_up: The object in work as it was kept before, while it is refined.
    """

    prompts: Prompts = field(default_factory=Prompts)
    chosen: int = 0
    kept: tuple[SegmentedObject, ...] = ()
    taken_up: SegmentedObject | None = None

    @property
    def free_number(self) -> int:
        """The lowest number that no object has."""
        taken = {each.number for each in (*self.kept, self.taken_up) if each is not None}
        return next(number for number in range(1, len(taken) + 2) if number not in taken)

    @property
    def number(self) -> int:
        """The number of the object in work."""
        return self.free_number if self.taken_up is None else self.taken_up.number

    def object(self, number: int) -> SegmentedObject:
        """The kept object of a number.

        Args:
            number: The number.

        Raises:
            ValueError: If there is none.
        """
        found = [each for each in self.kept if type(number) is int and each.number == number]
        if not found:
            raise ValueError(f"there is no object {str(number)[:20]!r}")
        return found[0]

    def candidates(self, answer: Answer | None) -> list[tuple[torch.Tensor | RunLengthMask, float]]:
        """Masks of the object in work that may be chosen, each with its score.

        Args:
            answer: The model's, to the prompts.
        """
        if answer is None:
            return [] if self.taken_up is None else [(self.taken_up.mask, self.taken_up.score)]
        return list(zip(answer.masks, answer.scores.tolist(), strict=True))

    def shown(self, answer: Answer | None) -> SegmentedObject | None:
        """The object in work, with the candidate that is chosen.

        Args:
            answer: The model's, to the prompts.
        """
        if answer is None:
            return self.taken_up
        mask, score = answer.masks[self.chosen].clone(), float(answer.scores[self.chosen])
        if self.taken_up is not None:
            return replace(self.taken_up, mask=mask, score=score)
        return SegmentedObject(self.number, mask, score)

    def with_shown_kept(self, answer: Answer | None) -> "Step":
        """The kept objects together with the one in work, and no other in work.

        Args:
            answer: The model's, to the prompts.

        Raises:
            ValueError: If these are too many.
        """
        shown, others = self.shown(answer), Step(kept=self.kept)
        return others if shown is None else others.with_kept(shown)

    def with_found(self, masks: Sequence[RunLengthMask], scores: Any, numbers: list[int] | None) -> "Step":
        """The same with masks of a search among the kept objects, but for those that are there already.

        Args:
            masks: All that were found.
            scores: Their predicted IoU.
            numbers: Places of those that are wanted, from 1; None for all.

        Raises:
            TypeError: If `numbers` is no list of whole numbers.
            ValueError: If there is none of a number, or no room for so many.
        """
        wanted: list[int] = list(range(1, len(masks) + 1)) if numbers is None else numbers
        if not isinstance(wanted, list) or not all(type(number) is int for number in wanted):
            raise TypeError("numbers must be a list of whole numbers")
        if any(not 1 <= number <= len(masks) for number in wanted):
            raise ValueError(f"numbers must be from 1 to {len(masks)}, of the masks that were found")
        step = self
        for number in wanted:
            mask = masks[number - 1]
            if not any(each is not None and each.found is mask for each in (*step.kept, step.taken_up)):
                added = SegmentedObject(step.free_number, mask, float(scores[number - 1]), found=mask)
                step = step.with_kept(added)
        return step

    def with_kept(self, added: SegmentedObject) -> "Step":
        """The same with one kept object more; one that is taken up needs room to come back.

        Args:
            added: The object.

        Raises:
            ValueError: If these are too many.
        """
        if len(self.kept) + (self.taken_up is not None) >= MOST_OBJECTS:
            raise ValueError(f"at most {MOST_OBJECTS} objects can be kept")
        return replace(self, kept=tuple(sorted((*self.kept, added), key=lambda each: each.number)))

    def without(self, number: int) -> "Step":
        """The same without a kept object.

        Args:
            number: Its number.

        Raises:
            ValueError: If there is none of that number.
        """
        dropped = self.object(number)
        return replace(self, kept=tuple(each for each in self.kept if each is not dropped))


@dataclass(frozen=True)
class SessionOptions:
    """How the model is asked.

    Args:
        candidates: "three", "one", or "auto" for three where the prompts are ambiguous.
        hq_token_only: Whether the mask is the HQ token's alone, not added to SAM's.
        refine: Whether a further point refines the mask that is shown, rather than starting from the prompts alone.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If `candidates` is another word.
    """

    candidates: str = "auto"
    hq_token_only: bool = False
    refine: bool = True

    def __post_init__(self) -> None:
        """Check the values, which come from a page."""
        check_choice("candidates", self.candidates, CANDIDATE_CHOICES)
        for name in ("hq_token_only", "refine"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be true or false, got {getattr(self, name)!r}")


def plain_object_name(name: str) -> str:
    """A name of an object in one line, without signs that cannot be seen.

    Args:
        name: What somebody typed.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is too long.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {str(name)[:20]!r}")
    seen = "".join(sign if unicodedata.category(sign)[0] != "C" else " " for sign in unicodedata.normalize("NFC", name))
    plain = " ".join(seen.split())
    if len(plain) > LONGEST_OBJECT_NAME:
        raise ValueError(f"a name can have at most {LONGEST_OBJECT_NAME} letters, got {len(plain)}")
    return plain


def css_color(number: int) -> str:
    """The colour of an object, as style sheets write it.

    Args:
        number: Of the object, from 1.
    """
    red, green, blue = object_color(number - 1)
    return f"#{red:02x}{green:02x}{blue:02x}"
