"""Pictures with matplotlib (the extra `plot`): one function per picture."""

from .differences import plot_boundary_error, plot_comparison
from .figures import plot_automatic_masks, plot_candidates, plot_masks, plot_prompts

__all__ = [
    "plot_automatic_masks",
    "plot_boundary_error",
    "plot_candidates",
    "plot_comparison",
    "plot_masks",
    "plot_prompts",
]
