"""The option --input-range: which values of images of more than 8 bits become black and white."""

from __future__ import annotations

import argparse


def add_input_range(parser: argparse.ArgumentParser) -> None:
    """Add the option.

    Args:
        parser: Of the command.
    """
    parser.add_argument(
        "--input-range",
        metavar="LOW,HIGH",
        help="values of images of more than 8 bits that become black and white, such as 0,4095, or auto for the lowest "
        "and the highest of each image (default: the whole range of the type); with a minus sign: "
        "--input-range=-1024,3071",
    )


def input_range(text: str | None) -> str | tuple[float, float] | None:
    """Read the option's value.

    Args:
        text: What was given.

    Raises:
        ValueError: If it is neither auto nor two numbers, the lower first.
    """
    from sam_hq_numpy.value_ranges import checked_input_range

    try:
        parts = text if text is None or text == "auto" else [float(part) for part in text.split(",")]
        return checked_input_range(parts)
    except ValueError as error:
        raise ValueError(f"--input-range must be auto or LOW,HIGH with LOW below HIGH, got {text!r}") from error
