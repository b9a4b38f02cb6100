"""The authors' package with seeded weights. Runs in the reference environment only, see README.md."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from segment_anything_hq import SamPredictor, sam_model_registry

PHOTOS = Path(__file__).resolve().parents[2] / "docs" / "photos"


def read_photo(name: str) -> np.ndarray:
    """Returns a photo of `docs/photos` as uint8 RGB (H, W, 3)."""
    return np.array(Image.open(PHOTOS / name).convert("RGB"))


def load_reference(variant: str, state_dict: dict[str, np.ndarray]) -> SamPredictor:
    """Returns the authors' predictor of one variant with the given weights."""
    model = sam_model_registry[variant]()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state_dict.items()}, strict=True)
    # TinyViT caches its attention biases when it enters eval(), which the authors' builder calls before any weights
    # are loaded: without this its biases would be zero.
    model.train()
    model.eval()
    return SamPredictor(model)


def embed(predictor: SamPredictor, variant: str, name: str, image: np.ndarray) -> None:
    """Sets the predictor's image.

    With the environment variable PARITY_CACHE set to a folder, the encoder's output is kept there (ViT-H takes a minute
    per photo); valid as long as the encoder's weights do not change.
    """
    cache = os.environ.get("PARITY_CACHE")
    path = Path(cache or tempfile.gettempdir()) / f"{variant}-{name}-{image.shape[0]}x{image.shape[1]}.pt"
    if cache and path.exists():
        predictor.reset_image()
        predictor.features, predictor.interm_features = torch.load(path)
        predictor.original_size = image.shape[:2]
        predictor.input_size = predictor.transform.get_preprocess_shape(*image.shape[:2], 1024)
        predictor.is_image_set = True
        return
    predictor.set_image(image)
    if cache:
        torch.save((predictor.features, predictor.interm_features[:1]), path)
