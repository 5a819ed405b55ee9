"""The gradients of the head's weights that follow from hand-offs, and the labels that match them."""

import pytest
import torch
from torch.nn import functional

from helpers.checks import truth_of
from helpers.labels import ADAM, CLASSES, ONE, SGD, head_of, heaps, match, observe, observed
from unsplit import metrics
from unsplit.attacks.labels import UNDECIDED, MatchingConfig, head_weight_gradients
from unsplit.errors import InputError
from unsplit.knowledge import ClientOptimizer
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, evaluated
from unsplit.randomness import generator
from unsplit.types import Kind, Setup


def written_down(training, view, step):
    """The head's gradients at a step by the formulas: W'(p - y) and (p - y)h', and the mean of p - y."""
    handed = {message.step: message.tensors for message in view.of(Kind.WEIGHTS) if message.receiver == SERVER}
    weight, bias = handed[step - 1]["head.fc3.weight"], handed[step - 1]["head.fc3.bias"]
    features = view.between(step, step).tensor(Kind.FEATURES)
    error = (features @ weight.T + bias).softmax(1) - functional.one_hot(training.truth(step).labels, CLASSES)
    error = error / len(error)
    return {"cut": error @ weight, "fc3.weight": error.T @ features, "fc3.bias": error.sum(0)}


@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_dense_head_s_gradients_are_what_the_formulas_say(setup, batch_size):
    training, view = observe(setup=setup, batch_size=batch_size)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    assert gradients.steps == tuple(range(1, 39))
    for row, step in enumerate(gradients.steps):
        expected = written_down(training, view, step)
        cut = view.between(step, step).tensor(Kind.FEATURE_GRAD)
        torch.testing.assert_close(cut, expected["cut"], rtol=1e-4, atol=1e-7)
        for name in ("fc3.weight", "fc3.bias"):
            torch.testing.assert_close(gradients.gradients[name][row], expected[name], rtol=1e-3, atol=5e-6)


OPTIMIZERS = {
    "adam": {}, "adam amsgrad": {"amsgrad": True}, "adam decay": {"weight_decay": 0.1}, "nadam": {}, "radam": {},
    "adamax": {}, "adamw": {"weight_decay": 0.1}, "sgd momentum": {"momentum": 0.9},
    "sgd nesterov": {"momentum": 0.9, "nesterov": True}, "sgd dampening": {"momentum": 0.9, "dampening": 0.3},
    "adam maximize": {"maximize": True}, "nadam decay": {"weight_decay": 0.1}, "radam decay": {"weight_decay": 0.1},
    "adamax decay": {"weight_decay": 0.1}, "adam decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_gradient_follows_from_a_handed_over_moment(name):
    options = OPTIMIZERS[name]
    spec = OptimizerSpec(name=name.split()[0], lr=0.001, options=options)
    training, view = observe(optimizer=spec, steps=12)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=spec))
    for row, step in enumerate(gradients.steps):
        expected = written_down(training, view, step)
        for part in ("fc3.weight", "fc3.bias"):
            torch.testing.assert_close(gradients.gradients[part][row], expected[part], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["rmsprop", "adagrad", "adadelta", "asgd", "rprop"])
def test_optimisers_without_a_first_moment_give_no_gradient(name):
    spec = OptimizerSpec(name=name, lr=0.001)
    _, view = observe(optimizer=spec, steps=12)
    with pytest.raises(InputError, match="holds no first moment") as caught:
        head_weight_gradients(view, ClientOptimizer(spec=spec))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setup", [Setup.B, Setup.C])
@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_the_paper_s_rule_finds_the_one_negative_entry_of_the_bias_s_gradient(setup, optimizer):
    """For one sample p - y is negative at its label only: an oracle that needs neither clone nor truth."""
    training, view = observe(setup=setup, optimizer=optimizer, steps=250)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=optimizer))
    by_sign = gradients.gradients["fc3.bias"].argmin(1)
    assert torch.equal(by_sign, truth_of(training, gradients.steps))
    assert torch.equal(match(view, gradients).labels, by_sign)


def test_a_clone_left_untrained_falls_behind_a_client_that_grows_confident():
    """Early on it does as well; later the client's gradients vanish and the clone's own guess decides."""
    training, view = observe(steps=302)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    right = torch.zeros(300)
    for seed in range(3):
        found = match(view, gradients, config=MatchingConfig(train_clone=False), seed=seed)
        assert found.clone is None
        right += (found.labels == truth_of(training, gradients.steps)) / 3
    assert right[:50].mean() > 0.9
    assert right[150:].mean() < 0.6
    assert torch.equal(match(view, gradients).labels, truth_of(training, gradients.steps))


def test_the_clone_trained_along_learns_the_task():
    training, view = observe(steps=302, setup=Setup.C)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    inputs, labels = heaps()
    features = evaluated(training.model()[:-1], inputs)
    first = head_of().blueprint.instantiate(generator=generator(3))
    assert metrics.accuracy(first(features), labels) < 0.6
    assert metrics.accuracy(match(view, gradients).clone(features), labels) > 0.9


def test_a_head_of_two_layers_is_matched_in_all_its_weights():
    _, view = observe(head=2, setup=Setup.B, steps=30)
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    assert set(gradients.gradients) == {"fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"}
    found = match(view, gradients, architecture=head_of(2))
    assert found.labels.shape == (28,)
    assert set(found.labels.tolist()) <= set(range(CLASSES))


def test_a_zero_weight_gradient_is_undecided():
    assert match(ONE, observed(0.0)).labels.tolist() == [UNDECIDED]
