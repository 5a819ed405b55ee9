"""Randomness comes in as a `torch.Generator`; these are the ways to pass it on.

torch's own layers draw their first weights, and dropout its masks, from the process-wide generator, and offer no
other. `seeded` lends that generator a seed for the length of a block and gives it back untouched, so no global
seed is ever set or used up.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SEEDS = 2**63 - 1


def generator(seed: int) -> torch.Generator:
    """A CPU generator with this seed."""
    return torch.Generator().manual_seed(seed)


def draw_seed(source: torch.Generator) -> int:
    """A seed drawn from `source`, for a part of the work that needs a stream of its own."""
    return int(torch.randint(_SEEDS, (), generator=source).item())


def numbered_seed(seed: int, number: int) -> int:
    """A seed for the `number`-th part of a work with this seed: a pure function, for what must not depend on order."""
    return (seed * 1_000_003 + number) % 2**63


def own_stream(source: torch.Generator, whose: str) -> torch.Generator:
    """A generator for one party, seeded by a number drawn from `source` and the party's name: two parties whose
    sources have the same seed draw nothing in common, so that neither can guess what the other drew.
    """
    named = f"{whose}/{draw_seed(source)}".encode()
    return generator(int.from_bytes(hashlib.sha256(named).digest()[:8], "big") % _SEEDS)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's process-wide CPU generator at `seed`; afterwards it is as it was."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
