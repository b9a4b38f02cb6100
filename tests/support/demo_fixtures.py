"""A small model behind the demo, and photos as files."""

import io
import threading

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


@pytest.fixture(scope="session")
def demo_parts():
    """A small model and its processor."""
    from conftest import small_config, small_model
    from sam_hq.hub.conversion import processor_for

    return small_model("tiny_vit"), processor_for(small_config("tiny_vit"))


@pytest.fixture
def search_gate(monkeypatch):
    """An event; until it is set, searches stand before their first points: clicks are answered, and Stop works."""
    from sam_hq.generation.generator import SamHQMaskGenerator

    gate, search = threading.Event(), SamHQMaskGenerator.candidates_from_embeddings

    def held(generator, embeddings, options, advance):
        while not gate.wait(0.01):
            advance(0)
        return search(generator, embeddings, options, advance)

    monkeypatch.setattr(SamHQMaskGenerator, "candidates_from_embeddings", held)
    yield gate
    gate.set()


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
