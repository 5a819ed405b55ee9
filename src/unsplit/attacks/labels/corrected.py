"""Labels corrected by what the head has learned: for clients whose labels or gradients are noisy on purpose."""

import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.types import InferredLabels, Kind, Transcript

_LEAST = 1e-4


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
        last: how many of the last steps' samples to correct.
        calibrated: allow for a clone that is unsure of itself, as one is that has seen few samples.

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
            f"There are {len(found.labels)} labels for {total} samples of the transcript; give those of this one."
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
