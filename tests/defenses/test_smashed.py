"""Defences of smashed data: what each does to a message, and what an attacker who knows it makes of it."""

import math

import pytest
import torch

from helpers.defenses import VALUES, train
from unsplit.defenses import (
    DEFENSES,
    Clip,
    Defense,
    Dropout,
    GaussianNoise,
    LaplaceNoise,
    Quantise,
    RandomReLU,
    Sparsify,
    TopK,
)
from unsplit.models import build
from unsplit.randomness import generator
from unsplit.types import Kind, Setup


@pytest.mark.parametrize("scale", [0.3, 2.0])
@pytest.mark.parametrize("noise", [GaussianNoise, LaplaceNoise])
def test_noise_has_the_size_and_shape_that_it_says(noise, scale):
    added = noise(scale=scale).smashed(VALUES, generator=generator(1)) - VALUES
    size = float(VALUES.square().mean().sqrt())
    assert float(added.std()) == pytest.approx(scale * size, rel=0.02)
    assert abs(float(added.mean())) < 0.02 * scale
    kurtosis = float((added / added.std()).pow(4).mean())
    assert kurtosis == pytest.approx(3.0 if noise is GaussianNoise else 6.0, rel=0.1)


def test_clipping_leaves_what_is_within_and_cuts_off_what_is_not():
    clipped = Clip(limit=0.5).smashed(VALUES, generator=generator(1))
    assert float(clipped.abs().max()) == 0.5
    inside = VALUES.abs() < 0.5
    assert torch.equal(clipped[inside], VALUES[inside])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_quantised_values_are_on_so_many_levels_and_gradients_pass_through(bits):
    values = VALUES.clone().requires_grad_()
    rounded = Quantise(bits=bits).smashed(values, generator=generator(1))
    levels = torch.unique((rounded.detach() * 1e4).round())
    assert len(levels) == 2**bits
    step = float(VALUES.max() - VALUES.min()) / (2**bits - 1)
    assert float((rounded.detach() - VALUES).abs().max()) <= step / 2 + 1e-5
    rounded.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(VALUES))


@pytest.mark.parametrize("keep", [0.1, 0.5])
def test_top_k_keeps_the_largest_of_each_sample(keep):
    kept = TopK(keep=keep).smashed(VALUES, generator=generator(1)).flatten(1)
    flat = VALUES.flatten(1)
    assert ((kept != 0).sum(1) == round(keep * 150)).all()
    least = torch.where(kept != 0, kept.abs(), math.inf).min(1).values
    most = torch.where(kept == 0, flat.abs(), 0).max(1).values
    assert (least >= most).all()
    assert torch.equal(kept[kept != 0], flat[kept != 0])


def test_sparsifying_drops_what_is_small():
    left = Sparsify(threshold=1.0).smashed(VALUES, generator=generator(1))
    size = float(VALUES.square().mean().sqrt())
    assert torch.equal(left != 0, VALUES.abs() >= size)


def test_dropout_keeps_the_mean_and_drops_its_share():
    values = torch.ones(200, 100)
    left = Dropout(rate=0.25).smashed(values, generator=generator(1))
    assert float((left == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(left.mean()) == pytest.approx(1.0, abs=0.02)


def test_a_random_relu_is_a_relu_with_noise_that_is_often_off():
    left = RandomReLU(rate=0.4, scale=0.0).smashed(VALUES, generator=generator(1))
    assert float((left > 0).float().mean()) == pytest.approx(0.6 * float((VALUES > 0).float().mean()), abs=0.01)
    assert torch.equal(left[left > 0], VALUES[left > 0])


def test_the_noise_of_training_and_of_use_differ():
    training, view = train(GaussianNoise(scale=1.0), steps=1)
    inputs = training.clients[0].inputs_of(0)
    plain, _ = train(steps=0)
    used = plain.infer(inputs).tensor(Kind.SMASHED)
    noises = [view.tensor(Kind.SMASHED) - used]
    noises += [train(GaussianNoise(scale=1.0), steps=0)[0].infer(inputs).tensor(Kind.SMASHED) - used]
    assert abs(float(torch.corrcoef(torch.stack([noise.flatten() for noise in noises]))[0, 1])) < 0.05


def test_the_client_learns_through_its_defence():
    """The gradient of what was clipped away does not reach the bottom."""
    training, _ = train(Clip(limit=1e-9), steps=2, setup=Setup.A)
    before = build("mnist-net", generator=generator(0))[:2].state_dict()
    moved = training.clients[0].bottom.module.state_dict()
    assert all(torch.equal(before[name], moved[name]) for name in before)


@pytest.mark.parametrize(
    "name", sorted(name for name in DEFENSES if type(DEFENSES[name]()).smashed is not Defense.smashed)
)
def test_the_truth_explains_what_was_seen_better_than_anything_else(name):
    """The misfit that an attacker who knows the defence minimises is lower for the true values than for others."""
    values = VALUES.clamp_min(0) if name == "random-relu" else VALUES
    defense = DEFENSES[name]()
    observed = defense.smashed(values, generator=generator(1))
    right = defense.misfit(values, observed).mean()
    for other in (torch.zeros_like(values), values.roll(1, 0), 2 * values):
        assert right < defense.misfit(other, observed).mean()


def test_knowing_that_values_are_missing_forgives_what_is_missing():
    observed = Dropout(rate=0.5).smashed(VALUES, generator=generator(1))
    aware = Dropout(rate=0.5).misfit(VALUES, observed).mean()
    assert aware < 0.5 * (VALUES - observed).square().mean()
    kept = TopK(keep=0.1).smashed(VALUES, generator=generator(1))
    assert TopK(keep=0.1).misfit(VALUES, kept).mean() < 0.2 * (VALUES - kept).square().mean()
