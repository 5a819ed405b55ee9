"""What the label experiments share: a watched training, its true labels, what the server knows, and a stolen head."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from unsplit.attacks.labels import CloneHeadConfig, train_clone_head
from unsplit.data import Splits
from unsplit.defenses import Defense
from unsplit.knowledge import HeadArchitecture, KnownSamples, LabelSpace
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, SplitTraining, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Setup, Transcript

_LAST = 300
"""Steps at the end whose features train a stolen head: those of earlier ones come from a body of the past."""


def watch_hand_offs(
    model: nn.Sequential,
    splits: Splits,
    *,
    setup: str,
    head: int,
    steps: int,
    batch_size: int,
    optimizer: OptimizerSpec,
    defenses: tuple[Defense, ...] = (),
    seed: int,
    device: torch.device,
) -> tuple[SplitTraining, Transcript]:
    """Train `model` from its present weights, two clients with these defences in turns of one step, whose weights (and
    where it takes them, moments) pass through the server, and what the server saw.
    """
    config = SplitConfig(
        setup=Setup(setup),
        cut=0,
        head=head,
        clients=2,
        batch_size=batch_size,
        turn=1,
        hand_off_optimizer=optimizer.name.lower() != "sgd" or bool(optimizer.options),
        client_optimizer=optimizer,
        server_optimizer=optimizer,
        defenses=defenses,
    )
    train = splits.train
    training = split_training(model, train.images, train.labels, config, generator=generator(seed), device=device)
    recorder = training.record(Recorder(observer=SERVER))
    # The gradient of a step lies between two hand-offs, and each hand-off waits for the next step to begin.
    training.run(steps + 2)
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


def stolen_head(
    view: Transcript, labels: Tensor, architecture: HeadArchitecture, space: LabelSpace, seed: int
) -> nn.Module:
    """A head trained on the last steps' features and the labels inferred for them."""
    last = view.of(Kind.FEATURES).last(_LAST)
    labels = labels[-len(last.tensor(Kind.FEATURES)) :]
    return train_clone_head(last, labels, architecture, space, CloneHeadConfig(epochs=5), generator=generator(seed))
