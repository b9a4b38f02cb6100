import hashlib
import os
import tarfile
from dataclasses import replace

import pytest

from sam_hq.demo import browser_runtime
from sam_hq.demo.browser_runtime import cache_folder, runtime_folder


@pytest.fixture
def files(monkeypatch):
    """Two short files in the place of the runtime's."""
    contents = [f"contents of {file.name}".encode() for file in browser_runtime.FILES]
    short = [
        replace(file, sha256=hashlib.sha256(content).hexdigest())
        for file, content in zip(browser_runtime.FILES, contents, strict=True)
    ]
    monkeypatch.setattr(browser_runtime, "FILES", tuple(short))
    return dict(zip([file.name for file in short], contents, strict=True))


@pytest.fixture
def npm(monkeypatch, tmp_path, files):
    """A stand-in for npm that packs them, and counts its calls; and an empty cache."""
    package = tmp_path / "package" / "dist"
    package.mkdir(parents=True)
    for name, content in files.items():
        (package / name).write_bytes(content)
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as archive:
        archive.add(tmp_path / "package", "package")
    programs = tmp_path / "programs"
    programs.mkdir()
    script = programs / "npm"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nwhile [ "$1" != --pack-destination ]; do shift; done\n'
        f'cp {tmp_path}/packed.tgz "$2/"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "calls"


def test_the_package_is_fetched_once(npm, files):
    folder = runtime_folder()
    assert folder == cache_folder()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert runtime_folder() == folder
    (call,) = npm.read_text().splitlines()
    assert call.startswith("pack onnxruntime-web@")


def test_two_processes_may_fetch_at_once(npm, files, tmp_path):
    quicker = f"mkdir -p {cache_folder()}\ncp {tmp_path}/package/dist/* {cache_folder()}/\n"
    with (tmp_path / "programs" / "npm").open("a") as script:
        script.write(quicker)
    assert {path.name: path.read_bytes() for path in runtime_folder().iterdir()} == files
    assert [path.name for path in cache_folder().parent.iterdir()] == [cache_folder().name]


def test_what_is_not_the_pinned_version_is_refused(npm, files, tmp_path, monkeypatch):
    changed = tuple(replace(file, sha256="0" * 64) for file in browser_runtime.FILES)
    monkeypatch.setattr(browser_runtime, "FILES", changed)
    with pytest.raises(ValueError, match=r"is not the file of onnxruntime-web \d"):
        runtime_folder()
    assert not cache_folder().exists()
    with pytest.raises(ValueError, match="is not the file"):
        runtime_folder(tmp_path / "package" / "dist")
    with pytest.raises(ValueError, match="there is no"):
        runtime_folder(tmp_path)


def test_a_failing_npm_is_quoted(npm, tmp_path, monkeypatch):
    (tmp_path / "programs" / "npm").write_text("#!/bin/sh\necho no such package >&2\nexit 1\n")
    with pytest.raises(OSError, match="no such package"):
        runtime_folder()
    assert not cache_folder().exists()


@pytest.mark.parametrize("kind", ["file missing", "folder", "damaged", "cut", "empty"])
def test_a_damaged_package_is_said(npm, files, tmp_path, kind):
    packed, name = tmp_path / "packed.tgz", next(iter(files))
    if kind in ("file missing", "folder"):
        (tmp_path / "package" / "dist" / name).unlink()
        if kind == "folder":
            (tmp_path / "package" / "dist" / name).mkdir()
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(tmp_path / "package", "package")
    else:
        content = packed.read_bytes()
        packed.write_bytes({"damaged": b"<html>", "cut": content[: len(content) // 2], "empty": b""}[kind])
    with pytest.raises(OSError, match=r"npm fetched no whole onnxruntime-web "):
        runtime_folder()
    assert not cache_folder().exists()


def test_an_npm_that_hangs_is_given_up(npm, tmp_path, monkeypatch):
    (tmp_path / "programs" / "npm").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(browser_runtime, "_FETCH_SECONDS", 0.2)
    with pytest.raises(OSError, match=r"could not fetch onnxruntime-web \S+ within 0.2 seconds"):
        runtime_folder()


def test_without_npm_a_folder_is_asked_for(npm, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="--runtime"):
        runtime_folder()
    assert runtime_folder(tmp_path / "package" / "dist") == tmp_path / "package" / "dist"
