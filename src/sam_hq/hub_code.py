"""Directories that carry the code of their model, for users who have transformers but not this package.

`from_pretrained(..., trust_remote_code=True)` copies the modules beside the weights and runs them. transformers finds
them by lines of the form `from .module import name`, and takes no sub-packages.
"""

import ast
import json
from pathlib import Path
from typing import Any

from .atomic_writing import new_directory
from .configuration_sam_hq import TYPE_WITH_CODE
from .model_card import saved_model_card
from .modeling_sam_hq import SamHQModel
from .processing_sam_hq import SamHQProcessor

_CONFIG = "sam_hq_exact.SamHQExactConfig"
_MODEL = "sam_hq_exact.SamHQExactModel"
_PROCESSOR = "processing_sam_hq.SamHQProcessor"
_IMAGE_PROCESSOR = "image_processing_sam_hq.SamHQImageProcessor"


def save_with_code(
    model: SamHQModel, processor: SamHQProcessor, output_dir: str | Path, name: str, repository: str | None = None
) -> list[str]:
    """Save a model, such as one you tuned, with its processor, its code and a model card.

    Args:
        model: the model.
        processor: its processor.
        output_dir: a directory that does not exist yet, or an empty one. It appears whole or not at all.
        name: of the model, for the card.
        repository: the Hub repository that the card's snippets name.

    Returns:
        The names of the modules that are its code.

    Raises:
        OSError: if the directory cannot be written.
    """
    with new_directory(output_dir) as directory:
        model.save_pretrained(directory)
        processor.save_pretrained(directory)
        modules = add_code(directory)
        card = saved_model_card(model.config, name, repository, with_code=True)
        (directory / "README.md").write_text(card, encoding="utf-8")
    return modules


def add_code(directory: str | Path) -> list[str]:
    """Add the code of model and processor to a directory that `save_pretrained` wrote.

    Its model type becomes `sam_hq_exact`: transformers then asks for `trust_remote_code=True`, or refuses. Without the
    code (`sam_hq` installed) it loads as before.

    Args:
        directory: of a SamHQModel and its SamHQProcessor.

    Returns:
        The names of the modules that were added.

    Raises:
        OSError: if one of the two configuration files is not there.
        ValueError: if the directory holds another kind of model or processor.
    """
    directory = Path(directory)
    config, processor = _read(directory / "config.json"), _read(directory / "processor_config.json")
    found = (config.get("model_type"), processor.get("processor_class"))
    if found not in (("sam_hq", "SamHQProcessor"), (TYPE_WITH_CODE, "SamHQProcessor")):
        raise ValueError(
            f"{str(directory)!r} holds a model of type {found[0]!r} with the processor {found[1]!r}, but 'sam_hq' with "
            "'SamHQProcessor' is wanted"
        )
    config["model_type"] = TYPE_WITH_CODE
    config["architectures"] = [_MODEL.partition(".")[2]]
    # Without the last entry, `pipeline` would take the built-in model.
    config["auto_map"] = {"AutoConfig": _CONFIG, "AutoModel": _MODEL, "AutoModelForMaskGeneration": _MODEL}
    processor["auto_map"] = {"AutoProcessor": _PROCESSOR}
    processor["image_processor"]["auto_map"] = {"AutoImageProcessor": _IMAGE_PROCESSOR, "AutoProcessor": _PROCESSOR}
    modules = with_imports([name.partition(".")[0] for name in (_MODEL, _PROCESSOR, _IMAGE_PROCESSOR)])
    for name in modules:
        (directory / f"{name}.py").write_text(_source(name), encoding="utf-8")
    for path, content in ((directory / "config.json", config), (directory / "processor_config.json", processor)):
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return modules


def with_imports(modules: list[str]) -> list[str]:
    """Return modules of this package and all modules of it that these import, in alphabetical order.

    Args:
        modules: their names, without the package's.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [
                node.module
                for node in ast.walk(ast.parse(_source(name)))
                if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
            ]
    return sorted(found)


def _source(name: str) -> str:
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


__all__ = ["add_code", "save_with_code", "with_imports"]
