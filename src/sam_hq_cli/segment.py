"""`sam-hq segment`: images and their prompts to masks, scores and overlays."""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_hq_cli.console import report
from sam_hq_cli.input_ranges import add_input_range, input_range
from sam_hq_cli.mask_files import MASK_FORMATS, coco_dataset, found_objects, mask_format, write_masks
from sam_hq_cli.model_loading import is_exported
from sam_hq_cli.picture_files import check_apart, check_picture_suffix, write_overlay
from sam_hq_cli.prompt_arguments import objects_from

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = """\
Segment the objects that boxes and points show, in pixels of the upright image (x to the right, y down).

Every --box is an object of its own. Without a box, all points together show one object. With one box, all points
belong to it. With several boxes, a point belongs to each box it lies in. Without any prompt the model is asked for one
object of its own choice. With several images the prompts hold for each of them.

Where nothing says what to write, the overlay is written to IMAGE.segmented.jpg in the current folder."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `segment`."""
    parser = subparsers.add_parser(
        "segment",
        help="segment objects in images by boxes and points",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="files, quoted patterns with * ? **, URLs, or - for standard input"
    )
    parser.add_argument(
        "--model",
        metavar="DIR_OR_ID",
        help="a SAM-HQ directory or Hub id (default: the embedded one), or a directory that `sam-hq export` wrote, "
        "which runs without torch",
    )
    repeated: dict[str, Any] = {"type": float, "action": "append", "default": []}
    parser.add_argument(
        "--box", nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="an object; also as X0,Y0,X1,Y1", **repeated
    )
    parser.add_argument("--point", nargs=2, metavar=("X", "Y"), help="a point on the object; also as X,Y", **repeated)
    parser.add_argument(
        "--negative-point", nargs=2, metavar=("X", "Y"), help="a point that is not on the object", **repeated
    )
    parser.add_argument("--multimask", action="store_true", help="three candidates per object, the best first")
    parser.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, without adding SAM's")
    parser.add_argument(
        "--device",
        help="such as cpu, cuda, cuda:1 or mps (default: the fastest there is); of an exported model cpu or cuda",
    )
    parser.add_argument("--max-pixels", type=int, help="accept images up to this size (default: Pillow's limit)")
    add_input_range(parser)
    parser.add_argument(
        "--embeddings",
        metavar="FILE_OR_DIR",
        help="embeddings of the image, or the folder of them, that `sam-hq generate --embeddings` kept",
    )
    parser.add_argument(
        "--output", metavar="OVERLAY", help="write the image with masks and prompts drawn over it; of several: a folder"
    )
    parser.add_argument(
        "--masks",
        metavar="FILE",
        help="write the masks: .png (pixel value = object number), .npz (masks, scores), .json (COCO, run lengths), "
        ".geojson or .txt (YOLO); of several images: a folder, with --masks-format",
    )
    kinds = [kind for of_suffix in MASK_FORMATS.values() for kind in of_suffix]
    parser.add_argument("--masks-format", choices=kinds, metavar="NAME", help=f"of --masks: {', '.join(kinds)}")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON per image, and write no overlay unasked"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> None:
    """Segment each image, print scores and times, write what was asked for."""
    prompts = objects_from(args.box, args.point, args.negative_point)
    stretched = input_range(args.input_range)
    if len(args.images) == 1:
        check_apart([("IMAGE", args.images[0])], [("--output", args.output), ("--masks", args.masks)])
    places = planned(args, sources(args.images))
    check_apart(
        [("IMAGE", source) for source, *_ in places],
        [
            (f"{option} of {source!r}", path)
            for source, *paths in places
            for option, path in zip(("--output", "--masks"), paths, strict=True)
        ],
    )
    exported = args.model is not None and is_exported(args.model)

    from sam_hq_numpy.photo_files import decoded_rgb

    model: Any = None
    with ExitStack() as outputs:
        files = [[_opened(outputs, path) for path in of_image] for _, *of_image in places]
        for (source, *names), (overlay_file, masks_file) in zip(places, files, strict=True):
            given = sys.stdin.buffer.read() if source == "-" else source
            pixels = decoded_rgb(given, max_pixels=args.max_pixels, input_range=stretched)
            if model is None:  # after the first image, which may be unreadable
                model = _loaded(args, exported)
                if not (prompts.boxes or prompts.points or args.quiet):
                    warning = "no --box and no --point, so the object is of the model's own choice"
                    print(f"sam-hq: warning: {warning}", file=sys.stderr)
            masks, scores, laps = model.segment(pixels, source, prompts)
            laps = {"load": model.load_seconds, **laps}
            _show(args, source, pixels, model.name, masks, scores, laps)
            if overlay_file is not None:
                write_overlay(overlay_file, pixels, masks, prompts)
            if masks_file is not None:
                kind = mask_format(str(names[1]), args.masks_format)
                write_masks(masks_file, kind, _name(source), pixels, masks, scores)
    if not args.quiet and not args.json:
        for written in (name for _, *names in places for name in names if name is not None):
            print(f"wrote    {written}")


