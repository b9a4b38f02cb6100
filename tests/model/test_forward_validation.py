import pytest
import torch

from conftest import small_config
from sam_hq.model.forward_validation import check_embeddings

CONFIG = small_config()
GRID, WIDTH = CONFIG.vision_config.image_embedding_size, CONFIG.vision_config.output_channels
IMAGE_EMBEDDINGS = torch.zeros(2, WIDTH, GRID, GRID)
INTERMEDIATE = [torch.zeros(2, GRID, GRID, CONFIG.vision_config.intermediate_size)]
HQ_FEATURES = torch.zeros(2, WIDTH // 8, 4 * GRID, 4 * GRID)


def test_cached_embeddings_pass_with_either_high_quality_part():
    check_embeddings(CONFIG, IMAGE_EMBEDDINGS, INTERMEDIATE)
    check_embeddings(CONFIG, IMAGE_EMBEDDINGS, None, HQ_FEATURES)


@pytest.mark.parametrize(
    ("embeddings", "error", "message"),
    [
        ((IMAGE_EMBEDDINGS, None), ValueError, "intermediate_embeddings is missing"),
        ((None, INTERMEDIATE), ValueError, "image_embeddings is missing"),
        ((IMAGE_EMBEDDINGS[0], None, HQ_FEATURES), ValueError, r"image_embeddings must have shape \(images, "),
        ((IMAGE_EMBEDDINGS[..., :3], INTERMEDIATE), ValueError, r"image_embeddings must have shape \(images, "),
        ((IMAGE_EMBEDDINGS, None, HQ_FEATURES[..., :3]), ValueError, r"hq_features must have shape \(images, "),
        ((IMAGE_EMBEDDINGS.long(), INTERMEDIATE), TypeError, "image_embeddings must hold floating point numbers"),
        ((IMAGE_EMBEDDINGS, []), TypeError, r"a list with at least one tensor, got \[\]"),
        ((IMAGE_EMBEDDINGS, INTERMEDIATE[0]), TypeError, r"a list with at least one tensor, got a tensor of shape \(2"),
        (
            (IMAGE_EMBEDDINGS, [INTERMEDIATE[0][:1]]),
            ValueError,
            r"intermediate_embeddings\[0\] is of a batch of 1, image_embeddings of a batch of 2",
        ),
        ((IMAGE_EMBEDDINGS / 0, INTERMEDIATE), ValueError, "image_embeddings must be finite"),
    ],
)
def test_bad_embeddings_are_named(embeddings, error, message):
    with pytest.raises(error, match=message):
        check_embeddings(CONFIG, *embeddings)
