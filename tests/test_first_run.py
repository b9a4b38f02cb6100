import runpy

from PIL import Image

import sam_hq
from conftest import PHOTOS, REPOSITORY


def test_the_first_run_writes_the_overlay_where_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sam_hq, "EMBEDDED_CHECKPOINT", str(tmp_path / "absent"))
    script = runpy.run_path(str(REPOSITORY / "conversion_scripts" / "first_run.py"))
    assert script["first_run"](tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "expect noise" in out
    assert f"wrote    {tmp_path / 'run' / 'overlay.png'}" in out
    assert Image.open(tmp_path / "run" / "overlay.png").size == Image.open(PHOTOS / "crab.jpg").size