def sources(given: Sequence[str]) -> list[str]:
    """The images behind IMAGE: files, patterns, URLs and `-`.

    Args:
        given: The values of IMAGE.

    Raises:
        ValueError: If one is missing or a folder.
    """
    from sam_hq_numpy.listing import SEGMENTED

    found: list[str] = []
    for name in given:
        if name == "-" or name.startswith(("http://", "https://", "data:")) or Path(name).is_file():
            found.append(name)
        elif Path(name).is_dir():
            raise ValueError(f"IMAGE {name!r} is a folder; name images in it, or use sam-hq generate or annotate")
        elif matches := [match for match in sorted(glob.glob(name, recursive=True)) if Path(match).is_file()]:
            found += matches
        else:
            raise ValueError(f"there is no image {name!r}")
    if len(found) > 1:  # those of an earlier call, which a pattern finds too
        found = [name for name in found if SEGMENTED not in Path(name).suffixes] or found
    return list(dict.fromkeys(found))


def planned(args: argparse.Namespace, images: Sequence[str]) -> list[tuple[str, Path | None, Path | None]]:
    """Where the overlay and the masks of each image go.

    Args:
        args: Of the command.
        images: From `sources`.

    Raises:
        ValueError: If a file cannot hold what it shall.
    """
    output, masks = args.output, args.masks
    if args.masks_format is not None and masks is None:
        raise ValueError(f"--masks-format {args.masks_format} is of --masks: name the file")
    if len(images) == 1:
        if output is not None:
            check_picture_suffix("--output", output)
        elif masks is None and not args.json:
            output = _default_overlay(images[0])
        if masks is not None:
            mask_format(masks, args.masks_format)
        return [(images[0], None if output is None else Path(output), None if masks is None else Path(masks))]
    for option, folder in (("--output", output), ("--masks", masks)):
        if folder is not None and not Path(folder).is_dir() and (Path(folder).suffix or Path(folder).exists()):
            raise ValueError(f"{option} {folder!r} must be a folder, there are {len(images)} images")
    suffix = next((end for end, kinds in MASK_FORMATS.items() if (args.masks_format or "label-map") in kinds), ".png")
    write_overlays = output is not None or (masks is None and not args.json)
    plan = []
    for image in images:
        name = Path(_default_overlay(image)).name
        stem = name.split(".segmented")[0]
        overlay_path = Path(output or ".") / name if write_overlays else None
        plan.append((image, overlay_path, None if masks is None else Path(masks) / f"{stem}{suffix}"))
    return plan


def _loaded(args: argparse.Namespace, exported: bool) -> Any:
    if exported:
        from sam_hq_cli.onnx_segment import ExportedModel

        return ExportedModel(args)
    from sam_hq_cli.torch_segment import TorchModel

    return TorchModel(args)


def _opened(outputs: ExitStack, path: Path | None) -> Path | None:
    """A file opened before the work, so that a place where nothing can be written is known at once."""
    from sam_hq_numpy.atomic_writing import new_file

    return None if path is None else outputs.enter_context(new_file(path))


def _show(
    args: argparse.Namespace,
    source: str,
    pixels: np.ndarray,
    model: str,
    masks: np.ndarray,
    scores: np.ndarray,
    laps: dict[str, float],
) -> None:
    if args.json:
        content = coco_dataset(_name(source), pixels.shape[:2], found_objects(masks, scores))
        image = {name: value for name, value in content["images"][0].items() if name != "id"}
        objects = [
            {name: value for name, value in each.items() if name not in ("id", "image_id", "category_id", "iscrowd")}
            for each in content["annotations"]
        ]
        print(json.dumps({**image, "objects": objects}))
    elif not args.quiet:
        report(source[:200], model, masks, scores, laps)


def _name(source: str) -> str:
    """What an image is called in files: the end of its path or URL."""
    if source == "-" or source.startswith("data:"):
        return "stdin" if source == "-" else "image"
    return source.partition("?")[0].rstrip("/").rpartition("/")[2] or "image"


def _default_overlay(source: str) -> str:
    from sam_hq_numpy.listing import SEGMENTED

    stem = Path(_name(source)).stem.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore")
    return f"{stem}{SEGMENTED}.jpg"
