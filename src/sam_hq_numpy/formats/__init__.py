"""Masks of an image written in the formats that other tools read: one module a format.

A new one is a module here and a name in `FORMATS`, and in `POLYGON_FORMATS` if it has outlines; `sam_hq.jobs.outputs`
writes it for folders, `sam_hq_cli.mask_files` for `sam-hq segment --masks`, and `sam_hq.demo.downloads` for the page.
"""

# What a job can write beside its COCO file, and where.
FORMATS = {
    "coco-polygons": "annotations.json holds polygons instead of run lengths",
    "yolo": "yolo/: labels, links to the images and data.yaml",
    "labelme": "labelme/*.json",
    "geojson": "geojson/*.geojson, in pixels",
    "objects": "objects/*/*.png, a black and white picture per object",
    "label-map": "masks/*.png, 16 bits, pixel value = number of the object in its image",
    "cutout": "cutouts/*.png, transparent outside the objects",
    "overlay": "overlays/*.jpg, the image with its objects drawn over it",
}
# Those that a tolerance of the outlines changes.
POLYGON_FORMATS = frozenset({"coco-polygons", "yolo", "labelme", "geojson"})
