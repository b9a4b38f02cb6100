"""The values that a session goes through: its objects, what undo restores, and how the model is asked."""

import unicodedata
from dataclasses import dataclass, field, replace

import torch

from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.overlays import object_color

from .prompting import Prompts

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

    def with_kept(self, added: SegmentedObject) -> "Step":
        """The same with one kept object more.

        Args:
            added: The object.
        """
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
        if self.candidates not in CANDIDATE_CHOICES:
            raise ValueError(f"candidates must be one of {', '.join(CANDIDATE_CHOICES)}, got {self.candidates!r}")
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
