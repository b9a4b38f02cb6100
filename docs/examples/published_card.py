"""A walk through the model card that is published on the Hub: image, embeddings, cached prompt, masks, scores and
three pictures.

    pip install 'sam-hq[examples]'
    python docs/examples/published_card.py --output pictures

What the card draws with its own helper functions is one call of `sam_hq.plotting` each.
"""

import argparse
import io
from pathlib import Path

import requests
import torch
from PIL import Image

import sam_hq
from sam_hq.plotting import plot_candidates, plot_masks, plot_prompts

MODEL = "syscv-community/sam-hq-vit-base"
PHOTO = "https://raw.githubusercontent.com/SysCV/sam-hq/refs/heads/main/demo/input_imgs/example1.png"
BOX = [306, 132, 925, 893]


def fetched(url: str) -> Image.Image:
    """Returns the image at a URL."""
    response = requests.get(url, timeout=60)
    response.raise_for_status()
    return Image.open(io.BytesIO(response.content)).convert("RGB")


def walk(model_name: str, url: str, box: list[float], folder: Path) -> torch.Tensor:
    """Does all that the card does, and returns the scores (1, 1, 3); the pictures go into the folder."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model = sam_hq.SamHQModel.from_pretrained(model_name).eval().to(device)
    processor = sam_hq.SamHQProcessor.from_pretrained(model_name)
    raw_image = fetched(url)

    # The encoder looks at the image once.
    inputs = processor(raw_image, return_tensors="pt").to(device)
    with torch.no_grad():
        image_embeddings, intermediate_embeddings = model.get_image_embeddings(inputs["pixel_values"])

    # Every prompt after that needs only the embeddings.
    prompt = processor(original_sizes=inputs["original_sizes"], input_boxes=[[box]], return_tensors="pt").to(device)
    with torch.no_grad():
        outputs = model(image_embeddings=image_embeddings, intermediate_embeddings=intermediate_embeddings, **prompt)
    masks = processor.post_process_masks(outputs.pred_masks, prompt["original_sizes"], prompt["reshaped_input_sizes"])
    scores = outputs.iou_scores.cpu()
    for rank, (mask, score) in enumerate(zip(masks[0][0], scores[0, 0], strict=True), start=1):
        print(f"candidate {rank}: score {score:.3f}, {int(mask.sum())} pixels")

    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "box.png": plot_prompts(raw_image, boxes=[box]),
        "mask.png": plot_masks(raw_image, masks[0].cpu(), scores, boxes=[box]),
        "candidates.png": plot_candidates(raw_image, masks[0].cpu(), scores),
    }
    for name, figure in pictures.items():
        figure.savefig(folder / name, bbox_inches="tight")
        print(f"wrote {folder / name}")
    return scores


def main() -> None:
    """Walks with what the command line names; without options, with what the card names."""
    parser = argparse.ArgumentParser(description="A walk through the published model card.")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--photo", default=PHOTO, help="URL of the image")
    parser.add_argument("--box", nargs=4, type=float, default=BOX, metavar=("X0", "Y0", "X1", "Y1"))
    parser.add_argument("--output", type=Path, default=Path("pictures"), help="folder for the pictures")
    args = parser.parse_args()
    walk(args.model, args.photo, args.box, args.output)


if __name__ == "__main__":
    main()
