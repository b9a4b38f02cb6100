"""A small model behind the demo, and photos as files."""

import io
import time

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 200, 120


def photo_file(kind: str = "PNG", size=(WIDTH, HEIGHT), seed: int = 0, **options) -> bytes:
    """A photo with coarse colours, as the bytes of a file."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file, kind, **options)
    return file.getvalue()


def search_until_stopped(generator, embeddings, options, progress):
    """In place of `SamHQMaskGenerator.candidates_from_embeddings`: finds nothing, and goes on until it is stopped."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        progress(0)
        time.sleep(0.01)
    pytest.fail("nobody stopped the search")


@pytest.fixture(scope="session")
def demo_parts():
    """A small model and its processor."""
    from conftest import small_config, small_model
    from sam_hq.hub.conversion import processor_for

    return small_model("tiny_vit"), processor_for(small_config("tiny_vit"))


@pytest.fixture
def demo_service(demo_parts):
    """A demo without a server."""
    from sam_hq.demo.demo_service import DemoService

    service = DemoService(*demo_parts)
    yield service
    service.close()


@pytest.fixture
def photo_session(demo_service):
    """A session with one photo."""
    return demo_service.store.get(demo_service.open(photo_file(), "photo.png"))
