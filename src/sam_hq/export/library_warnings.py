"""Other libraries' warnings about their own work, kept from the user."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_warnings(logger_name: str | None = None) -> Iterator[None]:
    """Silence warnings, and what a logger says below the level of errors, while the block runs.

    Args:
        logger_name: Of the logger; None for the root logger, for libraries that write to no logger of their own.
    """
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
