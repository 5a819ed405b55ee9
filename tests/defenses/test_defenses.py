"""What a client does to its labels and gradients before the server sees them."""

import math

import pytest
import torch

from helpers.checks import truth_of
from helpers.labels import CLASSES, SPACE, heaps, observe
from unsplit import metrics
from unsplit.attacks.labels import GroupingConfig, group_by_cut_gradient
from unsplit.defenses import GradientNoise, LabelDP, randomised_response
from unsplit.errors import InputError
from unsplit.randomness import generator
from unsplit.types import Kind

BATCHES = {"clients": 1, "turn": None, "batch_size": 16}


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
    training, view = observe(steps=80, defenses=(LabelDP(epsilon=1.0),), **BATCHES)
    truth = truth_of(training, range(80))
    plain, _ = observe(steps=0, **BATCHES)
    assert set(truth.tolist()) == set(heaps()[1].tolist())
    found = group_by_cut_gradient(view.between(0, 19), SPACE, GroupingConfig(), generator=generator(3))
    share = metrics.accuracy_up_to_names(found.labels, truth[:320], CLASSES).value
    kept = math.e / (math.e + CLASSES - 1)
    assert abs(share - kept) < 0.1
    assert plain.clients[0].labels_of(0).shape == (16,)


@pytest.mark.parametrize("shape", ["aligned", "isotropic"])
def test_gradient_noise_has_the_power_that_its_scale_says(shape):
    source = generator(0)
    labels = torch.randint(3, (300,), generator=source)
    centres = torch.zeros(3, 50)
    centres[:, :3] = torch.eye(3)
    gradients = centres[labels] + 0.01 * torch.randn(300, 50, generator=source)
    noise = GradientNoise(scale=2.0, shape=shape)
    added = torch.cat([noise.gradients(gradients, labels, generator=generator(seed)) - gradients for seed in range(20)])
    means = torch.stack([gradients[labels == label].mean(0) for label in range(3)])
    shares = torch.bincount(labels) / 300
    power = (shares[:, None] * (means - gradients.mean(0)).square()).sum()
    assert added.square().sum(1).mean() == pytest.approx(4 * float(power), rel=0.05)
    inside = added[:, :3].square().sum() / added.square().sum()
    assert inside > 0.95 if shape == "aligned" else inside < 0.15


def test_noise_hides_labels_and_aligned_noise_hides_more():
    shares = {}
    for shape in ("aligned", "isotropic"):
        training, view = observe(steps=20, defenses=(GradientNoise(scale=2.0, shape=shape),), **BATCHES)
        found = group_by_cut_gradient(view, SPACE, GroupingConfig(), generator=generator(3))
        truth = truth_of(training, range(20))
        shares[shape] = metrics.accuracy_up_to_names(found.labels, truth, CLASSES).value
    assert shares["aligned"] < 0.5
    assert shares["aligned"] < shares["isotropic"] - 0.1


def test_noise_is_drawn_anew_each_step_and_alike_for_one_seed():
    views = [observe(steps=3, defenses=(GradientNoise(scale=1.0),), **BATCHES)[1] for _ in range(2)]
    plain = observe(steps=3, **BATCHES)[1]
    one, same = (view.tensor(Kind.FEATURE_GRAD) for view in views)
    assert torch.equal(one, same)
    noise = one[:16] - plain.of(Kind.FEATURE_GRAD).between(0, 0).tensor(Kind.FEATURE_GRAD)
    assert noise.abs().max() > 0


def test_no_noise_changes_nothing():
    quiet = observe(steps=5, defenses=(GradientNoise(scale=0.0),), **BATCHES)[1]
    plain = observe(steps=5, **BATCHES)[1]
    assert torch.equal(quiet.tensor(Kind.FEATURE_GRAD), plain.tensor(Kind.FEATURE_GRAD))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GradientNoise(scale=-1.0), "scale is -1.0"),
        (lambda: GradientNoise(scale=math.inf), "0 or more, and finite"),
        (lambda: GradientNoise(scale=1.0, shape="align"), "did you mean 'aligned'"),
        (lambda: randomised_response(torch.zeros(2).long(), 2, 0.0, generator=generator(0)), "above 0"),
        (lambda: LabelDP(epsilon=-1.0), "above 0"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
