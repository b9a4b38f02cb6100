"""Seeded inputs that are a little or wholly wrong, and the rule they are held to.

A call answers, or refuses: ValueError or TypeError (OSError too where a file is read) whose message names the argument.
`SAM_HQ_FUZZ_ROUNDS` multiplies the number of attempts (`make fuzz`), `SAM_HQ_FUZZ_SEED` starts elsewhere.
"""

import copy
import os
import random
import reprlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

ROUNDS = int(os.environ.get("SAM_HQ_FUZZ_ROUNDS", "1"))
FIRST_SEED = int(os.environ.get("SAM_HQ_FUZZ_SEED", "0"))
SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxother, SHORT.maxdict = 8, 300, 9
NUMBERS = [
    *(0, 1, -1, 2, -10, 7.5, 1e9, -1e9, 1e25, 1e39, 1e308, 10**400, float("nan"), float("inf"), -float("inf")),
    *(
        True,
        1j,
        None,
        "",
        "3",
        b"3",
        {},
        {1, 2},
        [],
        [1],
        (),
        object,
        np.float16(3),
        np.int8(-3),
        np.datetime64("2020"),
    ),
]


def rounds(count: int) -> Iterator[random.Random]:
    """A generator of random numbers for each attempt."""
    for seed in range(FIRST_SEED, FIRST_SEED + count * ROUNDS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield random.Random(seed)


def outcome(call: Callable[[], Any], names: tuple[str, ...], about: str, files: bool = False) -> Any:
    """The call's answer, or None if it refused by name.

    Args:
        call: What is tried.
        names: One of them has to be in a refusal's message.
        about: What was given, for the report of a failure.
        files: Whether OSError is a refusal too.
    """
    refusals = (ValueError, TypeError, OSError) if files else (ValueError, TypeError)
    try:
        return call()
    except refusals as error:
        if not any(name in str(error) for name in names):
            pytest.fail(f"{about}: refused without a name of {names}: {type(error).__name__}: {error}", pytrace=True)
        return None
    except Exception as error:
        raise AssertionError(f"{about}: {type(error).__name__}: {error}") from error


def mutated(rng: random.Random, value: Any, odd: list = NUMBERS) -> Any:
    """A copy of nested lists and dictionaries with one place changed, doubled, dropped or wrapped."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, item in items:
            places.append((part, key))
            walk(item)

    walk(value)
    if not places:
        return rng.choice(odd)
    part, key = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        del part[key]
    elif kind == 1:
        part[key] = [part[key]]
    elif kind == 2 and isinstance(part, list):
        part.insert(key, part[key])
    elif kind == 3 and isinstance(part[key], list) and part[key]:
        part[key] = part[key][0]
    else:
        part[key] = rng.choice(odd)
    return value


def recast(rng: random.Random, value: Any) -> Any:
    """The value as a list, array or tensor of some kind, where it can be one."""
    kinds: list[Callable] = [
        lambda given: given,
        lambda given: given,
        lambda given: np.array(given, dtype=rng.choice(["f4", "f8", "f2", "i8", "u1", "?", "c8", "O", "U9"])),
        lambda given: np.ma.masked_array(np.array(given, dtype="f4"), mask=True),
        lambda given: torch.tensor(given, dtype=rng.choice([torch.float64, torch.int64, torch.bool, torch.bfloat16])),
        lambda given: torch.tensor(given, dtype=torch.float32).to_sparse(),
        lambda given: torch.tensor(given, dtype=torch.float32, device="meta"),
        lambda given: torch.quantize_per_tensor(torch.tensor(given, dtype=torch.float32), 1.0, 0, torch.qint8),
        lambda given: torch.tensor(given, dtype=torch.complex64),
        lambda given: tuple(given),
        iter,
    ]
    try:
        return rng.choice(kinds)(value)
    except (ValueError, TypeError, RuntimeError, OverflowError):  # ragged or odd: it stays as it was
        return value


def described(value: Any) -> str:
    """What a failure says of the input, however deep it is."""
    return SHORT.repr(value)


def nested(depth: int) -> list:
    """A list in a list in a list."""
    value: list = [1]
    for _ in range(depth):
        value = [value]
    return value


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Bytes with some flipped, cut off, left out or written twice."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(max(len(data), 1))
        kind = rng.randrange(4)
        if kind == 0:
            del data[place:]
        elif kind == 1:
            del data[place : place + rng.randrange(1, 64)]
        elif kind == 2:
            data[place:place] = data[place : place + 16]
        elif data:
            data[place] ^= 1 << rng.randrange(8)
        if not data:
            break
    return bytes(data)


__all__ = ["NUMBERS", "damaged", "described", "mutated", "nested", "outcome", "recast", "rounds"]
