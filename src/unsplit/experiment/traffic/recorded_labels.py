"""What recorded traffic gives away about labels, and its scores where the truth is known."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, class_numbers
from unsplit.attacks.labels import SurrogateConfig, infer_by_surrogate, infer_from_handed_weights, name_groups
from unsplit.errors import InputError
from unsplit.experiment.threats import described
from unsplit.experiment.traffic.truth import RecordedTruth
from unsplit.knowledge import ClientLoss, HeadArchitecture, KnownSamples, LabelSpace
from unsplit.losses import LossSpec
from unsplit.metrics import accuracy_up_to_names, chance, label_accuracy
from unsplit.protocol import evaluated
from unsplit.randomness import generator
from unsplit.results import LabelScores, RecordedLabelRow, ThreatModelRow
from unsplit.types import InferredLabels, Kind, Transcript

SENT = "sent"
"""What stands for an attack where the client sends its labels."""


def sent_labels(view: Transcript, truth: RecordedTruth | None) -> RecordedLabelRow | None:
    """The labels that the client sent (setup a), if it sent classes."""
    sent = view.of(Kind.LABELS)
    labels = class_numbers(sent.tensor(Kind.LABELS)) if len(sent) else None
    if labels is None or labels.is_floating_point() or labels.ndim != 1:
        return None
    found = InferredLabels(labels=labels, named=True)
    return _row(found, sent, truth, SENT, classes=int(found.labels.max()) + 1)


def classes_of(view: Transcript, head: nn.Module) -> int:
    """How many classes a head tells apart that takes the recorded features; one output tells two.

    Raises:
        InputError: no features, or the head does not take them.
    """
    features = view.of(Kind.FEATURES)
    if not len(features):
        raise InputError("The recording holds cut gradients but no features; record a server, which has both.")
    seen = features.messages[0].tensor
    try:
        outputs = evaluated(head, seen[:1].cpu())
    except RuntimeError as error:
        raise InputError(
            f"The head does not take features of shape {tuple(seen.shape[1:])} ({str(error).splitlines()[0]}); name "
            "the model and the layers of the head (--label-heads) that the clients have."
        ) from error
    return max(2, outputs.shape[-1])


def infer_recorded(
    view: Transcript,
    truth: RecordedTruth | None,
    head: nn.Module,
    layers: int,
    loss: LossSpec,
    *,
    seed: int,
    stages: Callable[[str], Progress],
) -> tuple[list[RecordedLabelRow], list[ThreatModelRow]]:
    """Infer labels from recorded cut gradients (setups b and c): from these alone, and where heads were handed over
    through the observer, from their weights too.

    Args:
        view: the recording, of which no step waits for its cut gradients.
        truth: scores the labels, and names one sample of each class that occurs in it.
        head: of the client's architecture; its weights are not used.
        layers: with weights, in the head.
        loss: the client's.
        seed: of the attack.
        stages: follows the progress.

    Raises:
        InputError: a recording that lacks messages, or a head that does not take what the server sent.
    """
    features = view.of(Kind.FEATURES)
    classes = classes_of(view, head)
    architecture, space, client_loss = HeadArchitecture.of(head), LabelSpace(classes=classes), ClientLoss(spec=loss)
    started = time.perf_counter()
    groups = infer_by_surrogate(
        view,
        architecture,
        space,
        client_loss,
        SurrogateConfig(),
        generator=generator(seed),
        progress=stages("inferring labels from cut gradients"),
    )
    rows = [_row(groups, features, truth, "infer_by_surrogate", classes=classes, head=layers, started=started)]
    threats = [described(infer_by_surrogate, *([] if truth is None else [KnownSamples]))]
    if _heads_were_handed_over(view):
        started = time.perf_counter()
        stages("inferring labels from weights handed over")
        read = infer_from_handed_weights(view, architecture, space, client_loss)
        name = "infer_from_handed_weights"
        rows.append(_row(read, features, truth, name, classes=classes, head=layers, started=started))
        threats.append(described(infer_from_handed_weights))
    return rows, threats


def _heads_were_handed_over(view: Transcript) -> bool:
    handed = view.of(Kind.WEIGHTS)
    return len(handed) > 0 and any(name.startswith("head.") for name in handed.messages[0].tensors)


def _row(
    found: InferredLabels,
    judged: Transcript,
    truth: RecordedTruth | None,
    attack: str,
    *,
    classes: int,
    head: int | None = None,
    started: float | None = None,
) -> RecordedLabelRow:
    decided = found.labels >= 0
    return RecordedLabelRow(
        attack=attack,
        head=head,
        steps=len(judged.steps),
        samples=len(found.labels),
        undecided=int((~decided).sum()),
        named=found.named,
        counts=tuple(torch.bincount(found.labels[decided].cpu(), minlength=classes).tolist()),
        margin=None if found.margin is None or not bool(decided.any()) else float(found.margin[decided].mean()),
        seconds=0.0 if started is None else time.perf_counter() - started,
        scores=() if truth is None else _scores(found, judged, truth, classes),
    )


def _scores(found: InferredLabels, view: Transcript, truth: RecordedTruth, classes: int) -> tuple[LabelScores, ...]:
    """How many labels are right; of groups also when one sample of each class that occurs is known, for the names."""
    places, labels = truth.judged(view, len(found.labels))
    if labels.is_floating_point() or labels.ndim != 1 or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(
            f"The truth's labels are not classes from 0 to {classes - 1}; name the truth of this training, and the "
            "model that its clients have."
        )
    scores = [_score(found.labels[places], labels, classes, named=found.named)]
    if not found.named:
        firsts = [int((labels == label).nonzero()[0]) for label in sorted(set(labels.tolist()))]
        known = KnownSamples(
            indices=tuple(places[firsts].tolist()), labels=tuple(int(label) for label in labels[firsts])
        )
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
