"""Make the picture on the first page: images with a box, and the masks of the model that comes with the package.

    python docs/examples/readme_picture.py

Nothing is chosen or touched up: one box per image, the one mask that the model gives for it.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

import sam_hq
from sam_hq_numpy.overlays import draw_masks, draw_prompts

PHOTOS = Path(__file__).resolve().parent.parent / "photos"
OBJECTS = {
    "crab.jpg": [50, 125, 980, 485],
    "kitten.jpg": [350, 116, 680, 512],
    "moose.jpg": [126, 97, 813, 636],
}
HEIGHT = 540
GAP = 12
DPI = 150


def column(photo: Image.Image, box: list[float], model: sam_hq.SamHQModel, processor: sam_hq.SamHQProcessor):
    """The image with its box, and below it with its mask."""
    inputs = processor(photo, input_boxes=[[box]], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs, multimask_output=False)
    (masks,) = processor.post_process_masks(
        outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    print(f"score {outputs.iou_scores.item():.3f}")
    return draw_prompts(photo.copy(), [box]), draw_masks(photo, masks[:, 0].numpy())


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description="Make the picture on the first page.")
    parser.add_argument("--model", default=sam_hq.EMBEDDED_CHECKPOINT)
    parser.add_argument("--output", default=str(PHOTOS.parent / "pictures" / "readme.jpg"))
    args = parser.parse_args()
    model = sam_hq.SamHQModel.from_pretrained(args.model).eval()
    processor = sam_hq.SamHQProcessor.from_pretrained(args.model)

    columns = []
    for name, box in OBJECTS.items():
        pictures = column(Image.open(PHOTOS / name).convert("RGB"), box, model, processor)
        width = round(pictures[0].width * HEIGHT / pictures[0].height)
        columns.append([picture.resize((width, HEIGHT), Image.Resampling.LANCZOS) for picture in pictures])
    width = sum(pair[0].width for pair in columns) + GAP * (len(columns) - 1)
    sheet = Image.new("RGB", (width, 2 * HEIGHT + GAP), "white")
    left = 0
    for pair in columns:
        for row, picture in enumerate(pair):
            sheet.paste(picture, (left, row * (HEIGHT + GAP)))
        left += pair[0].width + GAP
    sheet.save(args.output, quality=85, dpi=(DPI, DPI))
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
