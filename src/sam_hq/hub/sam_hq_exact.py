"""SAM-HQ under a model type of its own, for directories that carry their code with them.

transformers knows `sam_hq` as its built-in model: of a directory of that type whose code is not trusted it would load
the built-in model without a word. A directory of this type is refused. `code_export.py` writes such directories.
"""

from ..configuration_sam_hq import TYPE_WITH_CODE, SamHQConfig
from ..modeling_sam_hq import SamHQModel


class SamHQExactConfig(SamHQConfig):
    """A `SamHQConfig` of the model type `sam_hq_exact`; the arguments are the same."""

    model_type = TYPE_WITH_CODE


class SamHQExactModel(SamHQModel):
    """A `SamHQModel` whose configuration says `sam_hq_exact`.

    Args:
        config: Configuration of the model.
    """

    config: SamHQExactConfig


__all__ = ["SamHQExactConfig", "SamHQExactModel"]
