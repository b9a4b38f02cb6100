"""What a point of mask generation costs, part by part, on one thread; or one of a call that gives three whole masks.

    python benchmarks/point_profile.py [--side 4] [--whole]

ViT-B with seeded weights on cached embeddings; the thresholds are the defaults. Prints a Markdown table of milliseconds
of CPU time for each point; only their ratios mean something on a machine that others use too.
"""

import argparse
import cProfile
import pstats
import sys
import time
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support")]

from benchmarks.bench import photo  # noqa: E402
from benchmarks.peers import load_peers  # noqa: E402
from sam_hq.generation.generator import SamHQMaskGenerator  # noqa: E402
from sam_hq.photo_embeddings import embed_images  # noqa: E402
from sam_hq_numpy.crop_grids import layer_point_grids  # noqa: E402

# Each part, and the functions in which its time is spent.
PARTS = {
    "two-way transformer": ("_begun", "_transform"),
    "transposed convolutions": ("_upscaled",),
    "HQ convolutions": ("_local_taps", "_placed"),
    "photo size, stability": ("add", "finished"),
    "run lengths": ("encoded",),
}


def main() -> None:
    """Profile one generation after a first that is not counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4, help="points along each side of the grid")
    parser.add_argument(
        "--whole", action="store_true", help="three whole masks for each point, from a call of the model"
    )
    arguments = parser.parse_args()
    side = arguments.side
    torch.set_num_threads(1)
    peers = load_peers("vit_b", builtin=False, authors=False)
    generator = SamHQMaskGenerator(peers.ours, peers.processor.image_processor, points_per_crop=side)
    embeddings = embed_images(peers.ours, peers.processor.image_processor, [photo()])[0]
    height, width = embeddings.reshaped_size
    grid = torch.from_numpy(layer_point_grids(side, 0, 1)[0]).float() * torch.tensor([width, height])

    def find() -> None:
        if not arguments.whole:
            generator.candidates_from_embeddings(embeddings, generator.options)
            return
        with torch.inference_mode():
            peers.ours(
                image_embeddings=embeddings.image_embeddings,
                hq_features=embeddings.hq_features,
                input_points=grid[None, :, None],
            )

    find()
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(find)

    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # missing from the stubs
    spent = {
        part: sum(row[3] for (file, _, name), row in stats.items() if "sam_hq" in file and name in functions)
        for part, functions in PARTS.items()
    }
    total = sum(row[2] for row in stats.values())
    print("| part | ms |\n|---|---:|")
    for part, seconds in {**spent, "the rest": total - sum(spent.values()), "together": total}.items():
        print(f"| {part} | {1e3 * seconds / side**2:.1f} |")


if __name__ == "__main__":
    main()
