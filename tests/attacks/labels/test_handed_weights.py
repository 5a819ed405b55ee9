"""Labels from cut gradients and weights that are handed over."""

import pytest
import torch

from helpers.checks import truth_of
from helpers.labels import ADAM, SGD, SPACE, head_of, observe
from unsplit import metrics
from unsplit.attacks.labels import UNDECIDED, infer_from_handed_weights
from unsplit.knowledge import ClientLoss


@pytest.mark.parametrize("head", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_weights_handed_over_give_every_label_with_its_name(head, batch_size, optimizer):
    training, view = observe(head=head, batch_size=batch_size, optimizer=optimizer, steps=30)
    found = infer_from_handed_weights(view, head_of(head), SPACE, ClientLoss())
    truth = truth_of(training, range(30))
    assert found.named
    assert found.labels[:batch_size].tolist() == batch_size * [UNDECIDED]
    decided = found.labels >= 0
    assert torch.equal(found.labels[decided], truth[decided])
    assert decided[batch_size:].float().mean() > 0.95


def test_weights_that_have_grown_old_still_tell():
    training, view = observe(head=2, batch_size=8, optimizer=ADAM, turn=10, steps=60)
    found = infer_from_handed_weights(view, head_of(2), SPACE, ClientLoss())
    truth, decided = truth_of(training, range(60)), found.labels >= 0
    assert decided[:80].sum() == 0
    assert metrics.label_accuracy(found.labels[decided], truth[decided]).value > 0.95
