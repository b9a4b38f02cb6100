"""Directories that carry the code of their model, for users who have transformers but not this package.

`from_pretrained(..., trust_remote_code=True)` copies the modules beside the weights and runs them. transformers finds
them by lines of the form `from .module import name`, and takes no sub-packages: imports between our rooms are written
that way here, so the names of these modules must differ without their rooms.
"""

import ast
import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path

from sam_hq_numpy.atomic_writing import new_directory, write_text
from sam_hq_numpy.json_files import read_json_object

from ..configuration_sam_hq import TYPE_WITH_CODE
from ..modeling_sam_hq import SamHQModel
from ..processing_sam_hq import SamHQProcessor
from .model_card import saved_model_card

_PACKAGES = ("sam_hq", "sam_hq_numpy")
_CODE = ("sam_hq.hub.sam_hq_exact", "sam_hq.processing_sam_hq", "sam_hq.image_processing_sam_hq")
_CONFIG = "sam_hq_exact.SamHQExactConfig"
_MODEL = "sam_hq_exact.SamHQExactModel"
_PROCESSOR = "processing_sam_hq.SamHQProcessor"
_IMAGE_PROCESSOR = "image_processing_sam_hq.SamHQImageProcessor"


def save_with_code(
    model: SamHQModel, processor: SamHQProcessor, output_dir: str | Path, name: str, repository: str | None = None
) -> list[str]:
    """Save a model, such as one you tuned, with its processor, its code and a model card.

    Args:
        model: The model.
        processor: Its processor.
        output_dir: A directory that does not exist yet, or an empty one. It appears whole or not at all.
        name: Of the model, for the card.
        repository: The Hub repository that the card's snippets name.

    Returns:
        The names of the modules that are its code.

    Raises:
        OSError: If the directory cannot be written.
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
        directory: Of a SamHQModel and its SamHQProcessor.

    Returns:
        The names of the modules that were added.

    Raises:
        OSError: If one of the two configuration files is not there.
        ValueError: If the directory holds another kind of model or processor, or a file is damaged.
    """
    files = [Path(directory) / name for name in ("config.json", "processor_config.json")]
    config, processor = map(read_json_object, files)
    found = (config.get("model_type"), processor.get("processor_class"))
    if found not in (("sam_hq", "SamHQProcessor"), (TYPE_WITH_CODE, "SamHQProcessor")):
        raise ValueError(
            f"{str(directory)!r} holds a model of type {found[0]!r} with the processor {found[1]!r}, but 'sam_hq' with "
            "'SamHQProcessor' is wanted"
        )
    if not isinstance(processor.get("image_processor"), dict):
        raise ValueError(f"{str(files[1])!r} must hold an image_processor, got the keys {sorted(processor)}")
    config["model_type"] = TYPE_WITH_CODE
    config["architectures"] = [_MODEL.partition(".")[2]]
    # Without the last entry, `pipeline` would take the built-in model.
    config["auto_map"] = {"AutoConfig": _CONFIG, "AutoModel": _MODEL, "AutoModelForMaskGeneration": _MODEL}
    processor["auto_map"] = {"AutoProcessor": _PROCESSOR}
    processor["image_processor"]["auto_map"] = {"AutoImageProcessor": _IMAGE_PROCESSOR, "AutoProcessor": _PROCESSOR}
    sources = flat_sources(_CODE)
    for name, source in sources.items():
        write_text(Path(directory) / f"{name}.py", source)
    for path, content in zip(files, (config, processor), strict=True):
        write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return sorted(sources)


def flat_sources(modules: Sequence[str]) -> dict[str, str]:
    """Return the sources of modules and of all of ours that these import, as they can lie side by side in one folder.

    Args:
        modules: Full names, such as "sam_hq.processing_sam_hq".

    Returns:
        The source of each module by its last name.

    Raises:
        ValueError: If two of them have the same last name, or one imports a package of ours rather than a module.
    """
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        name = module.rpartition(".")[2]
        if name in found:
            if found[name] != module:
                raise ValueError(f"{found[name]} and {module} cannot lie in one folder: both are called {name}.py")
            continue
        found[name] = module
        sources[name], imported = _flattened(module)
        waiting += imported
    return sources


def _flattened(module: str) -> tuple[str, list[str]]:
    """The source of a module with our imports as `from .module import name`, and the full names of what it imports."""
    path = Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise ValueError(f"{module} is a package, so code on the Hub cannot import it")
    source = path.read_text(encoding="utf-8")
    lines, imported = source.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom):
            continue
        name = importlib.util.resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
        if name.partition(".")[0] in _PACKAGES:
            imported.append(name)
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = re.sub(
                r"from \S+ import", f"from .{name.rpartition('.')[2]} import", line, count=1
            )
    return "".join(lines), imported
