"""Scores of the labels that were inferred from recorded traffic, where the truth is known, which no attack sees."""

import torch
from torch import Tensor

from unsplit.attacks.labels import name_groups
from unsplit.errors import InputError
from unsplit.experiment.traffic.truth import RecordedTruth
from unsplit.knowledge import KnownSamples, LabelSpace
from unsplit.metrics import accuracy_up_to_names, chance, label_accuracy
from unsplit.results import LabelScores
from unsplit.types import InferredLabels, Transcript


def label_scores(
    found: InferredLabels, judged: Transcript, truth: RecordedTruth, classes: int
) -> tuple[LabelScores, ...]:
    """How many labels are right; of groups also when one sample of each class that occurs is known, for the names.

    Args:
        found: the labels or groups of all samples of `judged`.
        judged: messages whose samples are judged, one message a step.
        truth: the true labels of some steps.
        classes: the number of classes.

    Raises:
        InputError: a truth of another training.
    """
    places, labels = truth.judged(judged, len(found.labels))
    if labels.is_floating_point() or labels.ndim != 1 or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(
            f"The truth's labels are not classes from 0 to {classes - 1}; name the truth of this training, and the "
            "model that its clients have."
        )
    scores = [_score(found.labels[places], labels, classes, named=found.named)]
    if not found.named:
        firsts = [int((labels == label).nonzero()[0]) for label in sorted(set(labels.tolist()))]
        known = KnownSamples(indices=tuple(places[firsts].tolist()), labels=tuple(labels[firsts].tolist()))
        named = name_groups(found, known, LabelSpace(classes=classes)).labels[places]
        unknown = torch.ones(len(labels), dtype=torch.bool)
        unknown[firsts] = False
        if bool(unknown.any()):
            scores.append(_score(named[unknown], labels[unknown], classes, named=True, known_samples=1))
    return tuple(scores)


def _score(found: Tensor, truth: Tensor, classes: int, *, named: bool, known_samples: int = 0) -> LabelScores:
    renamed = accuracy_up_to_names(found, truth, classes)
    right = label_accuracy(found, truth) if named else None
    shown = right or renamed
    return LabelScores(
        known_samples=known_samples,
        samples=len(truth),
        accuracy=None if right is None else right.value,
        low=shown.low,
        high=shown.high,
        accuracy_up_to_names=renamed.value,
        chance=chance(truth),
    )
