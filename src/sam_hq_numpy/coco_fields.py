"""Ids and flags of COCO files: numbers or texts, in many files one in one place and the other in another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_WHOLE = re.compile(r"[+-]?\d+(?:\.0+)?", re.ASCII)
_MOST_DIGITS = 100
_FLAGS = {"0": False, "0.0": False, "false": False, "": False, "1": True, "1.0": True, "true": True}


class CocoIds:
    """Finds the image that an id means: 12, 12.0, "12" and "0012" are one id as long as only one image has it.

    Args:
        ids: Of the images, in their order.

    Raises:
        ValueError: If one is no id, or two are the same id or read alike as 12 and "12" do.
    """

    def __init__(self, ids: Iterable[Any]) -> None:
        self._exact: dict[str, int] = {}
        self._alike: dict[int, list[int]] = {}
        self._ids = list(ids)
        for place, given in enumerate(self._ids):
            text = id_text(given)
            if text in self._exact:
                twin = self._ids[self._exact[text]]
                ids = f"the id {given!r}" if type(twin) is type(given) else f"the ids {twin!r} and {given!r}"
                raise ValueError(f"two of its images have {ids}")
            self._exact[text] = place
            if (whole := id_number(given)) is not None:
                self._alike.setdefault(whole, []).append(place)

    def find(self, given: Any) -> int | None:
        """The place of the image with an id, or None.

        Args:
            given: As another part of the file, or another file, writes it.

        Raises:
            ValueError: If it is no id, or may mean several images.
        """
        text = id_text(given)
        if text in self._exact:
            return self._exact[text]
        whole = id_number(given)
        places = [] if whole is None else self._alike.get(whole, [])
        if len(places) > 1:
            first, second = (self._ids[place] for place in places[:2])
            raise ValueError(f"the image_id {given!r} may be the image with the id {first!r} or {second!r}")
        return places[0] if places else None


def id_text(given: Any) -> str:
    """An id as text, alike for 12, 12.0 and "12".

    Args:
        given: What the file holds.

    Raises:
        ValueError: If it is no id: a whole number or a text.
    """
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | str) or not str(given).strip():
        raise ValueError(f"{str(given)[:40]!r} is no id")
    return str(given).strip()


def id_number(given: Any) -> int | None:
    """The number that an id is or reads as, or None.

    Args:
        given: What the file holds.

    Raises:
        ValueError: If it is no id.
    """
    text = id_text(given)
    return int(text.split(".")[0]) if len(text) <= _MOST_DIGITS and _WHOLE.fullmatch(text) else None


def is_crowd(given: Any) -> bool:
    """What `iscrowd` says, which some tools write as text.

    Args:
        given: What the file holds; None where it holds nothing.

    Raises:
        ValueError: If it is neither 0 nor 1.
    """
    text = str(0 if given is None else given).strip().lower()
    if text not in _FLAGS:
        raise ValueError(f"an iscrowd of {str(given)[:40]!r}, which must be 0 or 1")
    return _FLAGS[text]
