"""Metrics against scikit-image, scikit-learn and paper and pencil."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score

from unsplit import metrics
from unsplit.randomness import generator


@pytest.fixture
def pair():
    source = generator(0)
    truth = torch.rand(3, 1, 28, 28, generator=source)
    return (truth + 0.1 * torch.randn(3, 1, 28, 28, generator=source)).clamp(0, 1), truth


def test_mse_and_psnr_as_scikit_image_has_them(pair):
    found, truth = pair
    arrays = truth.numpy(), found.numpy()
    assert metrics.mse(*pair) == pytest.approx(mean_squared_error(*arrays), rel=1e-5)
    assert metrics.psnr(*pair) == pytest.approx(peak_signal_noise_ratio(*arrays, data_range=1), rel=1e-5)
    doubled = peak_signal_noise_ratio(*(2 * array for array in arrays), data_range=2)
    assert metrics.psnr(2 * found, 2 * truth, high=2.0) == pytest.approx(doubled, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 11, 40)])
def test_ssim_as_scikit_image_has_it(shape):
    """The same Gaussian window. torchmetrics mirrors the border, and scikit-image leaves it out of the mean, so that
    scikit-image is given pictures with the mirrored border on them.
    """
    source = generator(0)
    truth = torch.rand(2, *shape, generator=source)
    found = (truth + 0.1 * torch.randn(2, *shape, generator=source)).clamp(0, 1)
    mirrored = [np.pad(side.numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), mode="reflect") for side in (truth, found)]
    values = [
        structural_similarity(
            a, b, channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(*mirrored, strict=True)
    ]
    assert metrics.ssim(found, truth) == pytest.approx(np.mean(values), abs=1e-5)
    assert metrics.ssim(truth, truth) == pytest.approx(1)


def test_ssim_of_pictures_smaller_than_its_window_is_not_a_number():
    small = torch.rand(2, 1, 8, 8, generator=generator(0))
    assert np.isnan(metrics.ssim(small, small))


def test_the_best_of_eight_forgives_one_flip_or_turn_of_the_whole_set():
    truth = torch.rand(3, 2, 6, 6, generator=generator(0))
    transposed, half_turned = truth.mT, truth.flip(-1, -2)
    assert metrics.mse_best_of_eight(truth, truth) == 0
    assert metrics.mse_best_of_eight(transposed, truth) == metrics.mse_best_of_eight(half_turned, truth) == 0
    assert len({tuple(turned.flatten().tolist()) for turned in metrics.eight_orientations(truth)}) == 8
    # A picture that is turned by itself is wrong.
    one_turned = torch.cat([truth[:2], truth[2:].rot90(1, (-2, -1))])
    assert metrics.mse_best_of_eight(one_turned, truth) == pytest.approx(metrics.mse(one_turned, truth))
    assert metrics.mse(one_turned, truth) > 0.01
    assert metrics.mse_best_of_eight(1 - truth, truth) > 0.01


@given(a=st.floats(-3, 3).filter(lambda a: abs(a) > 0.05), b=st.floats(-2, 2))
@settings(deadline=None)
def test_the_scale_free_error_forgives_scale_offset_and_sign(a, b):
    truth = torch.rand(2, 1, 6, 6, generator=generator(0))
    found = truth + 0.1 * torch.randn(2, 1, 6, 6, generator=generator(1))
    assert metrics.mse_scale_free(a * found + b, truth) == pytest.approx(metrics.mse_scale_free(found, truth), rel=1e-3)
    columns = np.stack([found.flatten().numpy(), np.ones(72)], 1)
    residual = np.linalg.lstsq(columns, truth.flatten().numpy(), rcond=None)[1] / 72
    assert metrics.mse_scale_free(found, truth) == pytest.approx(residual[0], rel=1e-4)


def test_the_scale_free_error_of_a_flat_picture_is_that_of_the_best_constant():
    truth = torch.rand(2, 1, 6, 6, generator=generator(0))
    assert metrics.mse_scale_free(torch.zeros_like(truth), truth) == pytest.approx(float(truth.var(unbiased=False)))


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_the_scale_free_error_is_never_above_the_error_nor_above_the_best_constant(seed):
    source = generator(seed)
    found, truth = torch.rand(2, 3, 1, 4, 4, generator=source)
    left = metrics.mse_scale_free(found, truth)
    assert left <= metrics.mse(found, truth) * (1 + 1e-5)
    assert left <= float(truth.var(unbiased=False)) * (1 + 1e-5)


def test_trivial_guesses_by_hand():
    truth = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    guesses = metrics.trivial_guesses(truth, torch.tensor([0.0, 0.5]))
    assert guesses == pytest.approx({"half": 0.25, "best constant": 0.1875, "black": 0.25, "mean picture": 0.125})
    assert metrics.skill(0.0625, guesses) == pytest.approx(0.5)
    assert metrics.skill(0.0, guesses) == 1
    assert metrics.skill(0.25, guesses) == pytest.approx(-1)


def test_trivial_guesses_in_another_range():
    truth = torch.tensor([[-1.0, 3.0]])
    guesses = metrics.trivial_guesses(truth, torch.tensor([-1.0, 1.0]), low=-1.0, high=3.0)
    assert guesses == pytest.approx({"half": 4, "best constant": 4, "black": 8, "mean picture": 2})


@pytest.mark.parametrize(
    ("error", "best", "expected"),
    [(0.0, 0.0, 1.0), (0.1, 0.0, float("-inf")), (0.1, 0.1, 0.0), (0.0, 0.1, 1.0), (0.3, 0.1, -2.0)],
)
def test_the_skill_where_a_guess_is_perfect_and_elsewhere(error, best, expected):
    assert metrics.skill(error, {"half": 0.5, "best": best}) == pytest.approx(expected)


def test_accuracy_and_agreement_as_scikit_learn_has_them():
    source = generator(0)
    outputs, others = torch.rand(50, 4, generator=source), torch.rand(50, 4, generator=source)
    labels = torch.randint(4, (50,), generator=source)
    assert metrics.accuracy(outputs, labels) == pytest.approx(accuracy_score(labels, outputs.argmax(1)))
    assert metrics.agreement(outputs, others) == pytest.approx(accuracy_score(others.argmax(1), outputs.argmax(1)))
    assert metrics.label_accuracy(outputs.argmax(1), labels).value == pytest.approx(metrics.accuracy(outputs, labels))


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(deadline=None)
def test_accuracy_up_to_names_is_the_best_over_all_renamings(pairs):
    groups, truth = (torch.tensor(values) for values in zip(*pairs, strict=True))
    best = max(
        sum(group >= 0 and renaming[group] == label for group, label in pairs)
        for renaming in itertools.permutations(range(4))
    )
    assert metrics.accuracy_up_to_names(groups, truth, 4).value == pytest.approx(best / len(pairs))


def test_an_undecided_label_is_a_wrong_one():
    truth = torch.tensor([0, 1, 1, 0])
    assert metrics.label_accuracy(torch.tensor([0, -1, 1, -1]), truth).value == 0.5
    assert metrics.accuracy_up_to_names(torch.tensor([1, -1, 0, -1]), truth, 2).value == 0.5
    assert metrics.accuracy_up_to_names(torch.full((4,), -1), truth, 2).value == 0


@given(st.integers(1, 500).flatmap(lambda samples: st.tuples(st.integers(0, samples), st.just(samples))))
@settings(deadline=None)
def test_the_wilson_interval_as_its_formula_has_it(counts):
    hits, samples = counts
    share, z = metrics.Share.of(hits, samples), 1.959963985
    middle = (share.value + z**2 / (2 * samples)) / (1 + z**2 / samples)
    half = z * (share.value * (1 - share.value) / samples + z**2 / (4 * samples**2)) ** 0.5 / (1 + z**2 / samples)
    assert (share.low, share.high) == pytest.approx((middle - half, middle + half), abs=1e-7)
    assert -1e-12 <= share.low <= share.value <= share.high <= 1 + 1e-12


def test_the_wilson_interval_by_hand():
    """90 of 100: centre (0.9 + z²/200) / (1 + z²/100), z = 1.96."""
    share = metrics.Share.of(90, 100)
    assert (share.low, share.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert metrics.Share.of(1000, 1000).low == pytest.approx(0.99617, abs=1e-4)


def test_chance_is_the_commonest_class():
    assert metrics.chance(torch.tensor([0, 1, 1, 2])) == 0.5


def test_the_scale_free_error_of_each_picture_forgives_each_its_own_sign():
    truth = torch.rand(4, 1, 6, 6, generator=generator(0))
    signs = torch.tensor([1.0, -1.0, 0.5, -2.0]).reshape(4, 1, 1, 1)
    found = signs * truth + torch.rand(4, 1, 1, 1, generator=generator(1))
    assert metrics.mse_scale_free_each(found, truth) == pytest.approx(0, abs=1e-10)
    assert metrics.mse_scale_free(found, truth) > 0.01
    constant = torch.zeros_like(truth)
    spread = truth.flatten(1).var(dim=1, correction=0).mean()
    assert metrics.mse_scale_free_each(constant, truth) == pytest.approx(float(spread), rel=1e-5)
