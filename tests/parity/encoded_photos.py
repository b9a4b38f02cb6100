"""Photos encoded with the seeded weights once a run, for all tests and processes: ViT-B takes many seconds for each."""

import hashlib
from pathlib import Path

import torch
from filelock import FileLock

from sam_hq.modeling_sam_hq import SamHQModel

Embeddings = tuple[torch.Tensor, list[torch.Tensor]]


class EncodedPhotos:
    """What the encoder of a variant makes of pixels.

    Args:
        model: The model, with the seeded weights of the variant.
        variant: Its name, by which the weights of the encoder are known.
        root: Where embeddings are kept.
    """

    def __init__(self, model: SamHQModel, variant: str, root: Path):
        self.encode, self.variant, self.root = model.get_image_embeddings, variant, root

    @torch.no_grad()
    def __call__(self, pixel_values: torch.Tensor) -> Embeddings:
        """As `SamHQModel.get_image_embeddings`."""
        digest = hashlib.sha256(pixel_values.contiguous().numpy().tobytes()).hexdigest()
        path = self.root / f"encoded-{self.variant}-{digest}.pt"
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                torch.save(self.encode(pixel_values), path)
        return torch.load(path)
