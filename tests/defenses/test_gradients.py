"""Defences of cut gradients: noise shaped by the classes, lengths and signs."""

import numpy as np
import pytest
import torch

from helpers.checks import truth_of
from helpers.labels import CLASSES, SPACE, observe
from unsplit import metrics
from unsplit.attacks.labels import GroupingConfig, group_by_cut_gradient
from unsplit.defenses import GradientNoise, Marvell, MaxNorm, SignGradients
from unsplit.defenses.gradients import marvell_variances
from unsplit.randomness import generator
from unsplit.types import Kind

BATCHES = {"clients": 1, "turn": None, "batch_size": 16}


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


def divergence(along, across, apart, within, dimensions):
    one, two = along[0] + within[0], along[1] + within[1]
    one_across, two_across = across[0] + within[0], across[1] + within[1]
    line = (one + apart) / two + (two + apart) / one
    return line + (dimensions - 1) * (one_across / two_across + two_across / one_across)


def test_marvell_finds_noise_that_no_other_of_its_power_beats():
    """Against a random search; and for two like classes it puts all of it along the line between their means."""
    apart, within, share, dimensions, power = 1.0, (0.02, 0.08), 0.3, 10, 2.0
    along, across = marvell_variances(apart, within, share, dimensions, power)
    used = (1 - share) * (along[0] + 9 * across[0]) + share * (along[1] + 9 * across[1])
    assert used <= power * 1.001
    best = divergence(along, across, apart, within, dimensions)
    source = np.random.default_rng(0)
    for _ in range(5000):
        values = source.dirichlet([0.5] * 4) * power
        other = [values[0] / (1 - share), values[1] / share]
        around = [values[2] / (9 * (1 - share)), values[3] / (9 * share)]
        other = [max(one, two) for one, two in zip(other, around, strict=True)]
        spent = (1 - share) * (other[0] + 9 * around[0]) + share * (other[1] + 9 * around[1])
        if spent <= power:
            assert divergence(other, around, apart, within, dimensions) >= best * 0.999
    along, across = marvell_variances(1.0, (0.05, 0.05), 0.5, 10, 2.0)
    assert along == pytest.approx((2.0, 2.0), rel=1e-2)
    assert max(across) < 1e-3


def test_marvell_hides_two_classes_better_than_as_much_isotropic_noise():
    labels = torch.randint(2, (2000,), generator=generator(0))
    centres = torch.zeros(2, 40)
    centres[1, 0] = 1.0
    gradients = centres[labels] + 0.05 * torch.randn((2000, 40), generator=generator(1))
    hidden = Marvell(power=4.0).gradients(gradients, labels, generator=generator(2))
    spread = Marvell(power=4.0)
    isotropic = gradients + (spread.power / 40) ** 0.5 * torch.randn((2000, 40), generator=generator(3))
    shares = [float(((sent[:, 0] > 0.5).long() == labels).float().mean()) for sent in (gradients, isotropic, hidden)]
    assert shares[0] == 1.0
    assert shares[2] < shares[1] - 0.2


def test_max_norm_makes_all_gradients_as_long_as_the_longest_on_average():
    gradients = torch.randn((50, 8), generator=generator(2)) * torch.linspace(0.1, 3, 50)[:, None]
    gradients[3] = 0
    draws = [MaxNorm().gradients(gradients, torch.zeros(50).long(), generator=generator(seed)) for seed in range(4000)]
    squares = torch.stack(draws).square().sum(2).mean(0)
    longest = float(gradients.square().sum(1).max())
    others = torch.arange(50) != 3
    assert torch.allclose(squares[others], torch.full((49,), longest), rtol=0.15)
    assert float(squares[3]) == 0
    turned = torch.nn.functional.cosine_similarity(draws[0][others], gradients[others]).abs()
    assert torch.allclose(turned, torch.ones(49), atol=1e-5)


def test_signs_keep_signs_and_the_mean_magnitude():
    gradients = torch.randn((50, 8), generator=generator(2))
    sent = SignGradients().gradients(gradients, torch.zeros(50).long(), generator=generator(0))
    assert torch.equal(sent.sign(), gradients.sign())
    assert len(torch.unique(sent.abs())) == 1
    assert float(sent.abs().mean()) == pytest.approx(float(gradients.abs().mean()))
