"""The rules that hold the house up: imports point down, heavy libraries come late, one module wires transformers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
CORE = SOURCE / "sam_hq"

# Module of the core, and the modules of ours that it may import. A module that is not listed belongs to the upper
# floors: it may use all of these, and none of these may use it.
FLOORS = {
    "configuration_sam_hq": set(),
    "layers": set(),
    "outputs": set(),
    "losses": set(),
    "box_suppression": set(),
    "mask_ops": {"box_suppression", "mask_rle"},
    "mask_rle": set(),
    "prompt_labels": set(),
    "prompt_validation": {"prompt_labels"},
    "forward_validation": {"configuration_sam_hq", "losses", "prompt_validation"},
    "vision_vit": {"configuration_sam_hq", "layers", "outputs"},
    "vision_tiny_vit": {"configuration_sam_hq", "layers", "outputs"},
    "prompt_encoder": {"configuration_sam_hq", "layers", "prompt_labels"},
    "worker_threads": set(),
    "decoder_attention": {"configuration_sam_hq"},
    "two_way_transformer": {"configuration_sam_hq", "decoder_attention", "layers"},
    "mask_rendering": {"configuration_sam_hq", "layers", "mask_decoder"},
    "mask_decoder": {
        "configuration_sam_hq",
        "decoder_attention",
        "layers",
        "mask_rendering",
        "two_way_transformer",
        "worker_threads",
    },
    "vision_modeling": {
        "configuration_sam_hq",
        "forward_validation",
        "outputs",
        "prompt_encoder",
        "vision_tiny_vit",
        "vision_vit",
    },
    "modeling_sam_hq": {
        "configuration_sam_hq",
        "forward_validation",
        "losses",
        "mask_decoder",
        "outputs",
        "prompt_encoder",
        "prompt_validation",
        "vision_modeling",
    },
    "filtered_decoding": {"modeling_sam_hq"},
    "sam_hq_exact": {"configuration_sam_hq", "modeling_sam_hq"},
}
HEAVY = {"torchvision", "scipy", "cv2", "timm", "matplotlib", "onnx", "onnxruntime", "pycocotools", "peft"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "constants", "types", "registry", "predictor"}


def modules():
    return sorted(SOURCE.rglob("*.py"))


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """Nodes that only a type checker sees."""
    return {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If)
        and "TYPE_CHECKING" in ast.unparse(test.test)
        and "find_spec" not in ast.unparse(test.test)
        for child in test.body
        for node in ast.walk(child)
    }


def imports(path: Path, at_the_top_only: bool = False) -> set[str]:
    """Modules that a file imports: ours as "sam_hq.x", others by their full name."""
    tree = ast.parse(path.read_text())
    hidden = type_checking_only(tree)
    if at_the_top_only:
        hidden |= {
            node
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
        }
    package = ".".join(path.relative_to(SOURCE).with_suffix("").parts[:-1])
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            found |= {base} | ({f"{base}.{alias.name}" for alias in node.names} if node.module is None else set())
    return found


@pytest.mark.parametrize("name", FLOORS)
def test_the_core_imports_point_down(name):
    ours = {
        module.removeprefix("sam_hq.").split(".")[0]
        for module in imports(CORE / f"{name}.py")
        if module.startswith("sam_hq.")
    }
    assert ours <= FLOORS[name]


def test_the_core_is_flat_and_free_of_optional_libraries():
    """Code on the Hub cannot have sub-packages, and a plain installation has none of these libraries."""
    for name in FLOORS:
        assert not {module.split(".")[0] for module in imports(CORE / f"{name}.py")} & HEAVY, name


def test_optional_libraries_are_imported_where_they_are_used():
    for path in modules():
        assert not {module.split(".")[0] for module in imports(path, at_the_top_only=True)} & HEAVY, path


def test_only_registration_touches_the_models_of_transformers():
    touching = {
        path.name for path in modules() if any(name.startswith("transformers.models") for name in imports(path))
    }
    assert touching <= {"registration.py"}


def test_nothing_imports_the_command_line():
    for path in CORE.rglob("*.py"):
        assert not any(name.startswith("sam_hq_cli") for name in imports(path)), path


def test_no_module_is_a_drawer():
    assert not {path.stem for path in modules()} & FORBIDDEN_NAMES


def test_the_command_starts_without_torch_and_transformers():
    code = (
        "import sys, sam_hq_cli.main as main; main.build_parser(); "
        "print([name for name in ('torch', 'transformers', 'sam_hq', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE)}
    )
    assert done.stdout.strip() == "[]"


def test_the_runner_without_torch_imports_nothing_of_it():
    """Neither does anything of ours that it imports."""
    waiting, seen = [*(CORE / "onnx_runtime").glob("*.py")], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imports(path, at_the_top_only=True):
            assert name.split(".")[0] not in {"torch", "transformers", "safetensors"}, (path, name)
            module = SOURCE.joinpath(*name.split("."))
            waiting += [found for found in (module.with_suffix(".py"), module / "__init__.py") if found.is_file()]
    assert {"mask_rle", "prompt_nesting", "photo_files"} <= {path.stem for path in seen}


def test_the_architecture_page_names_every_module():
    page = (SOURCE.parent / "docs" / "architecture.md").read_text()
    modules_of_the_core = {path.name for path in CORE.glob("*.py")} - {"__init__.py"}
    assert not {name for name in modules_of_the_core if f"`{name}`" not in page}
