"""Which samples a step uses and whose turn it is: pure functions of a seed and the step's number.

Nothing here has a state, so a resumed run, a party in another process and a reference run all agree.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.randomness import generator, numbered_seed


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Clients training one after another, `length` steps each, in the order of their numbers.

    Raises:
        InputError: no client, or turns of no steps.
    """

    clients: int
    length: int

    def __post_init__(self) -> None:
        if self.clients < 1 or self.length < 1:
            raise InputError(
                f"There are {self.clients} clients with turns of {self.length} steps; both numbers must be at least 1."
            )

    def client(self, step: int) -> int:
        """The number of the client that trains at this step."""
        return step // self.length % self.clients

    def own_step(self, step: int) -> int:
        """How many steps that client had taken before this one."""
        return step // (self.length * self.clients) * self.length + step % self.length

    def hands_off(self, step: int) -> bool:
        """Whether another client's turn ended just before this step."""
        return self.clients > 1 and step > 0 and step % self.length == 0


@dataclass(frozen=True, kw_only=True)
class BatchSchedule:
    """The batches of one client: every epoch visits each of its samples once, in an order drawn from the seed.

    Args:
        samples: number of samples that the client has.
        batch_size: number of samples in a step; the last batch of an epoch may be smaller.
        least: fewest samples of a step; a smaller last batch is filled up from the beginning of its epoch's order,
            as torch's `DistributedSampler` fills up its last.
        seed: seed of the order; the permutation of each epoch is drawn from (seed, epoch).
        turns: maps the common step number to the client's own.

    Raises:
        InputError: the batch is larger than the data, or not positive.
    """

    samples: int
    batch_size: int
    seed: int
    turns: Turns
    least: int = 1

    def __post_init__(self) -> None:
        if 1 <= self.batch_size < self.least:
            raise InputError(
                f"A batch of {self.batch_size} is too small: the network has a batch normalisation (nn.BatchNorm1d) "
                f"that in training needs {self.least} samples or more; take larger batches, or nn.LayerNorm or "
                "nn.GroupNorm in its place."
            )
        if not 1 <= self.batch_size <= self.samples:
            raise InputError(
                f"A batch of {self.batch_size} cannot be taken from {self.samples} samples; "
                f"use a batch size from 1 to {self.samples}."
            )

    @property
    def steps_an_epoch(self) -> int:
        """Steps until each sample was visited once."""
        return -(-self.samples // self.batch_size)

    def batch(self, step: int) -> Tensor:
        """The indices of the samples of this (common) step, shape [batch]."""
        epoch, position = divmod(self.turns.own_step(step), self.steps_an_epoch)
        start = position * self.batch_size
        order = _order(self.samples, self.seed, epoch)
        chosen = order[start : start + self.batch_size]
        missing = self.least - len(chosen)
        return chosen if missing <= 0 else torch.cat([chosen, order[:missing]])


@lru_cache(maxsize=64)
def _order(samples: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(samples, generator=generator(numbered_seed(seed, epoch)))
