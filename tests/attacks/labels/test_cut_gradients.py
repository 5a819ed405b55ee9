"""Labels from cut gradients or features alone, by grouping and by known samples."""

import pytest
import torch

from helpers.checks import truth_of
from helpers.labels import ADAM, BATCHES, CLASSES, SGD, SPACE, group, heaps, observe, up_to_names, view_of
from unsplit import metrics
from unsplit.attacks.labels import (
    UNDECIDED,
    GroupingConfig,
    group_by_cut_gradient,
    group_by_features,
    infer_from_known_samples,
)
from unsplit.knowledge import KnownSamples, LabelSpace
from unsplit.randomness import generator
from unsplit.types import Kind, Setup


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
def test_cut_gradients_of_whole_batches_tell_the_labels_as_well(setup, optimizer):
    """One client, batches of 16, no weights handed over: what every server of these setups sees."""
    training, view = observe(setup=setup, optimizer=optimizer, clients=1, turn=None, batch_size=16, steps=20)
    truth = truth_of(training, range(20))
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(3))
    assert metrics.accuracy_up_to_names(groups.labels, truth, CLASSES).value == 1
    first = tuple(int((truth == label).nonzero()[0]) for label in range(CLASSES))
    found = infer_from_known_samples(view, KnownSamples(indices=first, labels=tuple(range(CLASSES))))
    assert torch.equal(found.labels, truth)


def test_features_alone_tell_groups_and_nothing_of_shuffled_labels():
    _, labels = heaps()
    shuffled = labels[torch.randperm(len(labels), generator=generator(9))]
    for trained_on, least, most in ((labels, 0.6, 1.0), (shuffled, 0.0, 0.37)):
        training, view = observe(labels=trained_on, steps=40, batch_size=16, **BATCHES)
        found = group_by_features(view, SPACE, GroupingConfig(), generator=generator(3))
        assert least <= up_to_names(found, truth_of(training, range(40))) <= most


def test_a_zero_gradient_is_undecided_and_never_guessed():
    gradients = torch.eye(4).repeat(2, 1)
    gradients[5] = 0
    view = view_of(gradients, Kind.FEATURE_GRAD)
    groups = group_by_cut_gradient(view, LabelSpace(classes=4), GroupingConfig(), generator=generator(0)).labels
    known = KnownSamples(indices=(0, 1, 2, 3), labels=(3, 2, 1, 0))
    named = infer_from_known_samples(view, known).labels
    assert groups[5] == named[5] == UNDECIDED
    assert named.tolist() == [3, 2, 1, 0, 3, UNDECIDED, 1, 0]
    assert (groups >= 0).sum() == 7


def test_samples_whose_gradient_is_zero_are_undecided():
    """Half of them; the rest are grouped as if those were not there."""
    gradients = torch.eye(CLASSES).repeat(4, 1)
    gradients[8:] = 0
    view = view_of(gradients, Kind.FEATURE_GRAD)
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels
    known = KnownSamples(indices=(0, 1, 2, 3), labels=(3, 2, 1, 0))
    assert infer_from_known_samples(view, known).labels.tolist() == [3, 2, 1, 0, 3, 2, 1, 0] + 8 * [UNDECIDED]
    assert groups[8:].tolist() == 8 * [UNDECIDED]
    assert torch.equal(groups[:4], groups[4:8])
    assert sorted(groups[:4].tolist()) == list(range(CLASSES))


def test_only_the_direction_of_a_cut_gradient_counts():
    """Gradients of a class that grow shorter and shorter, as a client that grows confident sends them."""
    directions = (torch.eye(CLASSES) + 0.5).repeat(4, 1)
    view = view_of(directions * torch.logspace(0, -6, 16)[:, None], Kind.FEATURE_GRAD)
    labels = torch.arange(CLASSES).repeat(4)
    known = KnownSamples(indices=(0, 1, 2, 3), labels=(0, 1, 2, 3))
    assert torch.equal(infer_from_known_samples(view, known).labels, labels)
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels
    assert metrics.accuracy_up_to_names(groups, labels, CLASSES).value == 1


def test_fewer_directions_than_classes_leave_groups_empty():
    view = view_of(torch.eye(2, CLASSES).repeat(4, 1), Kind.FEATURE_GRAD)
    groups = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels
    assert len(set(groups.tolist())) == 2


def test_samples_of_one_class_of_many_are_not_told_apart():
    source = generator(6)
    residuals = torch.rand(60, CLASSES, generator=source)
    residuals[:, 3] = -residuals.sum(1)
    found = group(view_of(residuals @ torch.randn(CLASSES, 40, generator=source), Kind.FEATURE_GRAD))
    assert set(found.labels.tolist()) == {-1}
