"""What a page shows of a session, ready for JSON."""

from dataclasses import asdict
from typing import Any

from .generation_run import GenerationRun
from .prompted_photo import PromptedPhoto
from .session_history import SessionHistory
from .session_steps import SessionOptions, css_color


def session_state(
    prompted: PromptedPhoto, now: SessionHistory, options: SessionOptions, generation: GenerationRun | None
) -> dict[str, Any]:
    """All that a page shows; masks are run lengths down the columns of the shown picture.

    Args:
        prompted: The photo.
        now: Where the session stands.
        options: How the model is asked.
        generation: The last search, if any.
    """
    photo, step, answer, summary = prompted.photo, now.step, now.answer, prompted.summary
    prompts = step.prompts
    return {
        "photo": {
            "name": photo.name,
            "width": photo.size[1],
            "height": photo.size[0],
            "shown_width": photo.shown_size[1],
            "shown_height": photo.shown_size[0],
        },
        "points": [[x, y, label] for (x, y), label in zip(prompts.points, prompts.labels, strict=True)],
        "box": prompts.box,
        "refined": prompts.previous_mask is not None,
        "number": step.number,
        "color": css_color(step.number),
        "taken_up": step.taken_up is not None,
        "chosen": step.chosen,
        "candidates": [{"score": score, **summary(mask)} for mask, score in step.candidates(answer)],
        "sam": None if answer is None else summary(answer.sam_mask(step.chosen)),
        "objects": [
            {
                "number": each.number,
                "color": css_color(each.number),
                "name": each.name,
                "score": each.score,
                **prompted.kept_summary(each),
            }
            for each in step.kept
        ],
        "can_undo": now.can_undo,
        "can_redo": now.can_redo,
        "options": asdict(options),
        "generation": None if generation is None else generation.state(),
    }
