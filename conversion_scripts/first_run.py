"""The first run: segment a photo of `docs/photos` and say where the overlay is. `make run` calls it.

With the embedded checkpoint it uses that. Without one it writes seeded weights in the authors' format and converts
them, which shows every step but, since nothing was learned, gives noise for masks.
"""

import sys
from pathlib import Path

import torch

import sam_hq
from sam_hq_cli.main import main

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "docs" / "photos" / "crab.jpg"
BOX = ("50", "125", "980", "485")


def first_run(folder: Path) -> int:
    """Segment the image and return the exit status.

    Args:
        folder: where the overlay goes, and the seeded model where one is needed.
    """
    embedded = Path(sam_hq.EMBEDDED_CHECKPOINT)
    model = embedded if embedded.is_dir() else seeded_model(folder)
    overlay = folder / "overlay.png"
    return main(["segment", str(PHOTO), "--model", str(model), "--box", *BOX, "--output", str(overlay)])


def seeded_model(folder: Path) -> Path:
    """Return the directory of a converted TinyViT whose weights are seeded random numbers, made where it is missing.

    Args:
        folder: where it goes, with the checkpoint in the authors' format that it is converted from.
    """
    print("No trained checkpoint comes with this version: the weights are random numbers, so expect noise for a mask.")
    directory = folder / "sam-hq-vit-tiny-seeded"
    if not directory.is_dir():
        sys.path.insert(0, str(ROOT / "tests" / "parity"))
        from seeded_weights import seeded_state_dict

        folder.mkdir(exist_ok=True)
        checkpoint = folder / "sam_hq_vit_tiny_seeded.pth"
        torch.save({name: torch.from_numpy(array) for name, array in seeded_state_dict("vit_tiny").items()}, checkpoint)
        if main(["convert", str(checkpoint), str(directory)]):
            sys.exit(2)
    return directory


if __name__ == "__main__":
    sys.exit(first_run(ROOT / "run"))
