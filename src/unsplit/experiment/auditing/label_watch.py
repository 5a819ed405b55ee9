"""What the label experiments share: a watched training, its true labels, the known samples, and the client's head."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from unsplit.attacks.labels import gives_gradient
from unsplit.data import Splits
from unsplit.defenses import Defense
from unsplit.knowledge import KnownSamples
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, predicted, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Setup, Transcript

_READ = (Kind.FEATURES, Kind.FEATURE_GRAD, Kind.WEIGHTS)
"""What label attacks read."""


@dataclass(frozen=True, kw_only=True)
class HandOffs:
    """A training by two clients in turns of one step, whose weights (and where it takes them, moments) pass through the
    server.

    Args:
        setup: "b" or "c".
        head: number of layers with weights in the clients' head.
        samples: number of samples to observe, in steps of `batch_size`.
        batch_size: number of samples in each step.
        optimizer: optimiser of both parties.
        defenses: what the clients do on their side of the border.
        seed: seed of the training and of the attacks on it.
        device: the device on which the training computes.
    """

    setup: str = "b"
    head: int
    samples: int
    batch_size: int = 1
    optimizer: OptimizerSpec
    defenses: tuple[Defense, ...] = ()
    seed: int
    device: torch.device

    @property
    def steps(self) -> int:
        """How many steps the samples take."""
        return -(-self.samples // self.batch_size)


def watch_hand_offs(
    model: nn.Sequential, splits: Splits, how: HandOffs, folder: Path, *, weights: bool = False
) -> tuple[SplitTraining, Transcript]:
    """Train `model` from its present weights; returns the training, and what the server saw that label attacks read.

    Args:
        model: the whole network.
        splits: the clients' data.
        how: the training.
        folder: an empty folder that takes what the server saw: of a head of a million weights 4 MB a step, a thousand
            of which would be much for the memory.
        weights: keep all weights of heads, and not only those numbers of hand-offs that give the gradients.
    """
    config = SplitConfig(
        setup=Setup(how.setup),
        cut=0,
        head=how.head,
        clients=2,
        batch_size=how.batch_size,
        turn=1,
        hand_off_optimizer=how.optimizer.name.lower() != "sgd" or bool(how.optimizer.options),
        client_optimizer=how.optimizer,
        server_optimizer=how.optimizer,
        defenses=how.defenses,
    )
    train, draws = splits.train, generator(how.seed)
    training = split_training(model, train.images, train.labels, config, generator=draws, device=how.device)

    def kept(message: Message) -> Message | None:
        """Of hand-offs what was received, since the same goes on to the next client."""
        if message.kind is not Kind.WEIGHTS:
            return message
        if message.receiver != SERVER:
            return None
        read = {
            name: value
            for name, value in message.tensors.items()
            if gives_gradient(name, how.optimizer) or (weights and name.startswith("head."))
        }
        return replace(message, payload=read)

    recorder = training.record(Recorder(observer=SERVER, kinds=_READ, keep=kept, folder=folder))
    # The gradient of a step lies between two hand-offs, and each hand-off waits for the next step to begin.
    training.run(how.steps + 2)
    return training, recorder.transcript()


def true_labels(training: SplitTraining, steps: Iterable[int]) -> Tensor:
    """The labels of all samples of these steps, shape [samples]."""
    return torch.cat([training.truth(step).labels for step in steps]).cpu()


def first_of_each_class(truth: Tensor, classes: int, each: int = 1) -> KnownSamples | None:
    """The first samples of every class as those that the server knows; None where some class has none."""
    places = [(truth == label).nonzero().flatten()[:each].tolist() for label in range(classes)]
    if not all(places):
        return None
    pairs = [(index, label) for label, indices in enumerate(places) for index in indices]
    return KnownSamples(indices=tuple(index for index, _ in pairs), labels=tuple(label for _, label in pairs))


def unknown_to(known: KnownSamples | None, samples: int) -> Tensor:
    """Which samples the server does not know, and an attack is judged by: shape [samples]."""
    unknown = torch.ones(samples, dtype=torch.bool)
    if known is not None:
        unknown[list(known.indices)] = False
    return unknown


def head_of(training: SplitTraining) -> nn.Module:
    """The client's head as it is."""
    return training.active().segments()["head"].module


def outputs_with(training: SplitTraining, head: nn.Module, inputs: Tensor) -> Tensor:
    """Outputs for inputs [n, *input shape] with this head behind the parts that it was attacked behind."""
    bottom, device = training.active().bottom, next(head.parameters()).device
    before = [] if bottom is None else [bottom.module]
    return predicted(inputs, *before, training.server.body.module, head, device=device)
