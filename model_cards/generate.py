"""Write the cards of the authors' four checkpoints from the template and the facts: `make cards`."""

from pathlib import Path

from sam_hq.checkpoint_conversion import variants
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.model_card import PUBLISHED_MODELS, model_card


def generated_cards() -> dict[str, str]:
    """Return the text of each card by its file name."""
    return {
        f"{published.checkpoint.removesuffix('.pth')}.md": model_card(
            name, SamHQConfig(vision_config=variants()[name].vision_config), published.checkpoint
        )
        for name, published in PUBLISHED_MODELS.items()
    }


if __name__ == "__main__":
    for name, text in generated_cards().items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")
        print(name)
