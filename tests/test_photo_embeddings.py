import pytest
import torch
from safetensors.torch import save_file

from sam_hq.photo_embeddings import PhotoEmbeddings


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("not this")
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    for name in ("text", "weights"):
        with pytest.raises(ValueError, match="cannot read image embeddings"):
            PhotoEmbeddings.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(FileNotFoundError):
        PhotoEmbeddings.load(tmp_path / "missing.safetensors")
