import numpy as np
import pytest
import torch
from PIL import Image

from exported_models import model_and_processor
from parity.client_calls import PHOTO
from parity.golden import FOLDER, photo_path
from parity.seeded_weights import seeded_state_dict
from sam_hq.export.sam_layout import SamDecoderGraph, export_sam_layout
from sam_hq.hub.conversion import convert_weights, processor_for
from sam_hq.hub.variants import infer_config
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq_cli.main import main


def test_the_decoder_answers_as_the_authors_graph():
    """Their `SamOnnxModel` on the same photo, with a point and a box."""
    weights = {name: torch.from_numpy(value) for name, value in seeded_state_dict("vit_tiny").items()}
    _, config = infer_config(weights)
    model = SamHQModel.from_pretrained(None, config=config, state_dict=convert_weights(weights, config)[0]).eval()
    photo = Image.open(photo_path(PHOTO)).convert("RGB")
    inputs = processor_for(config)(photo)
    with np.load(FOLDER / "clients_vit_tiny.npz") as golden, torch.no_grad():
        image_embeddings, early = model.get_image_embeddings(inputs["pixel_values"])
        for multimask in (False, True):
            masks, scores, low_res = SamDecoderGraph(model, multimask)(
                image_embeddings,
                torch.stack(list(early)),
                torch.tensor([[[400.0, 300.0], [200.0, 100.0], [800.0, 500.0]]]),
                torch.tensor([[1.0, 2.0, 3.0]]),
                torch.zeros(1, 1, 256, 256),
                torch.zeros(1),
                torch.tensor([float(photo.height), photo.width]),
            )
            wanted = golden[f"onnx/{multimask}/low_res"]
            np.testing.assert_allclose(low_res[..., ::8, ::8], wanted, atol=1e-4 * np.abs(wanted).max())
            np.testing.assert_allclose(scores, golden[f"onnx/{multimask}/scores"], atol=1e-4)
            areas = (masks > 0).sum((-2, -1)).numpy()
            np.testing.assert_allclose(areas, golden[f"onnx/{multimask}/areas"], rtol=2e-3)


def test_what_the_layout_cannot_be_is_refused(tmp_path, capsys):
    for words in (
        ["--layout", "segment-anything", "--dtype", "fp16"],
        ["--layout", "segment-anything", "--format", "torch-export"],
        ["--multimask"],
    ):
        assert main(["export", str(tmp_path / "graphs"), *words]) == 2
        assert "segment-anything" in capsys.readouterr().err


def test_what_the_layout_cannot_say_is_refused_before_any_work(tmp_path):
    model, processor = model_and_processor("vit")
    squashing = type(processor.image_processor)(
        **{**processor.image_processor.to_dict(), "size": {"height": 128, "width": 128}}
    )
    smaller = type(processor.image_processor)(**{**processor.image_processor.to_dict(), "size": {"longest_edge": 64}})
    for changed in (squashing, smaller):
        with pytest.raises(ValueError, match="size must be longest_edge=128, as these graphs take it, got"):
            export_sam_layout(model, changed, tmp_path / "new")
    for flags in ({"multimask_output": 1}, {"hq_token_only": "no"}):
        with pytest.raises(TypeError, match=f"{next(iter(flags))} must be True or False, got"):
            export_sam_layout(model, None, tmp_path / "new", **flags)
    assert list(tmp_path.iterdir()) == []
