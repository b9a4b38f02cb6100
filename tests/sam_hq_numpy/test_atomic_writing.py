import os
import shutil
import signal
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from killable_processes import killable
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


def write_directory_until_killed(target):
    with new_directory(target) as aside:
        (aside / "half.onnx").write_bytes(b"half")
        time.sleep(600)


def write_file_until_killed(target):
    with new_file(target) as aside:
        (aside.parent / "new").write_bytes(b"half")
        (aside.parent / "new").replace(aside)  # as safetensors writes
        time.sleep(600)


def wait_for(folder, wanted):
    until = time.monotonic() + 60
    while True:
        for above, _, names in os.walk(folder):
            for path in (Path(above, name) for name in names):
                with suppress(FileNotFoundError):  # removed meanwhile
                    if wanted(path):
                        return path
        assert time.monotonic() < until
        time.sleep(0.01)


def test_files_of_folders_with_many_are_written_without_listing_them(tmp_path):
    left = tmp_path / ".record.json.0123456789ab.partial" / "record.json"
    left.parent.mkdir()
    left.touch()
    with new_file(tmp_path / "record.json", keep_leftovers=True):
        pass
    assert left.is_file()
    with new_file(tmp_path / "record.json"):
        pass
    assert os.listdir(tmp_path) == ["record.json"]


@pytest.mark.parametrize("place", ["model.pth", "a/b/model.pth"])
@pytest.mark.parametrize(
    ("write", "writer", "half"),
    [(write_directory_until_killed, new_directory, "half.onnx"), (write_file_until_killed, new_file, "model.pth")],
)
def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path, write, writer, half, place):
    target, top = tmp_path / place, place.split("/")[0]

    def written_half():
        return wait_for(tmp_path, lambda path: path.name == half and path.read_bytes() == b"half")

    def write_whole():
        with writer(target) as aside:
            (aside / "whole" if writer is new_directory else aside).write_bytes(b"whole")
        assert (target / "whole" if writer is new_directory else target).read_bytes() == b"whole"

    killed, alive = (killable(write, target) for _ in range(2))
    killed.start()
    left = written_half()
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert left.is_file()
    alive.start()
    try:
        while (written := written_half()) == left:  # not removed yet
            time.sleep(0.01)
        write_whole()
        assert written.read_bytes() == b"half"
    finally:
        os.kill(alive.pid, signal.SIGKILL)
        alive.join()
    (shutil.rmtree if (tmp_path / top).is_dir() else os.unlink)(tmp_path / top)
    write_whole()
    assert os.listdir(tmp_path) == [top]
    assert os.listdir(target.parent) == ["model.pth"]


def test_only_what_was_left_of_the_same_directory_is_removed(tmp_path):
    other = tmp_path / ".models.0123456789ab.partial"
    names = {".model.0123456789ab.partial.old", ".model.0123.partial", "model.0123456789ab.partial", other.name}
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    linked = tmp_path / ".model.aaaaaaaaaaaa.partial"
    linked.symlink_to(other)
    file = tmp_path / ".model.bbbbbbbbbbbb.partial"
    file.touch()
    young, old, full = (tmp_path / f".model.{letter * 12}.partial" for letter in "cde")
    for directory in (young, old, full):
        directory.mkdir()
    (full / "half").touch()
    os.utime(old, (0, 0))
    with new_directory(tmp_path / "model"):
        pass
    assert set(os.listdir(tmp_path)) == names | {linked.name, file.name, young.name, "model"}
    assert (other / "mine").is_file()


def test_threads_of_one_process_leave_each_other_s_directories(tmp_path):
    begun, done = threading.Event(), threading.Event()

    def write():
        with new_directory(tmp_path / "model") as aside:
            (aside / "first").touch()
            begun.set()
            done.wait(60)
            (aside / "second").touch()

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(60)
    with pytest.raises(RuntimeError), new_directory(tmp_path / "model"):
        raise RuntimeError
    done.set()
    thread.join()
    assert sorted(os.listdir(tmp_path / "model")) == ["first", "second"]


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
