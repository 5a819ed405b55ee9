"""SplitFed (Thapa et al. 2022): clients that train at the same time, each with a copy of the server's layers, and the
average of all copies after every round (SplitFedV1).
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unsplit.protocol.build import make_clients, make_server
from unsplit.protocol.config import SplitConfig
from unsplit.protocol.engine import SplitTraining
from unsplit.protocol.parties import SERVER
from unsplit.types import Kind, Message


def average(states: Sequence[Mapping[str, Tensor]], weights: Sequence[int]) -> dict[str, Tensor]:
    """The weighted mean of several states of one network; whole numbers (counters) are the first one's.

    Args:
        states: the states as named tensors, with the same names and shapes in each.
        weights: the weight of each state in the mean, such as the number of its client's samples.
    """
    total = sum(weights)
    mean = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            shares = [state[name] * (weight / total) for state, weight in zip(states, weights, strict=True)]
            mean[name] = torch.stack(shares).sum(0)
        else:
            mean[name] = first.clone()
    return mean


class SplitFed:
    """Clients in pairs with their copies of the server, averaged after every round of as many steps as a turn has.

    Args:
        pairs: one training for each client.
        samples: number of samples of each client, the weight of its part in the average.
    """

    def __init__(self, pairs: Sequence[SplitTraining], samples: Sequence[int]) -> None:
        self.pairs = tuple(pairs)
        self._samples = tuple(samples)
        self._present: tuple[int, ...] = ()
        self._handed: dict[int, Message] = {}
        self._mean: dict[str, Tensor] = {}

    def run(self, steps: int, *, absent: Mapping[int, Collection[int]] | None = None) -> None:
        """Train from the start until each client has done `steps` steps.

        Args:
            steps: number of steps that each client does.
            absent: the numbers of the clients that miss a round, by the number of the round.
        """
        length = self.pairs[0].turns.length
        for number, first in enumerate(range(0, steps, length)):
            missing = (absent or {}).get(number, ())
            if first:
                self._hand_over(first - 1)
            self._present = tuple(index for index in range(len(self.pairs)) if index not in missing)
            for index, pair in enumerate(self.pairs):
                if index in self._present:
                    pair.run(min(first + length, steps))
                else:
                    pair.steps_done = min(first + length, steps)
            self._average()

    def _average(self) -> None:
        """Average the servers' layers, and the clients', as far as they took part."""
        weights = [self._samples[index] for index in self._present]
        present = [self.pairs[index] for index in self._present]
        body = average([pair.server.body.module.state_dict() for pair in present], weights)
        for pair in self.pairs:
            pair.server.body.module.load_state_dict(body)
        handed = [pair.clients[0].hand_off(pair.steps_done - 1, SERVER, optimizer=False) for pair in present]
        self._handed = dict(zip(self._present, handed, strict=True))
        self._mean = average([message.tensors for message in handed], weights)

    def _hand_over(self, step: int) -> None:
        for index, pair in enumerate(self.pairs):
            client = pair.clients[0]
            if index in self._handed:
                pair.pass_on(self._handed[index])
            mean = Message(step=step, sender=SERVER, receiver=client.name, kind=Kind.WEIGHTS, payload=self._mean)
            pair.pass_on(mean)
            client.receive(mean)


def splitfed_training(
    model: nn.Sequential,
    inputs: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"] | Float[Tensor, "n ..."],
    config: SplitConfig,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> SplitFed:
    """Pairs of parties ready to train copies of `model`'s parts. Its arguments are those of `split_training`.

    For programs in Python, in one process: no command runs it. Between machines, `unsplit serve` trains so where the
    configuration has `mode: splitfed`.

    Raises:
        InputError: no such cut or head, a batch larger than a client's data, inputs and labels that do not match.
    """
    clients, shares, turns, seeds = make_clients(
        model, inputs, labels, config, in_turn=1, generator=generator, device=device
    )
    pairs = []
    for client in clients:
        server = make_server(model, config, inputs={}, turns=turns, seeds=seeds, device=device)
        pairs.append(SplitTraining(setup=config.setup, server=server, clients=[client], turns=turns))
    return SplitFed(pairs, [len(share) for share in shares])
