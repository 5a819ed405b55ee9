"""Inversion by an inverse network, trained on the client's answers to queries (He et al. 2019, "black box")."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks._threat_model import attack
from unsplit.attacks.he2019._inverse_net import mirrored
from unsplit.attacks.observed import check_finite
from unsplit.attacks.progress import Progress, silent
from unsplit.errors import check_at_least_one
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, ClientQueries
from unsplit.optim import OptimizerSpec
from unsplit.types import Kind, Reconstruction, Transcript


@dataclass(frozen=True, kw_only=True)
class BlackBoxConfig:
    """Settings of the black-box inversion. The defaults are the preset `reference`.

    Args:
        epochs: passes over the answered queries.
        batch_size: number of queries in each step.
        optimizer: optimiser of the inverse network.
        halve_every: the learning rate is halved after so many epochs.

    Raises:
        InputError: a number out of its range.
    """

    epochs: int = 50
    batch_size: int = 32
    optimizer: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(options={"amsgrad": True, "eps": 1e-3}))
    halve_every: int = 10

    def __post_init__(self) -> None:
        check_at_least_one(self, "epochs", "batch_size", "halve_every")


@attack(goal="the private inputs", reads=(Kind.SMASHED,))
def invert_black_box(
    view: Transcript,
    architecture: ClientArchitecture,
    queries: ClientQueries,
    data: AuxiliaryData,
    config: BlackBoxConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Reconstruction:
    """Train a network from smashed data to inputs on the client's answers, and apply it to what was observed.

    For programs in Python: no command runs it, since a recording does not answer queries.

    Threat model:
        A server that may also send inputs of its own through the client, which the protocol does not allow, and that
        has data to send. Of the client's architecture it uses the shapes alone, to size its network.

    Objective:
        g = argmin MSE(g(f(w; x)), x) over its own x; the observed inputs are g(s).

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, by which the inverse network is sized.
        queries: the client's answers; one is spent for each input of `data`, in order, as far as the budget goes.
        data: the attacker's own inputs [m, *input shape].
        config: settings of the attack.
        generator: draws the network's first weights and the batches.
        progress: called after every epoch.

    Returns:
        The inputs [n, *input shape], clipped to their range; no clone; a residual of NaN, as the client's layers are
        not known.

    Raises:
        InputError: no smashed data in the view, more data than queries are left, or layers that cannot be mirrored.

    Reference:
        He, Zhang, Lee: Model inversion attacks against collaborative inference, ACSAC 2019, section 5.

    Departures:
        - The authors draw an inverse network for each of five cuts by hand; here it is mirrored from the client's
          layers, which gives theirs where they have convolutions.
        - Inputs are scaled to -1 to 1 inside, as the authors normalise MNIST; they normalise CIFAR-10 by its means.
    """
    targets, inverse = _begin(view, architecture, generator)
    asked = data.inputs[: queries.budget].to(targets.device)
    scaled, answers = architecture.input_range.to_unit(asked) * 2 - 1, queries.ask(asked)
    optimizer = config.optimizer.build(inverse.parameters())
    rate = torch.optim.lr_scheduler.StepLR(optimizer, config.halve_every, 0.5)
    for epoch in range(config.epochs):
        for batch in torch.split(torch.randperm(len(asked), generator=generator), config.batch_size):
            loss = _fit(inverse, optimizer, answers[batch], scaled[batch])
        rate.step()
        progress(epoch + 1, config.epochs, loss)
    found = _apply(inverse, targets, architecture)
    return Reconstruction(inputs=found, clones=(), residual=torch.full((len(found),), torch.nan))


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Settings of the black box with one query at a time.

    Args:
        replays: steps after each query, each on a batch of those answered so far.
        batch_size: number of answered queries in each replay.
        optimizer: optimiser of the inverse network.

    Raises:
        InputError: a number out of its range.
    """

    replays: int = 50
    batch_size: int = 32
    optimizer: OptimizerSpec = field(default_factory=lambda: OptimizerSpec(options={"amsgrad": True, "eps": 1e-3}))

    def __post_init__(self) -> None:
        check_at_least_one(self, "replays", "batch_size")


@attack(goal="the private inputs", reads=(Kind.SMASHED,))
def stream_black_box(
    view: Transcript,
    architecture: ClientArchitecture,
    queries: ClientQueries,
    data: AuxiliaryData,
    config: StreamConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Float[Tensor, "q n ..."]:
    """The black box as its queries come in: what it makes of the observed inputs after each of them.

    Threat model:
        As `invert_black_box`.

    Objective:
        As `invert_black_box`, over the queries answered so far.

    Args:
        view: transcript whose smashed data [n, ...] are the targets.
        architecture: the client's layers, by which the inverse network is sized.
        queries: the client's answers; one is asked for at a time, until data or budget end.
        data: the attacker's own inputs, in the order in which they are sent.
        config: settings of the attack.
        generator: draws the network's first weights and the batches.
        progress: called after every query.

    Returns:
        The reconstructions after 0, 1, 2, ... queries, shape [queries + 1, n, *input shape].

    Raises:
        InputError: no smashed data in the view, or layers that cannot be mirrored.

    Reference:
        He, Zhang, Lee: Model inversion attacks against collaborative inference, ACSAC 2019, section 5; counted as in
        UnSplit's Table 5.

    Departures:
        - He et al. train on all of their data for 50 epochs; UnSplit counts queries and does not say how the network is
          trained as they come. Here 50 steps follow each query, on a batch of those answered so far.
    """
    targets, inverse = _begin(view, architecture, generator)
    optimizer = config.optimizer.build(inverse.parameters())
    budget = min(queries.budget - queries.used, len(data.inputs))
    asked = data.inputs[:budget].to(targets.device)
    scaled = architecture.input_range.to_unit(asked) * 2 - 1
    answers: list[Tensor] = []
    found = [_apply(inverse, targets, architecture)]
    for number in range(budget):
        answers.append(queries.ask(asked[number : number + 1]))
        for _ in range(config.replays):
            # The newest query is in every batch, with others drawn from those before it.
            older = torch.randperm(number, generator=generator)[: config.batch_size - 1].tolist()
            batch = [number, *older]
            loss = _fit(inverse, optimizer, torch.cat([answers[index] for index in batch]), scaled[batch])
        found.append(_apply(inverse, targets, architecture))
        progress(number + 1, budget, loss)
    return torch.stack(found)


def _begin(
    view: Transcript, architecture: ClientArchitecture, generator: torch.Generator
) -> tuple[Tensor, nn.Sequential]:
    """The targets, and an inverse network that takes them."""
    targets = view.tensor(Kind.SMASHED)
    check_finite("smashed data", targets)
    forms = architecture.blueprint.instantiate(generator=generator)
    inverse = mirrored(forms, architecture.input_shape, generator=generator).to(targets.device)
    return targets, inverse


def _fit(inverse: nn.Module, optimizer: torch.optim.Optimizer, answers: Tensor, wanted: Tensor) -> float:
    loss = functional.mse_loss(inverse(answers), wanted)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def _apply(inverse: nn.Module, targets: Tensor, architecture: ClientArchitecture) -> Tensor:
    """What the inverse network makes of the targets, in the range of inputs."""
    scaled: Tensor = inverse(targets)
    return architecture.input_range.to_own(((scaled + 1) / 2).clamp(0, 1))
