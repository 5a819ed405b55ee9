"""The surrogate: whole batches, deeper heads, other losses, and what cannot be known."""

import pytest
import torch
from torch import nn

from helpers.checks import truth_of
from helpers.labels import (
    ADAM,
    BATCHES,
    CLASSES,
    ONE,
    QUICK,
    SGD,
    SPACE,
    TEN,
    TWO,
    dense,
    head_of,
    heaps,
    observe,
    observed,
    on_digits,
    pairs,
    surrogate,
    train_dense,
    up_to_names,
)
from unsplit import metrics
from unsplit.attacks.labels import (
    UNDECIDED,
    GroupingConfig,
    SurrogateConfig,
    group_by_cut_gradient,
    infer_by_sign,
    infer_by_surrogate,
    infer_from_gradient_direction,
    infer_from_gradient_norm,
    name_groups,
)
from unsplit.attacks.labels._simulated import simulated, simulated_for_each_label
from unsplit.knowledge import ClientLoss, KnownSamples, LabelSpace
from unsplit.losses import LossSpec
from unsplit.randomness import generator
from unsplit.types import Kind

STEPS = {1: 24, 2: 24, 3: 50}


@pytest.mark.parametrize(("head", "least"), [(1, 1.0), (2, 0.99), (3, 0.95)])
def test_cut_gradients_of_whole_batches_give_the_labels_at_every_depth(digits, head, least):
    """The first steps of batches of 64; the plain grouping falls behind as the head deepens."""
    training, view, architecture = on_digits(digits, head=head, steps=STEPS[head])
    truth = truth_of(training, range(STEPS[head]))
    found = surrogate(view, architecture=architecture, space=TEN, **QUICK)
    assert not found.named
    assert up_to_names(found, truth, 10) >= least
    first = tuple(int((truth == label).nonzero()[0]) for label in range(10))
    named = name_groups(found, KnownSamples(indices=first, labels=tuple(range(10))), TEN)
    assert named.named
    assert metrics.label_accuracy(named.labels, truth).value >= least
    if head == 3:
        plain = group_by_cut_gradient(view, TEN, GroupingConfig(), generator=generator(3))
        assert up_to_names(plain, truth, 10) < up_to_names(found, truth, 10) - 0.02


