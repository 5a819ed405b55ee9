"""From a whole network and a data set to parties that train it split."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unsplit.defenses import Defense, PrivateTraining
from unsplit.defenses.detection import Guard
from unsplit.errors import InputError
from unsplit.models import refuses_single_samples
from unsplit.optim import OptimizerSpec
from unsplit.protocol.client import Client
from unsplit.protocol.config import SplitConfig
from unsplit.protocol.engine import SplitTraining
from unsplit.protocol.parties import Server
from unsplit.protocol.schedule import BatchSchedule, Turns
from unsplit.protocol.segment import Segment
from unsplit.randomness import draw_seed, numbered_seed
from unsplit.randomness import generator as make_generator
from unsplit.types import Setup

_ROLES = ("bottom", "body", "head")


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Seeds that the parties draw from: `order` the batches, `layers` dropout's masks and a defence's noise."""

    order: int
    layers: int

    @classmethod
    def draw(cls, generator: torch.Generator) -> "Seeds":
        """Both from one generator."""
        return cls(order=draw_seed(generator), layers=draw_seed(generator))


def split_training(
    model: nn.Sequential,
    inputs: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"] | Float[Tensor, "n ..."],
    config: SplitConfig,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> SplitTraining:
    """Parties ready to train copies of `model`'s parts; `model` itself stays as it is.

    Args:
        model: the whole network; every client starts from a copy of its parts.
        inputs: training inputs, shape [n, *input shape]; the server's in setup (b), else dealt out to the clients.
        labels: labels of the inputs, shape [n] or [n, ...]; always the clients'.
        config: how the network is split and trained.
        generator: source of randomness that deals out the data and orders the batches.
        device: device on which the parties compute.

    Raises:
        InputError: no such cut or head, a batch larger than a client's data, inputs and labels that do not match.
    """
    clients, shares, turns, seeds = make_clients(
        model, inputs, labels, config, in_turn=config.clients, generator=generator, device=device
    )
    held = {client.name: inputs[share] for client, share in zip(clients, shares, strict=True)}
    server = make_server(model, config, inputs=held, turns=turns, seeds=seeds, device=device)
    return SplitTraining(
        setup=config.setup,
        server=server,
        clients=clients,
        turns=turns,
        hand_off=config.hand_off,
        hand_off_optimizer=config.hand_off_optimizer,
        description=f"setup {config.setup.value}, batch {config.batch_size}, turns of {turns.length}, "
        f"order {seeds.order}",
    )


def make_clients(
    model: nn.Sequential,
    inputs: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"] | Float[Tensor, "n ..."],
    config: SplitConfig,
    *,
    in_turn: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> tuple[list[Client], tuple[Tensor, ...], Turns, Seeds]:
    """The clients of a training in one process, the indices of each client's samples, the turns and the seeds.

    Args:
        in_turn: number of clients that train one after another; 1 where all train at the same time.

    Raises:
        InputError: see `split_training`.
    """
    shares, seeds = deal(inputs, labels, config.clients, generator=generator)
    turns = Turns(clients=in_turn, length=config.turn or -(-len(shares[0]) // config.batch_size))
    taught = taught_labels(labels, config, generator=generator)
    clients = [
        make_client(
            model,
            inputs[share],
            labels[share],
            config,
            name=f"client{number}",
            number=number,
            turns=turns,
            seeds=seeds,
            taught=taught[share],
            device=device,
        )
        for number, share in enumerate(shares)
    ]
    return clients, shares, turns, seeds


def deal(
    inputs: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"] | Float[Tensor, "n ..."],
    clients: int,
    *,
    generator: torch.Generator,
) -> tuple[tuple[Tensor, ...], Seeds]:
    """The indices of each client's samples, and the seeds.

    Raises:
        InputError: inputs and labels that do not match.
    """
    if len(inputs) != len(labels):
        raise InputError(f"There are {len(inputs)} inputs but {len(labels)} labels; give one label for each input.")
    order = torch.randperm(len(inputs), generator=generator)
    return order.tensor_split(clients), Seeds.draw(generator)


def taught_labels(labels: Tensor, config: SplitConfig, *, generator: torch.Generator) -> Tensor:
    """The labels that clients train on: the true ones, or what a defence makes of them."""
    if config.defense is None:
        return labels
    return config.defense.labels(labels, int(labels.max()) + 1, generator=generator)


def make_client(
    model: nn.Sequential,
    inputs: Tensor,
    labels: Tensor,
    config: SplitConfig,
    *,
    name: str,
    number: int,
    turns: Turns,
    seeds: Seeds,
    taught: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Client:
    """The party with the `number`-th share of the data; it trains copies of its parts of `model`.

    Raises:
        InputError: no such cut or head, or a batch larger than its data.
    """
    parts = config.parts(model)
    return Client(
        name=name,
        bottom=_segment(parts.bottom, "bottom", config.client_optimizer, seeds, device, config.defense),
        head=_segment(parts.head, "head", config.client_optimizer, seeds, device, _of_head(config.defense)),
        inputs=None if parts.bottom is None else inputs.to(device),
        labels=labels.to(device),
        schedule=_schedule(len(labels), number, config, turns, seeds, _least(model, inputs)),
        loss=config.loss,
        taught=(labels if taught is None else taught).to(device),
        defense=config.defense,
        guard=_guard(config, labels, seeds, number),
        noise_seed=(seeds.layers + number) % 2**63,
    )


def _guard(config: SplitConfig, labels: Tensor, seeds: Seeds, number: int) -> Guard | None:
    """The client's guard.

    Raises:
        InputError: a setup in which the client sends no labels, or labels that are no classes.
    """
    if config.guard is None:
        return None
    if config.setup is not Setup.A or labels.is_floating_point():
        raise InputError(
            "A guard compares gradients by the classes that a client sends, so it needs setup (a) and labels that are "
            "classes; leave `guard` out."
        )
    drawn = make_generator(numbered_seed(numbered_seed(seeds.layers, len(_ROLES)), number))
    return config.guard.guard(classes=int(labels.max()) + 1, generator=drawn)


def make_server(
    model: nn.Sequential,
    config: SplitConfig,
    *,
    inputs: Mapping[str, Tensor],
    turns: Turns,
    seeds: Seeds,
    device: torch.device | str = "cpu",
) -> Server:
    """The server; it trains a copy of its part of `model`.

    Args:
        inputs: each client's inputs by its name, in the order of the clients' numbers; used in setup (b) only.

    Raises:
        InputError: no such cut or head, or a batch larger than a client's data.
    """
    held = inputs if config.setup is Setup.B else {}
    body = _segment(config.parts(model).body, "body", config.server_optimizer, seeds, device)
    if body is None:
        raise RuntimeError("every setup has a body")
    return Server(
        setup=config.setup,
        body=body,
        loss=config.loss,
        inputs={name: values.to(device) for name, values in held.items()},
        schedules={
            name: _schedule(len(values), number, config, turns, seeds, _least(model, values))
            for number, (name, values) in enumerate(held.items())
        },
    )


def _least(model: nn.Sequential, inputs: Tensor) -> int:
    """How many samples a step must have, for the sake of batch normalisation."""
    return 2 if refuses_single_samples(model, tuple(inputs.shape[1:])) else 1


def _schedule(samples: int, number: int, config: SplitConfig, turns: Turns, seeds: Seeds, least: int) -> BatchSchedule:
    seed = (seeds.order + number) % 2**63
    return BatchSchedule(samples=samples, batch_size=config.batch_size, seed=seed, turns=turns, least=least)


def _segment(
    module: nn.Module | None,
    role: str,
    optimizer: OptimizerSpec,
    seeds: Seeds,
    device: torch.device | str,
    defense: Defense | None = None,
) -> Segment | None:
    if module is None:
        return None
    seed = numbered_seed(seeds.layers, _ROLES.index(role))
    return Segment(copy.deepcopy(module).to(device), optimizer, seed=seed, defense=defense)


def _of_head(defense: Defense | None) -> Defense | None:
    """What concerns the head: how it is trained. What leaves it are outputs that nobody receives."""
    if defense is None or defense.privacy is None:
        return None
    return PrivateTraining(noise=defense.privacy.noise, clip=defense.privacy.clip)
