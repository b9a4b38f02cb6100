import pytest
import torch
from PIL import Image

from conftest import PHOTOS, small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq.images.embedding_files import PhotoEmbeddings, load_embeddings, save_embeddings


def test_prompting_from_the_file_equals_prompting_the_photograph(tmp_path):
    model, processor = small_model("vit"), processor_for(small_config("vit"))
    photo = Image.open(PHOTOS / "kitten.jpg").resize((150, 100))
    inputs = processor(photo, input_points=[[[[40, 30]], [[100, 70]]]], return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs)
        image_embeddings, intermediate_embeddings = model.get_image_embeddings(inputs["pixel_values"])
        hq_features = model.get_hq_features(image_embeddings, intermediate_embeddings)
        path = tmp_path / "new" / "kitten.safetensors"
        save_embeddings(
            path, PhotoEmbeddings(image_embeddings, hq_features, (100, 150), (85, 128), "kitten.jpg", "small")
        )
        kept = load_embeddings(path)
        outputs = model(
            image_embeddings=kept.image_embeddings,
            hq_features=kept.hq_features,
            input_points=inputs["input_points"],
            input_labels=inputs["input_labels"],
        )
    torch.testing.assert_close(outputs.pred_masks, expected.pred_masks, rtol=0, atol=1e-5)
    assert (kept.original_size, kept.reshaped_size) == ((100, 150), (85, 128))
    assert (kept.source, kept.model) == ("kitten.jpg", "small")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("not this")
    with pytest.raises(ValueError, match="cannot read image embeddings"):
        load_embeddings(tmp_path / "text.safetensors")
    with pytest.raises(FileNotFoundError):
        load_embeddings(tmp_path / "missing.safetensors")
