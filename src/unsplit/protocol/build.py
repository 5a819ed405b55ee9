"""From a whole network and a data set to parties that train it split."""

import copy
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unsplit.defenses import GradientNoise, randomised_response
from unsplit.errors import InputError
from unsplit.losses import LossSpec
from unsplit.models import Parts, split, split_head, split_u
from unsplit.optim import OptimizerSpec
from unsplit.protocol.engine import SplitTraining
from unsplit.protocol.parties import Client, Loss, Server
from unsplit.protocol.schedule import BatchSchedule, Turns
from unsplit.protocol.segment import Segment
from unsplit.randomness import draw_seed
from unsplit.types import Setup


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How a network is split and trained.

    Args:
        setup: who holds what (Figure 1).
        cut: where the client's bottom ends, by depth or module name; setups (a) and (c).
        head: how many weighted layers the client's head has; setups (b) and (c).
        clients: how many data holders take turns; the data are dealt out evenly among them.
        batch_size: samples a step.
        turn: steps a turn; None for one pass over the client's data.
        hand_off: whether weights go through the "server" or from "peer" to peer when turns change.
        hand_off_optimizer: hand on the optimiser's state as well; the paper hands on weights only.
        client_optimizer, server_optimizer: each party's own.
        loss: of outputs and labels, averaged over the batch.
        label_epsilon: train on labels after randomised response of this privacy budget; None for the true ones.
        gradient_noise: on the cut gradients of setups (b) and (c), before they leave the client.
    """

    setup: Setup = Setup.A
    cut: int | str = 1
    head: int = 1
    clients: int = 1
    batch_size: int = 64
    turn: int | None = None
    hand_off: str = "server"
    hand_off_optimizer: bool = False
    client_optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    server_optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    loss: Loss = field(default_factory=LossSpec)
    label_epsilon: float | None = None
    gradient_noise: GradientNoise | None = None

    def parts(self, model: nn.Sequential) -> Parts:
        """The parts of `model`; they share its modules."""
        if self.setup is Setup.A:
            bottom, top = split(model, self.cut)
            return Parts(bottom=bottom, body=top, head=None)
        if self.setup is Setup.B:
            body, head = split_head(model, self.head)
            return Parts(bottom=None, body=body, head=head)
        return split_u(model, self.cut, self.head)


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
        inputs: shape [n, *input shape]; the server's in setup (b), else dealt out to the clients.
        labels: shape [n]; always the clients'.
        config: the split.
        generator: deals out the data and orders the batches.
        device: where the parties compute.

    Raises:
        InputError: no such cut or head, a batch larger than a client's data, inputs and labels that do not match.
    """
    if len(inputs) != len(labels):
        raise InputError(f"There are {len(inputs)} inputs but {len(labels)} labels; give one label for each input.")
    order = torch.randperm(len(inputs), generator=generator)
    dealt = order.tensor_split(config.clients)
    order_seed, layer_seed = draw_seed(generator), draw_seed(generator)
    length = config.turn or -(-len(dealt[0]) // config.batch_size)
    turns = Turns(clients=config.clients, length=length)
    taught = labels
    if config.label_epsilon is not None:
        classes = int(labels.max()) + 1
        taught = randomised_response(labels, classes, config.label_epsilon, generator=generator)
    parts = config.parts(model)
    clients, shares, schedules = [], {}, {}
    for number, share in enumerate(dealt):
        name = f"client{number}"
        schedules[name] = BatchSchedule(
            samples=len(share), batch_size=config.batch_size, seed=(order_seed + number) % 2**63, turns=turns
        )
        shares[name] = inputs[share].to(device)
        clients.append(
            Client(
                name=name,
                bottom=_segment(parts.bottom, config.client_optimizer, device),
                head=_segment(parts.head, config.client_optimizer, device),
                inputs=None if parts.bottom is None else shares[name],
                labels=labels[share].to(device),
                schedule=schedules[name],
                loss=config.loss,
                taught=taught[share].to(device),
                noise=config.gradient_noise,
                noise_seed=(layer_seed + number) % 2**63,
            )
        )
    server_has_inputs = config.setup is Setup.B
    server = Server(
        setup=config.setup,
        body=Segment(copy.deepcopy(parts.body).to(device), config.server_optimizer),
        loss=config.loss,
        inputs=shares if server_has_inputs else None,
        schedules=schedules if server_has_inputs else None,
    )
    return SplitTraining(
        setup=config.setup,
        server=server,
        clients=clients,
        turns=turns,
        hand_off=config.hand_off,
        hand_off_optimizer=config.hand_off_optimizer,
        seed=layer_seed,
        description=f"setup {config.setup.value}, batch {config.batch_size}, turns of {length}, order {order_seed}",
    )


def _segment(module: nn.Module | None, optimizer: OptimizerSpec, device: torch.device | str) -> Segment | None:
    return None if module is None else Segment(copy.deepcopy(module).to(device), optimizer)
