"""Text to masks: boxes from a zero-shot detector of transformers, exact masks from SAM-HQ.

    python docs/examples/text_prompts.py photo.jpg "a cat" "a remote control" --overlay found.jpg

The detector is any model of the task `zero-shot-object-detection`, by name or directory.
"""

import argparse

import torch
from PIL import Image
from transformers import pipeline

import sam_hq
from sam_hq_numpy.overlays import draw_masks, draw_prompts


def segment_texts(
    photo: Image.Image,
    texts: list[str],
    detector,
    model: sam_hq.SamHQModel,
    processor: sam_hq.SamHQProcessor,
    threshold: float = 0.1,
    objects_at_once: int = 32,
) -> list[dict]:
    """Returns label, detector's score, box (x0, y0, x1, y1), mask (H, W) and predicted IoU of every object found."""
    found = detector(photo, candidate_labels=texts, threshold=threshold)
    detections = [each for each in found if each["score"] >= threshold]
    if not detections:
        return []
    # Detectors may point outside the image.
    limits = {"xmin": photo.width, "ymin": photo.height, "xmax": photo.width, "ymax": photo.height}
    boxes = [[float(min(max(found["box"][side], 0), limit)) for side, limit in limits.items()] for found in detections]
    inputs = processor(photo, input_boxes=[boxes], return_tensors="pt").to(model.device)
    results = []
    with torch.inference_mode():
        # The image is encoded once, however many objects there are; they are decoded in groups.
        image_embeddings, intermediate_embeddings = model.get_image_embeddings(inputs["pixel_values"].to(model.dtype))
        hq_features = model.get_hq_features(image_embeddings, intermediate_embeddings)
        for start in range(0, len(boxes), objects_at_once):
            outputs = model(
                image_embeddings=image_embeddings,
                hq_features=hq_features,
                input_boxes=inputs["input_boxes"][:, start : start + objects_at_once],
                multimask_output=False,
            )
            (masks,) = processor.post_process_masks(
                outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
            )
            for offset, mask in enumerate(masks[:, 0].cpu().numpy()):
                found = detections[start + offset]
                results.append(
                    {
                        "label": found["label"],
                        "score": found["score"],
                        "box": boxes[start + offset],
                        "mask": mask,
                        "predicted_iou": outputs.iou_scores[0, offset, 0].item(),
                    }
                )
    return results


def main() -> None:
    """Segments what the command line names."""
    parser = argparse.ArgumentParser(description="Segment what a text names.")
    parser.add_argument("photo")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--detector", default="IDEA-Research/grounding-dino-tiny")
    parser.add_argument("--model", default=sam_hq.EMBEDDED_CHECKPOINT)
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--overlay", help="where to write the image with the masks drawn over it")
    args = parser.parse_args()

    photo = Image.open(args.photo).convert("RGB")
    detector = pipeline("zero-shot-object-detection", model=args.detector)
    model = sam_hq.SamHQModel.from_pretrained(args.model).eval().to(detector.device)
    processor = sam_hq.SamHQProcessor.from_pretrained(args.model)
    found = segment_texts(photo, args.texts, detector, model, processor, args.threshold)
    for each in found:
        print(f"{each['label']}: {each['score']:.2f}, {each['mask'].sum()} pixels, IoU {each['predicted_iou']:.2f}")
    if args.overlay:
        picture = draw_masks(photo, [each["mask"] for each in found])
        draw_prompts(picture, [each["box"] for each in found]).save(args.overlay)


if __name__ == "__main__":
    main()
