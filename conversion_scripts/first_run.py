"""The first run: segment a photograph of `docs/photos` and say where the overlay is. `make run` calls it.

With the embedded checkpoint it uses that. Without one it writes seeded weights in the authors' format and converts
them, which shows every step but, since nothing was learned, gives noise for masks.
"""

import sys
from pathlib import Path

import torch

import sam_hq
from sam_hq_cli.main import main

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "docs" / "photos" / "kingfisher.png"
BOX = ("288", "56", "644", "510")
RUN = ROOT / "run"


def model_directory() -> Path:
    """Return the directory of the model to use, made first where there is none."""
    embedded = Path(sam_hq.EMBEDDED_CHECKPOINT)
    return embedded if embedded.is_dir() else seeded_model()


def seeded_model() -> Path:
    """Return a converted TinyViT whose weights are seeded random numbers."""
    print("No trained checkpoint comes with this version: the weights are random numbers, so expect noise for a mask.")
    directory = RUN / "sam-hq-vit-tiny-seeded"
    if not directory.is_dir():
        sys.path.insert(0, str(ROOT / "tests" / "parity"))
        from seeded_weights import seeded_state_dict

        RUN.mkdir(exist_ok=True)
        checkpoint = RUN / "sam_hq_vit_tiny_seeded.pth"
        torch.save({name: torch.from_numpy(array) for name, array in seeded_state_dict("vit_tiny").items()}, checkpoint)
        if main(["convert", str(checkpoint), str(directory)]):
            sys.exit(2)
    return directory


if __name__ == "__main__":
    output = RUN / "overlay.png"
    sys.exit(main(["segment", str(PHOTO), "--model", str(model_directory()), "--box", *BOX, "--output", str(output)]))
