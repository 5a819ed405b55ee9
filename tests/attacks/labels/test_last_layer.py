"""Labels by algebra from the weight gradient of the head's last layer."""

import pytest
import torch
from torch import nn

from helpers.checks import truth_of
from helpers.labels import ADAM, CLASSES, SGD, SPACE, TEN, dense, heaps, on_digits, train_dense
from unsplit import metrics
from unsplit.attacks.labels import head_weight_gradients, infer_by_sign, infer_from_batch_gradients
from unsplit.knowledge import ClientOptimizer
from unsplit.randomness import generator


@pytest.mark.parametrize("head", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_the_sign_rule_is_exact_at_any_depth(digits, head, optimizer):
    training, view, _ = on_digits(
        digits, head=head, steps=120, batch_size=1, clients=2, turn=1, client_optimizer=optimizer,
        hand_off_optimizer=optimizer is ADAM,
    )  # fmt: skip
    gradients = head_weight_gradients(view, ClientOptimizer(spec=optimizer))
    found = infer_by_sign(view, gradients, TEN)
    assert found.named
    assert torch.equal(found.labels, truth_of(training, gradients.steps))


@pytest.mark.parametrize(("batch_size", "least", "most"), [(1, 1.0, 1.0), (8, 1.0, 1.0), (9, 0.99, 1.0), (100, 0, 0.8)])
def test_least_squares_gives_batches_up_to_the_width_of_the_features(batch_size, least, most):
    """The head takes eight numbers and has a bias, so nine samples are the most that can be told apart. No ReLU before
    it, whose dead units would leave fewer; labels at random, which the features themselves do not tell.
    """
    inputs, labels = heaps()[0], torch.randint(CLASSES, (600,), generator=generator(5))
    layers = (dense(12, 8), nn.Sigmoid, dense(8, CLASSES))
    training, view, _ = train_dense(
        inputs.double(), labels, *layers, steps=12, clients=2, turn=1, batch_size=batch_size, client_optimizer=SGD
    )
    gradients = head_weight_gradients(view, ClientOptimizer(spec=SGD))
    found = infer_from_batch_gradients(view, gradients, SPACE)
    share = metrics.label_accuracy(found.labels, truth_of(training, gradients.steps)).value
    assert least <= share <= most
