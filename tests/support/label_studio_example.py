"""The Label Studio backend of docs/examples, and what Label Studio sends to it."""

import importlib.util
from types import ModuleType

from conftest import REPOSITORY

BRUSH_CONFIG = """<View><Image name="image" value="$photo"/>
<BrushLabels name="mask" toName="image"><Label value="Cat"/></BrushLabels>
<KeyPointLabels name="points" toName="image" smart="true"><Label value="Cat"/></KeyPointLabels>
<RectangleLabels name="boxes" toName="image" smart="true"><Label value="Cat"/></RectangleLabels></View>"""


def load_example() -> ModuleType:
    """The example, as a module."""
    path = REPOSITORY / "docs" / "examples" / "label_studio_backend.py"
    spec = importlib.util.spec_from_file_location("label_studio_backend", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smart_region(kind: str, size: tuple[int, int], **value) -> dict:
    """What Label Studio sends of one smart region on an image of a height and width."""
    extra = {"is_positive": value.pop("is_positive")} if "is_positive" in value else {}
    return {
        "id": "Ab12", "from_name": "points", "to_name": "image", "type": kind, "origin": "manual",
        "original_width": size[1], "original_height": size[0], "image_rotation": 0,
        "value": {**value, kind: ["Cat"]}, **extra,
    }  # fmt: skip
