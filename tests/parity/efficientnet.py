"""Golden features of EfficientNet-Lite, and the seeded weights they belong to. Numpy and Pillow only.

How they were made: `make_golden_efficientnet.py`.
"""

import json

import numpy as np
from PIL import Image

from .golden import FOLDER, Samples, photo_path
from .seeded_weights import matrix, seeded_array

VARIANTS = ("lite0", "lite1", "lite2")
FILE = FOLDER / "efficientnet_lite.npz"
# A size of the form 32 n + 1: TensorFlow's padding, which the package keeps to, is then the same on every side.
SIDE = 225


def load_shapes(variant: str) -> dict[str, tuple[int, ...]]:
    """Returns `{key: shape}` of the package's state dict of one variant, in its order."""
    with np.load(FILE) as file:
        return {key: tuple(shape) for key, shape in json.loads(str(file[f"{variant}_shapes"])).items()}


def seeded_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns weights that follow from their names and shapes, kernels large enough to pass the signal on."""
    return {
        key: matrix(key, shape, 0, gain=1.2) if len(shape) == 4 else seeded_array(key, shape)
        for key, shape in shapes.items()
    }


def pixel_values() -> np.ndarray:
    """Returns a part (1, 3, 225, 225) of a photo as it is, normalised."""
    pixels = np.asarray(Image.open(photo_path("lemur.png")).convert("RGB"))[60 : 60 + SIDE, 180 : 180 + SIDE]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)


def load_feature(variant: str, stride: int) -> Samples:
    """Returns the package's map (1, C, h, w) of stride 16 or 32."""
    with np.load(FILE) as file:
        name = f"{variant}_{stride}"
        shape, indices, values = (file[f"{name}_{part}"] for part in ("shape", "indices", "values"))
        return Samples(tuple(shape), indices, values, float(file[f"{name}_mean"]), float(file[f"{name}_largest"]))
