"""Labels of the digits through the real protocol: two clients, single-sample steps, hand-over through the server."""

import math

import pytest
import torch
from torch.nn import functional

from helpers.checks import truth_of
from helpers.labels import DIGITS_SGD, TEN, digits_head, hand_offs_on_digits
from unsplit import metrics
from unsplit.attacks.labels import (
    GroupingConfig,
    MatchingConfig,
    group_by_cut_gradient,
    head_weight_gradients,
    infer_from_known_samples,
    infer_from_weight_gradients,
)
from unsplit.attacks.labels.weight_gradient import _gradient_of_each_label
from unsplit.errors import InputError
from unsplit.knowledge import ClientOptimizer, HeadWeightGradient, KnownSamples, LabelSpace
from unsplit.models import build, split_head
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER
from unsplit.randomness import generator
from unsplit.types import Kind, Setup

OPTIMIZERS = {
    "sgd": DIGITS_SGD,
    "decay": OptimizerSpec(name="sgd", lr=0.01, options={"weight_decay": 0.1}),
    "momentum": OptimizerSpec(name="sgd", lr=0.01, options={"momentum": 0.9, "weight_decay": 0.1}),
    "adam": OptimizerSpec(),
    "adam-decay": OptimizerSpec(options={"weight_decay": 0.1, "betas": (0.8, 0.99)}),
    "adamw": OptimizerSpec(name="adamw"),
}


@pytest.fixture(scope="module")
def seen(digits):
    """300 steps in setup (b) under plain DIGITS_SGD."""
    return hand_offs_on_digits(digits, steps=302)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weight_gradients_follow_from_the_hand_offs(digits, optimizer):
    """Against the gradient that the client really had, worked out from its data and the weights handed over."""
    spec = OPTIMIZERS[optimizer]
    training, view = hand_offs_on_digits(digits, optimizer=spec, hand_off_optimizer=optimizer not in ("sgd", "decay"))
    found = head_weight_gradients(view, ClientOptimizer(spec=spec))
    handed = {message.step: message.tensors for message in view.of(Kind.WEIGHTS) if message.receiver == SERVER}
    assert found.steps == tuple(range(1, 39))
    for row, step in enumerate(found.steps):
        weight = handed[step - 1]["head.fc3.weight"].clone().requires_grad_()
        bias = handed[step - 1]["head.fc3.bias"].clone().requires_grad_()
        features = view.between(step, step).tensor(Kind.FEATURES)
        loss = functional.cross_entropy(functional.linear(features, weight, bias), training.truth(step).labels)
        expected = torch.autograd.grad(loss, (weight, bias))
        for name, value in zip(("fc3.weight", "fc3.bias"), expected, strict=True):
            torch.testing.assert_close(found.gradients[name][row], value, rtol=1e-3, atol=2e-6)


def test_a_dense_head_s_gradients_in_closed_form(seen):
    """The cut gradient is W'(p - y), the weight gradient (p - y)h'."""
    training, view = seen
    handed = {message.step: message.tensors for message in view.of(Kind.WEIGHTS) if message.receiver == SERVER}
    gradients = head_weight_gradients(view, ClientOptimizer(spec=DIGITS_SGD))
    for step in (1, 50, 200):
        weight, bias = handed[step - 1]["head.fc3.weight"], handed[step - 1]["head.fc3.bias"]
        features = view.between(step, step).tensor(Kind.FEATURES)[0]
        p = (weight @ features + bias).softmax(0)
        p[training.truth(step).labels] -= 1
        torch.testing.assert_close(
            view.between(step, step).tensor(Kind.FEATURE_GRAD)[0], weight.T @ p, rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(
            gradients.gradients["fc3.weight"][step - 1], torch.outer(p, features), rtol=1e-3, atol=2e-6
        )


@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_labels_from_weight_gradients_are_all_right(digits, setup, optimizer):
    spec = OPTIMIZERS[optimizer]
    training, view = hand_offs_on_digits(digits, setup=setup, optimizer=spec, steps=302)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=spec))
    found = infer_from_weight_gradients(view, gradients, digits_head(), TEN, MatchingConfig(), generator=generator(3))
    assert found.named
    assert torch.equal(found.labels, truth_of(training, gradients.steps))


def test_labels_from_cut_gradients_up_to_names_and_with_known_samples(seen):
    training, view = seen
    truth = truth_of(training, range(302))
    groups = group_by_cut_gradient(view, TEN, GroupingConfig(), generator=generator(3))
    assert not groups.named
    assert metrics.accuracy_up_to_names(groups.labels, truth, 10).value == 1
    first = tuple(int((truth == label).nonzero()[0]) for label in range(10))
    found = infer_from_known_samples(view, KnownSamples(indices=first, labels=tuple(range(10))))
    assert found.named
    assert torch.equal(found.labels, truth)


