"""What the encoder's graph gives, to be kept and prompted."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class OnnxEmbeddings:
    """What the encoder makes of B photos, to be prompted any number of times.

    Attributes:
        image_embeddings: (B, C, h, w) float32.
        hq_features: (B, C / 8, 4h, 4w) float32.
        original_sizes: Height and width of each photo.
        reshaped_sizes: Height and width of each in the resized frame.
        model: Digest of the encoder's weights, by which decoders of other models refuse them.
    """

    image_embeddings: np.ndarray
    hq_features: np.ndarray
    original_sizes: list[tuple[int, int]]
    reshaped_sizes: list[tuple[int, int]]
    model: str
