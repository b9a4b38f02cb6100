"""What our modules import, read from their sources."""

import ast
import functools
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
HEAVY = {"torchvision", "scipy", "cv2", "timm", "matplotlib", "onnx", "onnxruntime", "pycocotools", "peft"}


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of ours by its full name; a package by the name of its folder."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path, at_the_top_only: bool = False) -> set[str]:
    """Full names of all modules that a file imports, within functions and for type checkers too.

    Args:
        path: Of the file.
        at_the_top_only: Whether only what importing the file imports is meant.
    """
    tree = ast.parse(path.read_text())
    late = _late(tree) if at_the_top_only else set()
    package = path.relative_to(SOURCE).parts[:-1] if path.is_relative_to(SOURCE) else ()
    ours = modules()
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in late:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & ours.keys()
            found |= inner
            if len(inner) < len(node.names):
                found.add(base)
    return found


def _late(tree: ast.Module) -> set[ast.AST]:
    """Nodes within functions, and those that only a type checker sees."""
    blocks: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            blocks.append(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            blocks += node.body
    return {node for block in blocks for node in ast.walk(block)}
