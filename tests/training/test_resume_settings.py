import json

import pytest

from sam_hq.training.resume_settings import changed_settings
from sam_hq.training.run_folder import SETTINGS_FILE
from sam_hq.training.settings import TrainingSettings


def test_settings_that_a_state_does_not_name_are_no_reason_to_refuse_it(tmp_path):
    now = TrainingSettings(lora_rank=4, ema_decay=0.9).plain()
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"trainable": "hq", "ema_decay": 0.99}))
    assert "ema_decay 0.99 -> 0.9" in changed_settings(tmp_path, now)
    for name, value in (("trainable", "all"), ("lora_rank", 8), ("ema_decay", 0.0), ("encoder_learning_rate", 1e-4)):
        with pytest.raises(ValueError, match=f"its {name} is "):
            (tmp_path / SETTINGS_FILE).write_text(json.dumps({name: value}))
            changed_settings(tmp_path, now)
