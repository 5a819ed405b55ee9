"""Two classes: by length, by direction and by grouping, and where there is one class only."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.checks import truth_of
from helpers.labels import TWO, dense, group, train_dense, up_to_names, view_of
from unsplit import metrics
from unsplit.attacks.labels import (
    GroupingConfig,
    group_by_cut_gradient,
    infer_from_gradient_direction,
    infer_from_gradient_norm,
)
from unsplit.knowledge import LabelSpace
from unsplit.protocol import SERVER
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Transcript


def test_two_rare_classes_are_told_by_length_and_by_direction():
    source = generator(0)
    labels = (torch.rand(3000, generator=source) < 0.1).long()
    inputs = torch.randn(2, 12, generator=source)[labels] + torch.randn(3000, 12, generator=source)
    training, whole, _ = train_dense(inputs, labels, dense(12, 8), nn.ReLU, dense(8, 2), steps=300)
    view, truth = whole.between(200, 299), truth_of(training, range(200, 300))
    long = infer_from_gradient_norm(view, TWO).labels.float()
    assert long[truth == 1].mean() > long[truth == 0].mean() + 0.3
    assert up_to_names(infer_from_gradient_direction(view, TWO), truth, 2) == 1


def two_class_view(labels, layers):
    """What a client's head of so many layers sends back for these labels while it learns."""
    source = generator(4)
    features = torch.randn(len(labels), 12, generator=source) + torch.randn(2, 12, generator=source)[labels]
    with seeded(4):
        head = nn.Linear(12, 2) if layers == 1 else nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer, messages = torch.optim.Adam(head.parameters(), 1e-2), []
    for step, batch in enumerate(torch.split(torch.arange(len(labels)), 40)):
        sent = features[batch].requires_grad_()
        optimizer.zero_grad()
        functional.cross_entropy(head(sent), labels[batch]).backward()
        optimizer.step()
        messages += view_of(sent.grad, Kind.FEATURE_GRAD, step).messages
    return Transcript(observer=SERVER, messages=tuple(messages))


TWO_GROUPS = {
    "k-means": lambda view: group(view, 2),
    "spectral": lambda view: group_by_cut_gradient(
        view, LabelSpace(classes=2), GroupingConfig(method="spectral"), generator=generator(0)
    ),
    "norm": lambda view: infer_from_gradient_norm(view, LabelSpace(classes=2)),
    "direction": lambda view: infer_from_gradient_direction(view, LabelSpace(classes=2)),
}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("attack", TWO_GROUPS)
def test_samples_of_one_class_are_not_told_apart(attack, layers):
    alone = TWO_GROUPS[attack](two_class_view(torch.zeros(400, dtype=torch.int64), layers))
    assert set(alone.labels.tolist()) == {-1}
    labels = torch.randint(2, (400,), generator=generator(5))
    mixed = TWO_GROUPS[attack](two_class_view(labels, layers))
    assert set(mixed.labels.tolist()) == {0, 1}
    if attack in ("k-means", "direction"):
        assert metrics.accuracy_up_to_names(mixed.labels, labels, 2).value == 1


def test_a_rare_class_is_still_told_apart():
    labels = (torch.arange(400) % 50 == 7).long()
    found = TWO_GROUPS["k-means"](two_class_view(labels, 1)).labels
    assert metrics.accuracy_up_to_names(found, labels, 2).value == 1