@pytest.mark.parametrize(("batch_size", "least"), [(1, 0.9), (256, 0.99)])
def test_the_size_of_the_batches_does_not_matter_much(digits, batch_size, least):
    """As many samples each time, so in steps of one the head moves 64 times as far as in batches of 64."""
    training, view, architecture = on_digits(digits, head=2, steps=1024 // batch_size, batch_size=batch_size)
    truth = truth_of(training, range(1024 // batch_size))
    assert up_to_names(surrogate(view, architecture=architecture, space=TEN, **QUICK), truth, 10) > least


LOSSES = {
    "cross-entropy, summed": (LossSpec(reduction="sum"), 2),
    "cross-entropy, weighted": (LossSpec(weights=tuple(range(1, 11))), 2),
    "cross-entropy, smoothed": (LossSpec(label_smoothing=0.1), 2),
    "mse": (LossSpec(name="mse"), 2),
    "bce": (LossSpec(name="bce"), 1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_client_s_loss_does_not_protect(digits, name):
    loss, head = LOSSES[name]
    training, view, architecture = on_digits(digits, head=head, steps=16, loss=loss)
    found = surrogate(view, architecture=architecture, space=TEN, loss=loss, **QUICK)
    assert up_to_names(found, truth_of(training, range(16)), 10) > 0.99


@pytest.mark.parametrize(("classes", "optimizer", "window"), [(2, SGD, 768), (100, ADAM, 2048)])
def test_two_classes_and_a_hundred(classes, optimizer, window):
    source = generator(0)
    labels = torch.randint(classes, (4000,), generator=source)
    inputs = torch.randn(classes, 32, generator=source)[labels] + 0.3 * torch.randn(4000, 32, generator=source)
    layers = (dense(32, 128), nn.ReLU, dense(128, classes))
    training, view, architecture = train_dense(inputs, labels, *layers, steps=40, client_optimizer=optimizer)
    space = LabelSpace(classes=classes)
    found = surrogate(view, architecture=architecture, space=space, window=window, rounds=2, passes=10, steps=10)
    assert up_to_names(found, truth_of(training, range(40)), classes) > 0.95


def test_a_head_with_one_output_is_followed_too():
    inputs, labels = heaps()
    loss = LossSpec(name="bce")
    layers = (dense(12, 8), nn.ReLU, dense(8, 1))
    training, view, architecture = train_dense(inputs, labels % 2, *layers, steps=60, batch_size=20, loss=loss)
    found = surrogate(view, architecture=architecture, space=TWO, loss=loss)
    assert up_to_names(found, truth_of(training, range(60)), 2) == 1


def test_a_linear_head_s_closed_form_is_its_backward_pass():
    loss = LossSpec()
    for net in (head_of().blueprint, head_of(2).blueprint):
        net = net.instantiate(generator=generator(1))
        features = torch.randn(6, 8 if len(net) == 1 else 16, generator=generator(0))
        every = simulated_for_each_label(net, features, CLASSES, loss)
        for label in range(CLASSES):
            alone, outputs = simulated(net, features, torch.full((6,), label), loss)
            torch.testing.assert_close(every[label], alone.detach(), rtol=1e-4, atol=1e-6)
            probabilities = outputs.detach().softmax(1)
            torch.testing.assert_close(outputs.detach(), net(features).detach())
            if len(net) == 1:
                error = probabilities - torch.eye(CLASSES)[label]
                by_hand = error @ net[0].weight.detach()
                cosine = nn.functional.cosine_similarity(by_hand, every[label])
                assert cosine.min() > 1 - 1e-5


@pytest.mark.parametrize("gradients", [torch.zeros(20, 8), torch.ones(20, 8)])
def test_gradients_that_say_nothing_are_undecided(gradients):
    view = pairs(torch.rand(20, 8, generator=generator(0)), gradients)
    found = surrogate(view)
    assert found.labels.tolist() == 20 * [UNDECIDED]
    assert found.clone is None
    assert group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(0)).labels.max() == UNDECIDED
    assert infer_from_gradient_norm(view, TWO).labels.max() == UNDECIDED
    assert infer_from_gradient_direction(view, TWO).labels.max() == UNDECIDED
    assert infer_by_sign(ONE, observed(0.0), SPACE).labels.tolist() == [UNDECIDED]


def test_zero_gradients_among_others_are_undecided():
    _, view = observe(steps=30, batch_size=16, **BATCHES)
    features, gradients = view.tensor(Kind.FEATURES), view.tensor(Kind.FEATURE_GRAD).clone()
    gradients[::3] = 0
    found = surrogate(pairs(features, gradients))
    assert (found.labels[::3] == UNDECIDED).all()
    assert (found.labels[1::3] >= 0).all()
    assert (found.margin[::3] == 0).all()


def test_one_seed_gives_one_result_and_leaves_the_transcript_alone():
    _, view = observe(steps=30, batch_size=16, **BATCHES)
    before = [message.tensor.clone() for message in view]
    one, same = surrogate(view, seed=1, **QUICK), surrogate(view, seed=1, **QUICK)
    assert torch.equal(one.labels, same.labels)
    assert all(torch.equal(*pair) for pair in zip(one.clone.parameters(), same.clone.parameters(), strict=True))
    other = surrogate(view, seed=2, **QUICK)
    assert not torch.equal(next(one.clone.parameters()), next(other.clone.parameters()))
    assert all(torch.equal(old, message.tensor) for old, message in zip(before, view, strict=True))


def test_progress_is_told_by_steps():
    told = []
    _, view = observe(steps=30, batch_size=16, **BATCHES)
    infer_by_surrogate(
        view, head_of(), SPACE, ClientLoss(), SurrogateConfig(window=64), generator=generator(0),
        progress=lambda *at: told.append(at),
    )  # fmt: skip
    assert [done for done, _, _ in told] == [8, 12, 16, 20, 24, 28, 30]
    assert {total for _, total, _ in told} == {30}
    assert all(0 <= misfit < 2 for _, _, misfit in told)
