import os
import stat

import pytest

from sam_hq_numpy.atomic_writing import check_writable, new_directory, new_file


def test_a_file_appears_only_when_finished(tmp_path):
    target = tmp_path / "missing" / "masks.png"
    with new_file(target) as aside:
        aside.write_bytes(b"whole")
        assert aside.suffix == ".png"
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["masks.png"]
    assert os.listdir(tmp_path) == ["missing"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "masks.png"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), new_file(target) as aside:
        aside.write_bytes(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["masks.png"]


@pytest.mark.parametrize("existing", [None, "empty"])
def test_a_directory_appears_only_when_finished(tmp_path, existing):
    target = tmp_path / "a" / "model"
    if existing:
        target.mkdir(parents=True)
    with new_directory(target) as aside:
        (aside / "config.json").write_text("{}")
        assert not (target / "config.json").exists()
    assert os.listdir(target) == ["config.json"]
    made = tmp_path / "made"
    made.mkdir()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(made.stat().st_mode)


def test_a_failure_leaves_no_directory_and_no_parents(tmp_path):
    with pytest.raises(RuntimeError), new_directory(tmp_path / "a" / "b" / "model") as aside:
        (aside / "half").write_text("")
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_never_overwritten_by_a_directory(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="exists already"), new_directory(tmp_path / "model"):
        raise AssertionError("the block must not run")
    assert (tmp_path / "model" / "mine").read_text() == "keep"


@pytest.mark.parametrize("writer", [new_file, new_directory])
def test_a_place_under_a_file_is_refused_before_the_work(tmp_path, writer):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is not a directory"), writer(tmp_path / "file" / "below" / "out.png"):
        raise AssertionError("the block must not run")
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_written_is_refused_without_a_trace(tmp_path):
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "result.json")
    check_writable(tmp_path / "file")
    for path in (tmp_path, tmp_path / "file" / "result.json"):
        with pytest.raises(OSError, match="cannot write"):
            check_writable(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
