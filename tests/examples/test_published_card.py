"""The snippets of the model card published on the Hub run as they stand, after `sam_hq.replace_builtin()`.

`published_model_card.md` is that card, word for word. Its photo and its checkpoint stand in a local folder here.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PHOTOS, small_config, small_model
from sam_hq.hub.conversion import processor_for

CARD = Path(__file__).parents[1].joinpath("support", "published_model_card.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", CARD, flags=re.MULTILINE | re.DOTALL)

# Stands for the network, for the display, and for a GPU where there is none.
SURROUNDINGS = """
import io, urllib.request, warnings
import matplotlib
matplotlib.use("Agg")
import requests, torch, transformers.image_utils
photo = open({photo!r}, "rb").read()
class Response:
    raw = property(lambda self: io.BytesIO(photo))
    content = photo
class Download(io.BytesIO):
    headers = {{}}
urllib.request.urlopen = lambda request, **options: Download(photo)
requests.get = lambda url, **options: Response()
if hasattr(transformers.image_utils, "httpx"):
    transformers.image_utils.httpx.get = lambda url, **options: Response()
import sam_hq
sam_hq.replace_builtin()
"""

CHECKS = """
assert type(model) is sam_hq.SamHQModel and type(processor) is sam_hq.SamHQProcessor
assert masks[0].shape == (1, 3, raw_image.height, raw_image.width)
assert scores.shape == (1, 1, 3)
assert (scores.diff(dim=-1) <= 0).all()
"""

CHECKS_OF_GENERATION = """
assert type(generator) is sam_hq.SamHQMaskGenerationPipeline
assert set(outputs) == {"masks", "scores"} and len(outputs["masks"]) == len(outputs["scores"])
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder in which the card's checkpoint name is a directory."""
    folder = tmp_path_factory.mktemp("hub")
    repository = folder / "syscv-community" / "sam-hq-vit-base"
    small_model("vit").save_pretrained(repository)
    processor_for(small_config("vit")).save_pretrained(repository)
    return folder


def test_the_card_has_the_snippets_that_are_run():
    assert [snippet.split("\n")[0] for snippet in SNIPPETS] == [
        "from PIL import Image",
        'inputs = processor(raw_image, input_boxes=input_boxes, return_tensors="pt").to("cuda")',
        "from transformers import pipeline",
        "import matplotlib.pyplot as plt",
        "import numpy as np",
    ]


def test_the_snippets_run(hub):
    """Each of the card's three examples with names of its own; what they stand on is imported once for all."""
    import torch

    examples = {
        "prompted segmentation": [*SNIPPETS[:2], CHECKS],
        "automatic mask generation": [SNIPPETS[0], *SNIPPETS[2:4], CHECKS_OF_GENERATION],
        "complete example": [*SNIPPETS[4:], CHECKS],
    }
    code = SURROUNDINGS.format(photo=str(PHOTOS / "scissors.png"))
    for name, parts in examples.items():
        example = "\n".join(parts)
        if not torch.cuda.is_available():
            example = example.replace('.to("cuda")', '.to("cpu")').replace("device=0", 'device="cpu"')
        code += f"exec(compile({example!r}, {name!r}, 'exec'), dict(globals()))\n"
    result = subprocess.run(
        [sys.executable, "-"], input=code, cwd=hub, capture_output=True, text=True, timeout=500, check=False
    )
    assert result.returncode == 0, result.stderr
