"""The sdist and the wheel, built here and installed into an environment that sees nothing of the sources."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from conftest import PHOTOS, REPOSITORY

SOURCE = REPOSITORY / "src"
# The sources must not be found by PYTHONPATH.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    "HF_HUB_OFFLINE": "1",
}
# What is on disk but not of the package: leftovers of Python and of tools.
LEFTOVERS = {"__pycache__", "sam_hq.egg-info"}


def tracked_files() -> set[str]:
    """The files of our packages, as paths in the wheel."""
    return {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.is_file() and not LEFTOVERS & set(path.relative_to(SOURCE).parts)
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    """The Python of a new environment with the wheel, which borrows the libraries of this one but not the sources."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*install, str(built[1])], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # A folder named in a .pth file is searched, but its own .pth files, such as that of `pip install -e`, are not read.
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return python


def run(python: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_wheel_holds_every_file_of_the_packages(built):
    names = {name for name in zipfile.ZipFile(built[1]).namelist() if ".dist-info/" not in name}
    assert names == tracked_files()
    assert {"sam_hq/py.typed", "sam_hq_cli/py.typed", "sam_hq/hub/model_card_template.md"} <= names


def test_the_sdist_holds_what_the_wheel_is_made_from(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in tracked_files()} <= names
    assert {"README.md", "LICENSE", "pyproject.toml", "setup.py"} <= names


def test_what_is_installed_runs(environment, tmp_path):
    where = run(environment, tmp_path, "-c", "import sam_hq; print(sam_hq.__file__, sam_hq.__version__)")
    assert where.returncode == 0, where.stderr
    place, version = where.stdout.split()
    assert Path(place).is_relative_to(environment.parent.parent)
    command = environment.parent / "sam-hq"
    assert run(command, tmp_path, "--version").stdout == f"sam-hq {version}\n"


def test_a_model_is_converted_and_used_without_the_sources(environment, tmp_path):
    import torch

    from authors_weights import small_authors_weights

    torch.save(small_authors_weights(), tmp_path / "small.pth")
    code = (
        "import sys; from sam_hq_cli.main import main; "
        "sys.exit(main(['convert', 'small.pth', 'model', '--with-code']) or "
        "main(['segment', sys.argv[1], '--model', 'model', '--output', 'overlay.png']))"
    )
    done = run(environment, tmp_path, "-c", code, PHOTOS / "scissors.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "overlay.png").is_file()
