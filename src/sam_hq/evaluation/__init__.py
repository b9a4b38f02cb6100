"""How good masks are: labelled data, prompts from it, and the scores of a model."""

from .evaluation_report import EvaluationReport, ObjectScore
from .scoring import BRANCHES, PROMPTS, PROTOCOLS, PromptedModel, answers, check_choices, evaluate

__all__ = [
    "BRANCHES",
    "PROMPTS",
    "PROTOCOLS",
    "EvaluationReport",
    "ObjectScore",
    "PromptedModel",
    "answers",
    "check_choices",
    "evaluate",
]
