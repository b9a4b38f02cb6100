"""Write the model cards from the template and the facts: `make cards`.

The authors' four checkpoints have their facts in `sam_hq.hub.model_card`, the embedded one in `sam_hq_small.json`
(`sam_hq.hub.model_card.trained_model_card` says what it holds). The card of the embedded one also goes beside its
weights, with its picture.
"""

import json
import shutil
from pathlib import Path

import sam_hq
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.hub.conversion import variants
from sam_hq.hub.model_card import PUBLISHED_MODELS, model_card, trained_model_card

FACTS = Path(__file__).with_name("sam_hq_small.json")
CASES = Path(__file__).with_name("cases.jpg")  # its worst and best cases


def generated_cards() -> dict[str, str]:
    """Return the text of each card by its file name."""
    cards = {
        f"{published.checkpoint.removesuffix('.pth')}.md": model_card(
            name, SamHQConfig(vision_config=variants()[name]), published.checkpoint
        )
        for name, published in PUBLISHED_MODELS.items()
    }
    embedded = Path(sam_hq.EMBEDDED_CHECKPOINT)
    if FACTS.is_file() and embedded.is_dir():
        config = SamHQConfig.from_pretrained(embedded)
        cards["sam_hq_small.md"] = trained_model_card(config, json.loads(FACTS.read_text(encoding="utf-8")))
    return cards


def write_cards() -> None:
    """Write all cards, and say which."""
    cards = generated_cards()
    for name, text in cards.items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")
        print(name)
    if "sam_hq_small.md" in cards:
        embedded = Path(sam_hq.EMBEDDED_CHECKPOINT)
        (embedded / "README.md").write_text(cards["sam_hq_small.md"], encoding="utf-8")
        shutil.copyfile(CASES, embedded / CASES.name)


if __name__ == "__main__":
    write_cards()
