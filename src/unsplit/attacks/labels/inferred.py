"""What a server makes of labels that it has inferred: names of groups, corrections, and a stolen head."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from unsplit.attacks.labels._observed import checked_head
from unsplit.attacks.observed import batches
from unsplit.errors import InputError, check_at_least_one
from unsplit.knowledge import HeadArchitecture, KnownSamples, LabelSpace
from unsplit.optim import OptimizerSpec
from unsplit.renaming import best_names
from unsplit.types import InferredLabels, Kind, Transcript

_LEAST = 1e-4


@dataclass(frozen=True, kw_only=True)
class CloneHeadConfig:
    """Settings of the clone's training.

    Args:
        epochs: number of passes over the observed features, at least 1.
        batch_size: number of samples in a step, at least 1.
        optimizer: optimiser of the clone head's weights.

    Raises:
        InputError: a number out of its range.
    """

    epochs: int = 30
    batch_size: int = 32
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)

    def __post_init__(self) -> None:
        check_at_least_one(self, "epochs", "batch_size")


def train_clone_head(
    view: Transcript,
    labels: Int[Tensor, "_"],
    architecture: HeadArchitecture,
    space: LabelSpace,
    config: CloneHeadConfig,
    *,
    generator: torch.Generator,
) -> nn.Module:
    """Train a head of the client's architecture on the features that the server sent and the labels it inferred.

    Args:
        view: transcript with features [batch, ...], in the order of `labels`.
        labels: inferred labels, shape [n]; negative ones (undecided) are left out.
        architecture: layers of the client's head.
        space: number of classes of the labels.
        config: settings of the training.
        generator: draws the clone's first weights and the order of the samples.

    Raises:
        InputError: the numbers of labels and features differ, no label was decided, or the head does not fit.
    """
    features = view.tensor(Kind.FEATURES)
    if len(features) != len(labels):
        raise InputError(
            f"There are {len(labels)} labels for {len(features)} observed features; give one label for each."
        )
    decided = labels >= 0
    features, labels = features[decided], labels[decided].to(features.device)
    if len(labels) == 0:
        raise InputError("No label was decided, so there is nothing to train a clone head on; observe more steps.")
    clone = checked_head(architecture, space, features[:1], generator)
    optimizer = config.optimizer.build(list(clone.parameters()))
    for _ in range(config.epochs):
        for batch in batches(len(labels), config.batch_size, clone, generator):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(clone(features[batch]), labels[batch]))
            optimizer.step()
    return clone


def name_groups(found: InferredLabels, known: KnownSamples, space: LabelSpace) -> InferredLabels:
    """Give each group the class that most of its known samples have, no class twice (Hungarian assignment).

    A group without a known sample gets one of the classes that are left.

    Args:
        found: group numbers of n samples, without names.
        known: labels of a few of these samples, at best of every class.
        space: number of classes of the labels.

    Returns:
        The same labels with names; the outputs of the clone head (if there is one) stay in the order of the groups.

    Raises:
        InputError: labels that have names already, a known sample outside of them, or a label outside the classes.
    """
    if found.named:
        raise InputError("These labels have their names already; only groups can be named.")
    indices, classes = torch.tensor(known.indices), torch.tensor(known.labels)
    if int(indices.max()) >= len(found.labels) or int(classes.max()) >= space.classes or int(classes.min()) < 0:
        raise InputError(
            f"A known sample is not among the {len(found.labels)} judged samples, or its label is not among "
            f"{space.classes} classes; count positions and labels from 0."
        )
    names, _ = best_names(found.labels[indices], classes, space.classes)
    labels = torch.where(found.labels >= 0, names[found.labels.clamp_min(0)], found.labels)
    return InferredLabels(labels=labels, named=True, clone=found.clone, margin=found.margin)


def correct_labels(view: Transcript, found: InferredLabels, *, last: int, calibrated: bool = False) -> InferredLabels:
    """Weigh what a sample's gradient said against what the clone head makes of its features.

    A client that replaces labels at random, or puts noise on its gradients, still teaches its head the truth: the noise
    averages out over samples, as it must for the training to be of use. So the clone head, which has followed the
    client's, knows more than any one gradient says.

    Objective:
        y = argmax p(y | features) P(read | y), with p the clone's softmax and P(read | y) = q for read = y and
        (1 - q) / (classes - 1) otherwise; q is the share of samples on which both agree, or where `calibrated` what
        that share says of q if the clone is right as often as it believes: a clone that knows little then changes
        little.

    Args:
        view: transcript with the features; those of its last steps are what the clone fits best.
        found: labels or groups of all its samples in transcript order, with a clone head, as `infer_by_surrogate`
            gives them.
        last: number of steps, counted from the end, whose samples are corrected; at least 1.
        calibrated: whether to allow for a clone that is unsure of itself, as one is that has seen few samples.

    Returns:
        The corrected labels of these samples alone, in order, named as they were.

    Raises:
        InputError: labels without a clone, or of another transcript.

    Reference:
        Ours; the posterior under randomised response.
    """
    if last < 1:
        raise InputError(f"last is {last}; it must be at least 1.")
    if found.clone is None:
        raise InputError("These labels come without a clone head; take them from `infer_by_surrogate`.")
    features = view.of(Kind.FEATURES)
    total = sum(len(message.tensor) for message in features)
    if total != len(found.labels):
        raise InputError(
            f"There are {len(found.labels)} labels for {total} samples of the transcript; give the labels that were "
            "inferred from this transcript."
        )
    seen = features.last(last).tensor(Kind.FEATURES)
    read = found.labels[-len(seen) :]
    with torch.no_grad():
        guess: Tensor = found.clone(seen).float().softmax(1).cpu()
    classes, known = guess.shape[1], read >= 0
    if not bool(known.any()):
        return InferredLabels(labels=guess.argmax(1), named=found.named, clone=found.clone)
    agreed = float((guess.argmax(1)[known] == read[known]).float().mean())
    if calibrated:
        agreed = _share_kept(agreed, float(guess.amax(1)[known].mean()), classes)
    trust = min(max(agreed, 1 / classes), 1 - _LEAST)
    channel = torch.full((len(read), classes), (1 - trust) / (classes - 1))
    channel.scatter_(1, read.clamp_min(0)[:, None], trust)
    channel[~known] = 1.0
    labels = (guess.clamp_min(_LEAST) * channel).argmax(1)
    return InferredLabels(labels=labels, named=found.named, clone=found.clone)


def _share_kept(agreed: float, sure: float, classes: int) -> float:
    """The share q of labels that were read as they are, where a clone that is right in a share `sure` of samples agrees
    with a share `agreed` of what was read: agreed = q sure + (1 - q) (1 - sure) / (classes - 1).
    """
    by_chance = (1 - sure) / (classes - 1)
    return 1.0 if sure <= by_chance else (agreed - by_chance) / (sure - by_chance)
