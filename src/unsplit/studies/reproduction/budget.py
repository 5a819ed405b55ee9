"""How much work a reproduction does: the paper's settings, or less of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from unsplit.attacks.inversion import InversionConfig, preset
from unsplit.attacks.settings import Limits
from unsplit.errors import unknown_name
from unsplit.optim import OptimizerSpec


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """How a client's network is trained before it is attacked.

    Args:
        epochs: passes over the training data.
        batch_size: samples a step.
        optimizer: the optimiser of both parties.
        samples: train on the first so many samples only; None for all.
        model: name of a model in the registry; None for the paper's network for the data.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    samples: int | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Budget(Limits):
    """Limits on the work of each cell, those of inversions among them; None leaves a setting as its preset has it.

    Args:
        name: the budget's name.
        datasets: the data sets that are attacked where the command names none.
        seeds: the seeds of the cells where the command names none.
        depths: the depths of the cuts where the command names none; None for all of the paper's table.
        clients: how the client of each data set is trained, by the data set's name.
        clones_scored_on: test samples that score clones where there is one for each picture; None for all.
        label_steps: single-sample steps whose labels are inferred.
        label_samples: samples whose labels are inferred from batches in other settings than the usual.
        label_epoch: whether the labels of a whole epoch are inferred too.
        white_box_steps: steps of the white-box attack, at most.
        shadow_epochs, own_samples: epochs and samples of the training of the query-free attack's shadow, at most.
        query_runs, queries, query_pictures: runs, queries of each and pictures of each, in Table 5.
        hijack_parts, hijack_iterations: stretches of the hijacking attack, and the iterations of each.
        hijack_width: channels of its critic.
    """

    name: str
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    depths: tuple[int, ...] | None
    clients: Mapping[str, ClientConfig]
    clones_scored_on: int | None = None
    label_steps: int = 1000
    label_samples: int = 6400
    label_epoch: bool = True
    white_box_steps: int = 5000
    shadow_epochs: int = 50
    own_samples: int = 5000
    query_runs: int = 30
    queries: int = 20
    query_pictures: int = 500
    hijack_parts: int = 20
    hijack_iterations: int = 500
    hijack_width: int = 256

    def settings(self, name: str, depth: int) -> InversionConfig:
        """The settings of an inversion preset at a depth within this budget."""
        return preset(name, depth).within(self)


# At rate 0.001 the CIFAR-10 net, whose last hidden layer is a sigmoid, stays at chance for some first weights.
_FULL = {
    "digits": ClientConfig(),
    "mnist": ClientConfig(),
    "fashion-mnist": ClientConfig(),
    "cifar-10": ClientConfig(epochs=8, optimizer=OptimizerSpec(lr=3e-4)),
}
_SMOKE = {
    name: replace(client, epochs=1, samples=10_000 if name == "cifar-10" else None) for name, client in _FULL.items()
}

BUDGETS: dict[str, Budget] = {
    "smoke": Budget(
        name="smoke",
        datasets=("digits",),
        seeds=(0,),
        depths=(1, 2),
        rounds=2,
        steps=150,
        decoder_steps=60,
        restarts=2,
        clients=_SMOKE,
        label_steps=50,
        label_samples=1024,
        label_epoch=False,
        white_box_steps=200,
        shadow_epochs=1,
        own_samples=200,
        query_runs=2,
        queries=5,
        query_pictures=50,
        hijack_parts=2,
        hijack_iterations=5,
        hijack_width=8,
    ),
    "short": Budget(
        name="short",
        datasets=("mnist", "fashion-mnist", "cifar-10"),
        seeds=(0,),
        depths=None,
        rounds=3,
        steps=None,
        decoder_steps=250,
        restarts=3,
        batch=24,
        clients=_FULL,
        clones_scored_on=1000,
        shadow_epochs=10,
        own_samples=1000,
        hijack_parts=2,
    ),
    "full": Budget(
        name="full",
        datasets=("mnist", "fashion-mnist", "cifar-10"),
        seeds=(0, 1, 2),
        depths=None,
        rounds=None,
        steps=None,
        clients=_FULL,
    ),
}
"""smoke: does everything work, on the embedded digits; short: one seed, three rounds of coordinate descent, shadows of
ten epochs on 1,000 samples, 1,000 iterations of hijacking, a tenth of the amortised inversion; full: the paper's
settings, three seeds."""

RESNET_CLIENT = ClientConfig(epochs=1, model="resnet")
"""The client that UnSplit attacks in Figure 3b: the network that the hijacking attack is run on, trained as usual."""


def budget(name: str) -> Budget:
    """A budget by name.

    Raises:
        InputError: no such budget.
    """
    if name not in BUDGETS:
        raise unknown_name("budget", name, BUDGETS)
    return BUDGETS[name]
