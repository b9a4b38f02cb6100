"""The same boxes in every format that `sam-hq annotate` reads."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageOps

CATEGORIES = {1: "animal", 2: "thing", 5: "leaf"}
Boxes = Mapping[Path, Sequence[tuple[tuple[float, float, float, float], int, float]]]


def upright_size(image: Path) -> tuple[int, int]:
    """Width and height as people see the image."""
    with Image.open(image) as opened:
        return ImageOps.exif_transpose(opened).size


def write_coco(boxes: Boxes, folder: Path) -> Path:
    images, annotations = [], []
    for number, (image, objects) in enumerate(boxes.items()):
        width, height = upright_size(image)
        images.append({"id": 100 + number, "file_name": image.name, "width": width, "height": height})
        for (x0, y0, x1, y1), category, _ in objects:
            bbox = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": 1, "iscrowd": 0}
            ids = {"id": len(annotations) + 1, "image_id": 100 + number, "category_id": category}
            annotations.append({**ids, **bbox})
    categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content), encoding="utf-8-sig")
    return folder / "coco.json"


def write_detections(boxes: Boxes, folder: Path) -> Path:
    results = [
        {"image_id": image.stem, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for image, objects in boxes.items()
        for (x0, y0, x1, y1), category, score in objects
    ]
    (folder / "detections.json").write_text(json.dumps(results))
    return folder / "detections.json"


def write_yolo(boxes: Boxes, folder: Path) -> Path:
    (folder / "labels").mkdir()
    numbers = {category: number for number, category in enumerate(CATEGORIES)}
    names = "".join(f"  {numbers[category]}: {name}\n" for category, name in CATEGORIES.items())
    (folder / "data.yaml").write_text(f"train: images\nnames:\n{names}")
    for image, objects in boxes.items():
        width, height = upright_size(image)
        lines = [
            f"{numbers[category]} {(x0 + x1) / 2 / width!r} {(y0 + y1) / 2 / height!r} {(x1 - x0) / width!r} "
            f"{(y1 - y0) / height!r} {score}\n"
            for (x0, y0, x1, y1), category, score in objects
        ]
        (folder / "labels" / f"{image.stem}.txt").write_text("".join(lines))
    return folder / "data.yaml"


def write_csv(boxes: Boxes, folder: Path) -> Path:
    with (folder / "boxes.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["file_name", "xmin", "ymin", "xmax", "ymax", "class", "confidence"])
        for image, objects in boxes.items():
            writer.writerows([image.name, *box, CATEGORIES[category], score] for box, category, score in objects)
    return folder / "boxes.csv"


def write_supervision(boxes: Boxes, folder: Path) -> Path:
    records = [
        dict(zip(("x_min", "y_min", "x_max", "y_max"), map(str, box), strict=True))
        | {"class_id": str(category), "confidence": str(score), "tracker_id": "", "class_name": CATEGORIES[category]}
        | {"file_name": str(image)}
        for image, objects in boxes.items()
        for box, category, score in objects
    ]
    (folder / "sink.json").write_text(json.dumps(records))
    return folder / "sink.json"


def write_ultralytics(boxes: Boxes, folder: Path) -> Path:
    (folder / "results").mkdir()
    for image, objects in boxes.items():
        records = [
            {
                "name": CATEGORIES[category],
                "class": category,
                "confidence": score,
                "box": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
            }
            for box, category, score in objects
        ]
        (folder / "results" / f"{image.stem}.json").write_text(json.dumps(records))
    return folder / "results"


def write_labelme(boxes: Boxes, folder: Path) -> Path:
    (folder / "labelme").mkdir()
    for image, objects in boxes.items():
        shapes = [
            {"label": CATEGORIES[category], "points": [[x1, y0], [x0, y1]], "shape_type": "rectangle", "group_id": None}
            for (x0, y0, x1, y1), category, _ in objects
        ]
        content = {"version": "5.3.0", "shapes": shapes, "imagePath": f"..\\photos\\{image.name}", "imageData": None}
        (folder / "labelme" / f"{image.stem}.json").write_text(json.dumps(content))
    return folder / "labelme"


WRITERS: tuple[Callable[[Boxes, Path], Path], ...] = (
    write_coco,
    write_detections,
    write_yolo,
    write_csv,
    write_supervision,
    write_ultralytics,
    write_labelme,
)
