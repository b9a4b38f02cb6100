"""Pictures that a command writes."""

from __future__ import annotations

from pathlib import Path


def check_picture_suffix(option: str, path: str) -> None:
    """Refuse a file whose suffix names no format of Pillow's, before the picture is made.

    Args:
        option: Such as `--output`.
        path: Its value.

    Raises:
        ValueError: If the suffix is not that of a picture.
    """
    from PIL import Image

    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    if Path(path).suffix.lower() not in known:
        raise ValueError(f"{option} {path!r} must end in a picture's suffix, such as .png or .jpg")
