"""Where a session stands, and the steps before and after."""

from collections import deque
from collections.abc import Callable, MutableSequence
from dataclasses import replace

from .prompting import Answer
from .session_steps import Step

MOST_UNDO = 50


class SessionHistory:
    """The step that is shown with the model's answer to it, and those that undo and redo go to.

    Attributes:
        step: Where the session stands.
        answer: The model's, to the prompts of the step; None where there are none.
    """

    def __init__(self) -> None:
        self.step = Step()
        self.answer: Answer | None = None
        self._past: deque[Step] = deque(maxlen=MOST_UNDO)
        self._future: list[Step] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a step before."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether a step was taken back."""
        return bool(self._future)

    def go_to(self, step: Step, answer: Answer | None) -> None:
        """Take a new step; those that were taken back are gone.

        Args:
            step: The step.
            answer: The model's, to its prompts.
        """
        self._past.append(self.step)
        self._future.clear()
        self.step, self.answer = step, answer

    def show(self, step: Step, answer: Answer | None) -> None:
        """Show a step instead of the present one, which cannot be come back to.

        Args:
            step: The step.
            answer: The model's, to its prompts.
        """
        # Asked in another way, the model may give fewer candidates than there were.
        chosen = step.chosen if answer is not None and step.chosen < len(answer.masks) else 0
        self.step, self.answer = step if step.chosen == chosen else replace(step, chosen=chosen), answer

    def undo(self, answer_to: Callable[[Step], Answer | None]) -> None:
        """Go back one step; does nothing where there is none.

        Args:
            answer_to: Asks the model.
        """
        self._travel(self._past, self._future, answer_to)

    def redo(self, answer_to: Callable[[Step], Answer | None]) -> None:
        """Go to the step that was taken back last; does nothing where there is none.

        Args:
            answer_to: Asks the model.
        """
        self._travel(self._future, self._past, answer_to)

    def _travel(
        self, back: MutableSequence[Step], forth: MutableSequence[Step], answer_to: Callable[[Step], Answer | None]
    ) -> None:
        """Go to the last step of one list; the one that is left becomes the last of the other."""
        if back:
            answer = answer_to(back[-1])
            forth.append(self.step)
            self.show(back.pop(), answer)
