"""Which model a command takes."""

import shutil

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from sam_hq_cli.model_loading import model_name


class Answer:
    """What the Hub's errors want to know of an answer."""

    request, headers, status_code = None, {}, 404


@pytest.fixture
def hub(monkeypatch):
    """Lets the Hub answer with an error; returns the names it was asked for."""
    asked = []

    def answers(error):
        def model_info(self, name, **options):
            asked.append((name, options["timeout"]))
            if error is not None:
                raise error

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        return asked

    return answers


@pytest.mark.parametrize("name", ["nowhere", "runs/best", "runs/three/best", "runs/best/", "a name", "x\\y"])
@pytest.mark.parametrize(
    "error",
    [
        RepositoryNotFoundError("404", response=Answer()),
        OfflineModeIsEnabled("offline"),
        TimeoutError("slow"),
        ConnectionRefusedError("no network"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_directory_that_is_not_there_is_said_after_one_question(hub, name, error):
    asked = hub(error)
    with pytest.raises(ValueError, match="there is no such directory"):
        model_name(name)
    assert len(asked) <= 1
    assert all(seconds <= 10 for _, seconds in asked)


@pytest.mark.parametrize(
    "error", [None, GatedRepoError("403", response=Answer()), HfHubHTTPError("500", response=Answer())]
)
def test_what_the_hub_knows_or_does_not_answer_is_left_to_loading(hub, error):
    assert hub(error) == []
    assert model_name("somebody/some-model") == "somebody/some-model"


def test_a_directory_and_a_cached_model_need_no_hub(hub, directory, tmp_path, monkeypatch):
    asked = hub(TimeoutError("not to be asked"))
    cached = tmp_path / "config.json"
    cached.write_text("{}")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(cached))
    for name in (str(directory), "somebody/some-model"):
        assert model_name(name) == name
    assert asked == []


@pytest.mark.parametrize("hint", ["", r"; name '.*best'"], ids=["no model", "a training run"])
def test_a_directory_without_a_model_is_said(hub, directory, tmp_path, hint):
    asked = hub(TimeoutError("not to be asked"))
    if hint:
        shutil.copytree(directory, tmp_path / "best")
    with pytest.raises(ValueError, match=rf"model is '.*', a directory without a model \(config.json\){hint}$"):
        model_name(str(tmp_path))
    assert asked == []
