import json

import pytest

from sam_hq.training.resume_settings import changed_settings
from sam_hq.training.run_folder import SETTINGS_FILE
from sam_hq.training.settings import TrainingSettings


def test_settings_that_a_state_does_not_name_are_no_reason_to_refuse_it(tmp_path):
    now = TrainingSettings(trainable="lora", lora_rank=4, ema_decay=0.9).plain()
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"trainable": "lora", "ema_decay": 0.99}))
    assert "ema_decay 0.99 -> 0.9" in changed_settings(tmp_path, now)
    for name, value in (("trainable", "all"), ("lora_rank", 8), ("ema_decay", 0.0), ("encoder_learning_rate", 1e-4)):
        with pytest.raises(ValueError, match=f"its {name} is "):
            (tmp_path / SETTINGS_FILE).write_text(json.dumps({name: value}))
            changed_settings(tmp_path, now)


@pytest.mark.parametrize(
    ("trainable", "name", "refused"),
    [
        ("lora", "lora_rank", True),
        *((trainable, "lora_rank", False) for trainable in ("hq", "decoder", "sam", "all")),
        *((trainable, "encoder_learning_rate", True) for trainable in ("sam", "all", "lora")),
        *((trainable, "encoder_learning_rate", False) for trainable in ("hq", "decoder")),
    ],
)
def test_a_setting_is_a_reason_to_refuse_only_where_it_acts(tmp_path, trainable, name, refused):
    before, now = TrainingSettings(trainable=trainable), TrainingSettings(trainable=trainable)
    setattr(now, name, 2 if name == "lora_rank" else 1e-5)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(before.plain()))
    if refused:
        with pytest.raises(ValueError, match=f"its {name} is {getattr(before, name)}, but {getattr(now, name)} is"):
            changed_settings(tmp_path, now.plain())
    else:
        assert changed_settings(tmp_path, now.plain()) == []


@pytest.mark.parametrize("rates", [(1e-3, 1e-5), (1e-5, 1e-3), (1e-3, None), (None, 1e-3)])
def test_the_rate_of_all_is_no_rate_of_the_encoder_s_own(tmp_path, rates):
    """1e-3 is what everything else trains at, so that the optimizer has one group, as without a rate."""
    before, now = (TrainingSettings(trainable="all", learning_rate=1e-3, encoder_learning_rate=rate) for rate in rates)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(before.plain()))
    if None in rates:
        assert changed_settings(tmp_path, now.plain()) == [f"encoder_learning_rate {rates[0]} -> {rates[1]}"]
    else:
        with pytest.raises(ValueError, match="its encoder_learning_rate is"):
            changed_settings(tmp_path, now.plain())
