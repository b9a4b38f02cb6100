import re
import runpy

import pytest
import torch
from huggingface_hub import ModelCard
from transformers.pipelines import PIPELINE_REGISTRY

import sam_hq
from conftest import REPOSITORY, small_config
from sam_hq.hub.conversion import variants
from sam_hq.hub.model_card import PUBLISHED_MODELS, model_card, parameter_count, saved_model_card, trained_model_card

FACTS = {
    "title": "SAM-HQ, made for a test",
    "summary": "A model that exists in a test.",
    "made": ["Trained for 7 updates.", "On one core."],
    "data": [{"name": "clip art", "use": "objects", "images": 12, "licence": "CC0"}],
    "results": [
        {
            "dataset": 'three images: two of them "hard"',
            "prompts": "box",
            "command": "sam-hq evaluate --data three",
            "scores": {"the filled box": [0.5, 0.125], "SAM + HQ": [0.75, 0.25]},
            "model": "SAM + HQ",
        }
    ],
    "limits": ["It knows twelve pictures."],
}

GENERATED = runpy.run_path(str(REPOSITORY / "model_cards" / "generate.py"))["generated_cards"]()


def test_the_cards_in_the_repository_are_up_to_date():
    committed = {
        path.name: path.read_text(encoding="utf-8") for path in (REPOSITORY / "model_cards").glob("sam_hq_*.md")
    }
    assert committed == GENERATED


@pytest.mark.parametrize("name", GENERATED)
def test_the_front_matter_is_what_the_hub_reads(name):
    card = ModelCard(GENERATED[name], ignore_metadata_errors=False)
    named = set(re.findall(r"(?:from_pretrained\(|model=)([^,)\n]+)", card.text))
    # A published repository, a directory of the reader's, or what comes with the package: no other names.
    assert len(named) == 1
    assert named <= {f'"{model.repository}"' for model in PUBLISHED_MODELS.values()} | {"sam_hq.EMBEDDED_CHECKPOINT"}
    assert card.data.pipeline_tag in PIPELINE_REGISTRY.get_supported_tasks()
    assert "segment-anything" in card.data.tags
    assert "@inproceedings{" in card.text
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "mask-generation"
    assert card.data.library_name == "transformers"
    assert "$" not in card.text


def test_every_published_backbone_has_its_facts():
    assert set(PUBLISHED_MODELS) == set(variants())


def test_the_parameters_are_counted():
    config = small_config("vit")
    model = sam_hq.SamHQModel(config)
    assert parameter_count(config) == sum(parameter.numel() for parameter in model.parameters())
    assert f"{parameter_count(config) / 1e6:.1f} M" in model_card("custom", config, "small.pth")


def test_an_untrained_model_says_so_and_claims_nothing():
    text = model_card("vit_b", sam_hq.SamHQConfig(), "sam_vit_b.pth", plain_sam=True)
    assert "untrained" in text
    assert "noise" in text
    assert "86.3" not in text
    assert "86.3 / 78.1" in model_card("vit_b", sam_hq.SamHQConfig(), "sam_hq_vit_b.pth")


def test_the_snippets_run(tmp_path, monkeypatch):
    from PIL import Image

    from conftest import PHOTOS, small_model
    from sam_hq.hub.conversion import processor_for

    small_model("tiny_vit").save_pretrained(tmp_path / "path/to/sam-hq-vit-tiny")
    processor_for(small_config("tiny_vit")).save_pretrained(tmp_path / "path/to/sam-hq-vit-tiny")
    Image.open(PHOTOS / "scissors.png").convert("RGB").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    prompted, everything = re.findall(r"^```python\n(.*?)^```", GENERATED["sam_hq_vit_tiny.md"], re.M | re.S)
    names: dict = {}
    exec(prompted, names)  # the card's own text
    assert names["masks"][0].shape == (1, 3, 240, 320)
    assert names["masks"][0].dtype == torch.bool
    assert names["scores"].shape == (1, 1, 3)
    # The small model finds something at every point, so there are few of them here.
    exec(everything.replace("points_per_batch=64", "points_per_crop=4"), names)
    assert set(names["outputs"]) == {"masks", "scores"}


def test_a_card_that_is_pushed_names_the_repository_it_is_pushed_to():
    text = model_card("vit_b", sam_hq.SamHQConfig(), "sam_hq_vit_b.pth", repository="someone/my-sam-hq")
    assert "someone/my-sam-hq" in text
    assert "syscv-community" not in text


def test_measured_numbers_are_in_the_text_and_in_the_metadata():
    text = trained_model_card(small_config("tiny_vit"), FACTS)
    card = ModelCard(text, ignore_metadata_errors=False)
    assert card.data.model_name == FACTS["title"]
    assert [(result.metric_name, result.metric_value) for result in card.data.eval_results] == [
        ("mIoU", 0.75),
        ("mBIoU", 0.25),
    ]
    assert card.data.eval_results[0].dataset_name == 'three images: two of them "hard"; prompts: box'
    assert "| SAM + HQ | 0.750 | 0.250 |" in card.text
    for wanted in ("Trained for 7 updates.", "| clip art | objects | 12 | CC0 |", "sam-hq evaluate --data three"):
        assert wanted in card.text
    assert "from_pretrained(sam_hq.EMBEDDED_CHECKPOINT)" in card.text
    pushed = trained_model_card(small_config("tiny_vit"), FACTS, repository="someone/made-for-a-test")
    assert 'from_pretrained("someone/made-for-a-test")' in pushed
    assert "EMBEDDED_CHECKPOINT" not in pushed
    assert "HQSeg-44K" not in card.text


def test_scores_are_said_to_be_of_the_mask_they_learnt():
    of_sum = "overlap of the sum of SAM's and the HQ mask"
    assert of_sum in trained_model_card(small_config("tiny_vit"), FACTS)
    converted = GENERATED["sam_hq_vit_b.md"]
    assert "overlap of SAM's mask" in converted
    assert of_sum not in converted


@pytest.mark.parametrize("name", FACTS)
def test_a_missing_fact_is_named(name):
    facts = {key: value for key, value in FACTS.items() if key != name}
    with pytest.raises(ValueError, match=f"lack {name}"):
        trained_model_card(small_config("tiny_vit"), facts)


def test_a_model_of_which_nothing_is_known_claims_nothing():
    card = ModelCard(saved_model_card(small_config("vit"), "my-tuned", with_code=True), ignore_metadata_errors=False)
    assert "custom_code" in card.data.tags
    assert "# SAM-HQ, my-tuned" in card.text
    assert "86.3" not in card.text
    assert "HQSeg-44K" not in card.text
