"""JSON files that people or other programs wrote, refused by name where they are none."""

import json
from pathlib import Path
from typing import Any


def read_json(path: str | Path) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark; of a `.jsonl` file, the values of its lines.

    Args:
        path: The file.

    Raises:
        ValueError: It is no JSON, or not in UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        if Path(path).suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error


def read_json_object(path: str | Path) -> dict[str, Any]:
    """As `read_json`, of a file that must hold an object.

    Args:
        path: The file.

    Raises:
        ValueError: It holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} must hold an object, got {type(content).__name__}")
    return content