def share_at_chance(share, samples):
    """Within four standard deviations of guessing one of ten classes."""
    return abs(share - 0.1) < 4 * math.sqrt(0.09 / samples)


def test_on_shuffled_labels_every_attack_is_at_chance(digits):
    """Null: the client trains on shuffled labels; what is inferred says nothing about the original ones."""
    order = torch.randperm(len(digits.train), generator=generator(9))
    shuffled = digits.train.labels[order]
    training, view = hand_offs_on_digits(digits, labels=shuffled, steps=402)
    original, _ = hand_offs_on_digits(digits, steps=0)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=DIGITS_SGD))
    found = infer_from_weight_gradients(view, gradients, digits_head(), TEN, MatchingConfig(), generator=generator(3))
    assert torch.equal(found.labels, truth_of(training, gradients.steps))
    truth = truth_of(original, gradients.steps)
    assert share_at_chance(metrics.label_accuracy(found.labels, truth).value, len(truth))
    groups = group_by_cut_gradient(view, TEN, GroupingConfig(), generator=generator(3))
    everything = truth_of(original, range(402))
    assert metrics.accuracy_up_to_names(groups.labels, everything, 10).value < 0.25


def test_gradients_of_all_labels_at_once_are_those_of_one_at_a_time():
    head = split_head(build("mnist-net", generator=generator(0)), 2)[1]
    features = torch.rand(1, 120, generator=generator(1))
    at_once = _gradient_of_each_label(head, features, 10)
    for label in range(10):
        loss = functional.cross_entropy(head(features), torch.tensor([label]))
        one = torch.autograd.grad(loss, list(head.parameters()))
        torch.testing.assert_close(at_once[label], torch.cat([value.flatten() for value in one]), rtol=1e-4, atol=1e-7)


def test_the_same_seed_gives_the_same_labels(seen):
    _, view = seen
    one, same = (
        group_by_cut_gradient(view, TEN, GroupingConfig(restarts=1), generator=generator(3)).labels for _ in range(2)
    )
    assert torch.equal(one, same)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=DIGITS_SGD))
    heads = [
        infer_from_weight_gradients(view, gradients, digits_head(), TEN, MatchingConfig(), generator=generator(3)).clone
        for _ in range(2)
    ]
    assert torch.equal(heads[0].fc3.weight, heads[1].fc3.weight)


def weights_view(digits, **changes):
    return hand_offs_on_digits(digits, steps=12, **changes)[1]


BAD_VIEWS = {
    "long turns": (lambda d: weights_view(d, turn=3), "no two hand-offs of a head one step apart"),
    "one client": (lambda d: weights_view(d, clients=1), "two clients or more"),
    "peer to peer": (lambda d: weights_view(d, hand_off="peer"), "two clients or more"),
    "no head": (lambda d: weights_view(d, setup=Setup.A), "no two hand-offs of a head"),
}


@pytest.mark.parametrize("case", BAD_VIEWS)
def test_transcripts_without_weight_gradients_are_one_sentence(digits, case):
    make, words = BAD_VIEWS[case]
    with pytest.raises(InputError, match=words):
        head_weight_gradients(make(digits), ClientOptimizer(spec=DIGITS_SGD))


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_weights_alone_do_not_give_the_gradient_under_a_moment(digits, optimizer):
    spec = OPTIMIZERS[optimizer]
    view = weights_view(digits, optimizer=spec, hand_off_optimizer=False)
    with pytest.raises(InputError, match="holds no first moment"):
        head_weight_gradients(view, ClientOptimizer(spec=spec))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"head": 2}, "does not take features of shape"),
        ({"classes": 7}, r"outputs of shape \(10,\) for 7 classes"),
        ({"batch": 2}, "batch of 2 samples"),
        ({"steps": (5000,)}, "lacks the features of step 5000"),
        ({"gradients": {}}, "lack"),
    ],
)
def test_heads_and_gradients_that_do_not_fit_are_one_sentence(digits, change, words):
    view = weights_view(digits, batch_size=change.get("batch", 1))
    gradients = head_weight_gradients(view, ClientOptimizer(spec=DIGITS_SGD))
    gradients = HeadWeightGradient(
        gradients=change.get("gradients", gradients.gradients), steps=change.get("steps", gradients.steps)
    )
    space = LabelSpace(classes=change.get("classes", 10))
    with pytest.raises(InputError, match=words):
        infer_from_weight_gradients(
            view, gradients, digits_head(change.get("head", 1)), space, MatchingConfig(), generator=generator(0)
        )
