"""Floors, pins and documents say the same versions, and every library that is imported is declared."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from conftest import REPOSITORY

SETTINGS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
OPTIONAL = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
FLOORS = {(canonicalize_name(one.name), Version(each.version)) for one in NEEDED + OPTIONAL for each in one.specifier}
PYTHON = PROJECT["requires-python"].removeprefix(">=")


def pinned(name: str) -> dict[str, str]:
    """The versions that a file of constraints names."""
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_the_floors_that_are_tested_are_the_declared_ones():
    tested = {(name, Version(version)) for name, version in pinned("constraints-floor.txt").items()}
    assert tested <= FLOORS
    assert {canonicalize_name(one.name) for one in NEEDED} <= {name for name, _ in tested}


def test_every_requirement_has_a_pin_that_satisfies_it():
    pins = pinned("constraints.txt")
    assert [str(one) for one in NEEDED + OPTIONAL if pins[canonicalize_name(one.name)] not in one.specifier] == []


def test_every_library_that_is_imported_is_declared():
    declared = {canonicalize_name(one.name) for one in NEEDED + OPTIONAL}
    installed = packages_distributions()
    own = {path.name for path in (REPOSITORY / "src").iterdir() if (path / "__init__.py").is_file()}
    missing = set()
    for path in (REPOSITORY / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for top in {name.split(".")[0] for name in names} - own - sys.stdlib_module_names:
                providers = {canonicalize_name(name) for name in installed.get(top, [top])}
                if not providers & declared:
                    missing.add(top)
    assert missing == {"cv2"}  # a library that is asked for by name where it is used, in no extra


def test_python_is_said_alike_everywhere():
    classifiers = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert min(classifiers, key=Version) == PYTHON
    assert SETTINGS["tool"]["ruff"]["target-version"] == f"py{PYTHON.replace('.', '')}"
    assert SETTINGS["tool"]["mypy"]["python_version"] == PYTHON


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_documents_name_the_floors(name):
    floor = {one.name: next(iter(one.specifier)).version for one in NEEDED}
    said = f"Python {PYTHON}, torch {floor['torch']} and transformers {floor['transformers']}"
    assert said in (REPOSITORY / name).read_text(encoding="utf-8")
