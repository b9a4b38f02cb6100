"""The rules that hold the house up: imports point down, heavy libraries come late, one module wires transformers."""

import ast
import graphlib
import re
import shutil
import subprocess
import sys

import pytest

from sam_hq.hub.code_export import add_code
from source_imports import HEAVY, SOURCE, imports_of, modules

FORBIDDEN_NAMES = {"utils", "helpers", "common", "constants", "types", "registry"}
MODULES = modules()
PAGE = (SOURCE.parent / "docs" / "architecture.md").read_text()


def room_of(module: str) -> str:
    """The room of a module: its folder; modules that lie flat in `sam_hq` are rooms of their own."""
    package, *inner = module.split(".")
    return f"{package}.{inner[0]}" if package == "sam_hq" and inner else package


def rooms_in_order() -> list[str]:
    """Rooms from the ground up, in the order of the first column of the table on the architecture page."""
    table = PAGE.partition("## Rooms")[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    return [
        name.rstrip("/").removesuffix(".py").replace("/", ".")
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`([\w/.]+)`", row)
    ]


def our_imports(module: str) -> set[str]:
    return imports_of(MODULES[module]) & MODULES.keys() - {module}


def test_every_room_is_on_the_page():
    assert set(rooms_in_order()) == {room_of(module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    order = rooms_in_order()
    height = order.index(room_of(module))
    assert {name for name in our_imports(module) if order.index(room_of(name)) > height} == set()


def test_there_are_no_circles():
    graphlib.TopologicalSorter({module: our_imports(module) for module in MODULES}).prepare()


def test_optional_libraries_are_imported_where_they_are_used():
    for path in MODULES.values():
        assert not {name.split(".")[0] for name in imports_of(path, at_the_top_only=True)} & HEAVY, path


def test_only_registration_touches_the_models_of_transformers():
    touching = {
        path.name
        for path in MODULES.values()
        if any(name.startswith("transformers.models") for name in imports_of(path))
    }
    assert touching <= {"registration.py"}


def test_no_module_is_a_drawer():
    assert not {path.stem for path in MODULES.values()} & FORBIDDEN_NAMES


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        (["sam_hq_cli.main"], {"torch", "transformers", "sam_hq", "numpy", "PIL"}),
        (["sam_hq_onnx"], {"torch", "transformers", "sam_hq", "onnxruntime"}),
        (
            [name for name in MODULES if name.startswith(("sam_hq_numpy.", "sam_hq_onnx."))],
            {"torch", "transformers", "sam_hq"},
        ),
    ],
    ids=["the command line", "the runner", "all that does without torch"],
)
def test_what_does_without_torch_imports_nothing_of_it(imported, absent):
    code = f"""
import importlib, sys
for name in {imported}:
    module = importlib.import_module(name)
    if name == "sam_hq_cli.main":
        module.build_parser()
    if found := {absent} & set(sys.modules):
        sys.exit(f"{{name}} imports {{found}}")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(SOURCE)}
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_architecture_page_names_every_module_of_the_model():
    names = {path.name for name, path in MODULES.items() if name.startswith("sam_hq.model.")}
    assert not {name for name in names if f"`{name}`" not in PAGE}


def test_the_page_lists_the_modules_that_are_copied_to_the_hub(directory, tmp_path):
    copied = shutil.copytree(directory, tmp_path / "model")
    add_code(copied)
    table = PAGE.partition("### What is on the Hub as code")[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\S+)/` \| (.*) \|$", table, re.M)
    listed = [(room.replace("/", "."), name) for room, names in rows for name in re.findall(r"`(\w+)`", names)]
    assert sorted(name for _, name in listed) == sorted(path.stem for path in copied.glob("*.py"))
    assert {f"{room}.{name}" for room, name in listed} <= MODULES.keys()


def test_the_walks_name_functions_that_exist():
    walks = PAGE.partition("## Two walks")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. (.*?):", walks, re.M)
    names = {name for step in steps for name in re.findall(r"`([\w.]+)`", step)}
    defined = set()
    for path in MODULES.values():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            if isinstance(node, ast.ClassDef):
                methods = [inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)]
                defined |= {method for name in methods for method in (f"{node.name}.{name}", name)}
    assert len(names) >= 20
    assert names <= defined


def test_the_picture_shows_every_room():
    picture = (SOURCE.parent / "docs" / "pictures" / "rooms.svg").read_text()
    shown = set(re.findall(r'class="name"[^>]*>([^<]+)<', picture))
    folders = {room_of(module) for module, path in MODULES.items() if path.parent != SOURCE / "sam_hq"}
    assert {f"{room.rpartition('.')[2]}/" for room in folders} <= shown
    assert {name for name in shown if name.endswith(".py")} <= {path.name for path in MODULES.values()}
