"""The Hub: the authors' checkpoints converted, model cards, directories that carry their code."""
