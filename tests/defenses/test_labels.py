"""Label differential privacy: what a client does to its labels before it trains on them."""

import math

import pytest
import torch

from helpers.checks import truth_of
from helpers.labels import CLASSES, SPACE, heaps, observe
from unsplit import metrics
from unsplit.attacks.labels import GroupingConfig, group_by_cut_gradient
from unsplit.defenses import LabelDP, randomised_response
from unsplit.randomness import generator


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 10.0])
def test_randomised_response_keeps_the_share_that_the_budget_allows(epsilon):
    labels = torch.arange(5).repeat(8000)
    told = randomised_response(labels, 5, epsilon, generator=generator(0))
    kept = math.exp(epsilon) / (math.exp(epsilon) + 4)
    assert abs(float((told == labels).float().mean()) - kept) < 4 * math.sqrt(kept * (1 - kept) / 40_000) + 1e-6
    wrong = (told - labels)[told != labels] % 5
    if len(wrong) > 1000:
        assert torch.bincount(wrong, minlength=5)[1:].float().std() < 0.05 * len(wrong)


def test_no_attack_reads_labels_that_the_client_did_not_train_on():
    """Up to the share that randomised response keeps, and the truth stays the truth."""
    training, view = observe(steps=80, defenses=(LabelDP(epsilon=1.0),), clients=1, turn=None, batch_size=16)
    truth = truth_of(training, range(80))
    plain, _ = observe(steps=0, clients=1, turn=None, batch_size=16)
    assert set(truth.tolist()) == set(heaps()[1].tolist())
    found = group_by_cut_gradient(view.between(0, 19), SPACE, GroupingConfig(), generator=generator(3))
    share = metrics.accuracy_up_to_names(found.labels, truth[:320], CLASSES).value
    kept = math.e / (math.e + CLASSES - 1)
    assert abs(share - kept) < 0.1
    assert plain.clients[0].labels_of(0).shape == (16,)
