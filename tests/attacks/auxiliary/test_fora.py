"""FORA: a substitute matched to the distribution of smashed data, and its inverse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.checks import noise, refused
from unsplit.attacks.auxiliary import FORA_PRESETS, ForaConfig, fora_preset, invert_by_feature_matching
from unsplit.attacks.auxiliary._networks import make_critic, make_substitute
from unsplit.attacks.auxiliary.fora import kernel_discrepancy
from unsplit.knowledge import AuxiliaryData
from unsplit.metrics import mse, trivial_guesses
from unsplit.models import build, cuts
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Transcript

SMALL = replace(
    FORA_PRESETS["quick"], iterations=150, inverse_iterations=100, batch_size=24, substitute_width=8, inverse_width=8,
)  # fmt: skip
TINY = replace(SMALL, iterations=2, inverse_iterations=2, batch_size=4, matching=0.5, critic_width=4, critic_blocks=1)


def seen(smashed):
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    return Transcript(observer="server", messages=(message,))


@pytest.fixture(scope="module")
def targets(trained, digits):
    truth = digits.train.images[:256]
    return trained.infer(truth), truth


@pytest.fixture(scope="module")
def guess(digits):
    """The error of the best guess that needs no message."""
    return min(trivial_guesses(digits.train.images[:256], digits.train.images.mean(0)).values())


@pytest.fixture(scope="module")
def inverted(targets, digits):
    own = AuxiliaryData(inputs=digits.test.images)
    return invert_by_feature_matching(targets[0], own, SMALL, generator=generator(0))


def test_it_beats_the_best_guess_without_architecture_or_labels(inverted, targets, guess):
    assert mse(inverted.inputs, targets[1]) < 0.6 * guess


def test_against_other_pictures_it_is_no_better_than_the_guess(inverted, targets, guess):
    assert mse(inverted.inputs, targets[1].roll(1, 0)) > guess


def test_the_substitute_ends_as_the_smashed_data_do(inverted):
    assert isinstance(inverted.clones[0][-1], nn.ReLU)
    signed = invert_by_feature_matching(
        seen(torch.randn(8, 3, 12, 12, generator=generator(0))), AuxiliaryData(inputs=noise(8)[0]), TINY,
        generator=generator(0),
    )  # fmt: skip
    assert isinstance(signed.clones[0][-1], nn.BatchNorm2d)


def test_the_same_seed_gives_the_same_numbers():
    view, own = seen(torch.randn(8, 3, 12, 12, generator=generator(0))), AuxiliaryData(inputs=noise(8)[0])
    first, again, other = (
        invert_by_feature_matching(view, own, TINY, generator=generator(seed)).inputs for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_discrepancy_is_its_definition():
    first, second = (torch.randn(count, 3, generator=generator(count)).double() for count in (5, 7))
    joined = np.concatenate([first.numpy(), second.numpy()])
    mean = np.mean([((a - b) ** 2).sum() for a in joined for b in joined])

    def kernel(a, b):
        return sum(np.exp(-((a - b) ** 2).sum() / (2 * 2.0**power * mean)) for power in range(-3, 2))

    def within(sample):
        return np.mean([kernel(a, b) for i, a in enumerate(sample) for j, b in enumerate(sample) if i != j])

    between = np.mean([kernel(a, b) for a in first.numpy() for b in second.numpy()])
    expected = within(first.numpy()) + within(second.numpy()) - 2 * between
    assert float(kernel_discrepancy(first, second)) == pytest.approx(expected, rel=1e-9)


def test_the_discrepancy_is_zero_on_average_for_one_distribution_and_not_for_two():
    drawn = generator(0)
    same, apart = [], []
    for _ in range(200):
        first, second = torch.randn(2, 16, 4, generator=drawn)
        same.append(float(kernel_discrepancy(first, second)))
        apart.append(float(kernel_discrepancy(first, second + 1)))
    error = np.std(same) / np.sqrt(len(same))
    assert abs(np.mean(same)) < 4 * error
    assert np.mean(apart) > 50 * error


def test_the_critic_is_trained_where_it_has_a_share():
    view, own = seen(torch.randn(8, 3, 12, 12, generator=generator(0))), AuxiliaryData(inputs=noise(8)[0])
    results = {
        matching: invert_by_feature_matching(
            view, own, replace(TINY, matching=matching, iterations=5), generator=generator(0)
        ).inputs
        for matching in (0.5, 1.0)
    }
    assert not torch.equal(results[0.5], results[1.0])


@pytest.mark.parametrize(("model", "shape"), [("mnist-net", (1, 28, 28)), ("cifar-net", (3, 32, 32))])
@seeded(0)
def test_every_cut_of_the_papers_nets_has_networks(model, shape):
    for cut in cuts(build(model, generator=generator(0)), shape):
        made = make_substitute(shape, cut.shape, rectified=True, width=2)(torch.rand(2, *shape))
        assert made.shape == (2, *cut.shape)
        assert make_critic(cut.shape, width=8, blocks=1)(made).shape == (2, 1)


@seeded(0)
def test_the_papers_critic_has_the_authors_layers():
    layers = [layer for layer in make_critic((64, 16, 16)) if isinstance(layer, nn.Conv2d)]
    assert [(layer.out_channels, layer.stride[0]) for layer in layers] == [(128, 2), (256, 2), (256, 2)]


def test_flat_smashed_data_and_another_range():
    view = seen(torch.rand(8, 20, generator=generator(0)))
    own = AuxiliaryData(inputs=4 * noise(8)[0] - 2)
    found = invert_by_feature_matching(view, own, replace(TINY, low=-2.0, high=2.0), generator=generator(0))
    assert found.inputs.shape == (8, 1, 28, 28)
    assert float(found.inputs.min()) < 0


@pytest.mark.parametrize(("smashed", "words"), [
    (torch.ones(4, 3, 8, 8), "one value everywhere"),
    (torch.full((4, 3, 8, 8), torch.inf), "NaN or infinity"),
    (torch.arange(120.0).view(4, 6, 5), "cut the network elsewhere"),
])  # fmt: skip
def test_what_cannot_be_matched_is_refused_in_one_sentence(smashed, words):
    sentence = refused(
        invert_by_feature_matching, seen(smashed), AuxiliaryData(inputs=noise(4)[0]), TINY, generator=generator(0)
    )
    assert words in sentence


@pytest.mark.parametrize("settings", [
    {"iterations": 0}, {"batch_size": 1}, {"matching": 1.5}, {"penalty": -1.0}, {"critic_width": 0},
])  # fmt: skip
def test_settings_out_of_range(settings):
    assert next(iter(settings)) in refused(ForaConfig, **settings)


def test_presets_by_name():
    assert fora_preset("paper") == ForaConfig()
    assert "did you mean 'paper'" in refused(fora_preset, "papr")
