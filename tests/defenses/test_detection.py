"""A client's guards: their scores in closed form, what they send, when they stop, and that nothing else changes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from unsplit.defenses.detection import (
    HijackSuspected,
    Likeness,
    ScrutinyConfig,
    SplitGuardConfig,
    Summary,
    Verdict,
    angle,
    fitting_error,
    likeness,
    scrutiny_score,
    splitguard_distance,
    splitguard_score,
)
from unsplit.errors import InputError, UnsplitError
from unsplit.randomness import generator

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def summary(vector, length):
    return Summary(vector=vector, length=length)


def test_angles():
    assert angle(EAST, NORTH) == pytest.approx(math.pi / 2)
    assert angle(EAST, 3 * EAST) == pytest.approx(0)
    assert angle(EAST, -EAST) == pytest.approx(math.pi)
    assert angle(EAST, torch.zeros(2)) == 0


def test_fakes_that_point_backwards_are_far_and_fakes_like_the_rest_are_not():
    regular = summary(EAST, 1.0)
    assert splitguard_distance(summary(-EAST, 3.0), regular, regular) == pytest.approx(math.pi)
    assert splitguard_distance(regular, regular, regular) == 0
    # Only the halves of the regular gradients differ: the distance is theirs, and negative.
    assert splitguard_distance(summary(EAST + NORTH, 2.0), summary(EAST, 1.0), summary(NORTH, 3.0)) == pytest.approx(
        -math.pi / 2
    )


def test_the_distance_weighs_angles_by_lengths():
    # The fakes stand at a right angle to the rest, and their length differs by 3; the halves differ by 1 in length.
    distance = splitguard_distance(summary(NORTH, 5.0), summary(EAST, 1.5), summary(EAST, 2.5))
    assert distance == pytest.approx(math.pi / 2 * 3 / 4)


def test_the_splitguard_score_in_closed_form():
    assert splitguard_score(0.0, alpha=5, beta=2) == pytest.approx(0.25)
    assert splitguard_score(math.log(3), alpha=1, beta=1) == pytest.approx(0.75)
    assert splitguard_score(math.pi, alpha=5, beta=2) > 0.99 > 0.01 > splitguard_score(-math.pi, alpha=5, beta=2)


def test_likeness_of_four_gradients_on_paper():
    gradients = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    found = likeness(gradients, torch.tensor([0, 0, 1, 1]))
    assert found == Likeness(same=0.5, same_spread=0.5, other=0.5, other_spread=0.0)
    assert found.gap == 0
    assert found.overlap == 0  # a point in a range: the intersection has no length
    wide = Likeness(same=0.9, same_spread=0.1, other=0.5, other_spread=0.4)
    assert wide.gap == pytest.approx(0.4 / 1.4)
    assert wide.overlap == pytest.approx(0.1 / 0.9)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_a_batch_without_pairs_of_both_sorts_says_nothing(labels):
    assert likeness(torch.rand(3, 4, generator=generator(0)), torch.tensor(labels)) is None


def test_likeness_depends_on_no_scale_of_a_gradient():
    gradients, labels = torch.randn(12, 3, 4, generator=generator(0)), torch.arange(12) % 3
    scales = torch.rand(12, 1, 1, generator=generator(1)) + 0.1
    first, second = likeness(gradients, labels), likeness(gradients * scales, labels)
    assert first.same == pytest.approx(second.same, abs=1e-6)
    assert first.other_spread == pytest.approx(second.other_spread, abs=1e-6)


def test_the_fitting_error_is_that_of_numpy_and_zero_for_a_parabola():
    places = np.arange(30.0)
    assert fitting_error(list(2 * places**2 - 3 * places + 1)) == pytest.approx(0, abs=1e-8)
    values = np.random.default_rng(0).normal(size=30)
    expected = np.sqrt(np.mean((np.polyval(np.polyfit(places, values, 2), places) - values) ** 2))
    assert fitting_error(list(values)) == pytest.approx(expected)
    assert fitting_error([1.0, 5.0, 2.0]) == 0


def test_the_scrutiny_score_in_closed_form():
    config = ScrutinyConfig(shift=0.0, slope=1.0, gap_exponent=0.0)
    overlap = math.exp(-0.5) - math.exp(-1)  # -ln(overlap + 1/e) = 1/2
    assert scrutiny_score(0.5, 0.0, overlap, config) == pytest.approx(1 / (1 + math.exp(-0.5 * 2 * 0.5)))
    assert scrutiny_score(0.3, 0.0, 1.0, config) == pytest.approx(0.5)  # full overlap leaves nothing of the gap
    assert scrutiny_score(0.3, 1.0, 0.0, config) == pytest.approx(0.5)  # neither does a wild curve
    assert scrutiny_score(-0.3, 0.0, 0.0, config) < 0.5
    assert scrutiny_score(0.0, 0.0, 1.0) == pytest.approx(1 / (1 + math.exp(3.5)))


LABELS = torch.arange(40) % 10


def watched(guard, gradient_of, steps):
    """The guard's verdicts on a server whose gradients are a function of the step and the labels that it was sent."""
    for step in range(steps):
        sent = guard.labels(step, LABELS)
        gradient = gradient_of(step, sent)
        guard.observe(step, gradient, weights=gradient.mean(0))
    return guard.verdicts


def caring(step, sent):
    """Of a trained classifier whose own view of the samples is right: short where labels are, long where not."""
    noise = 0.1 * torch.randn(len(sent), 10, generator=generator(step))
    right = functional.one_hot(LABELS, 10).float()
    return 0.8 * right.roll(1, 0) + right - functional.one_hot(sent, 10) * 1.5 + noise


def ignoring(step, sent):
    """Of a server that pushes all samples the same way, whatever their labels; the way turns with time."""
    turning = torch.tensor([math.cos(step / 20), math.sin(step / 20), *[0.0] * 8])
    return turning * (1 + 0.5 * math.sin(step / 15)) + 0.1 * torch.randn(len(sent), 10, generator=generator(step))


@pytest.mark.parametrize("config", [SplitGuardConfig(), ScrutinyConfig()], ids=["splitguard", "scrutiny"])
def test_a_server_that_ignores_labels_is_suspected_and_one_that_cares_is_not(config):
    def verdicts(server):
        return watched(config.guard(classes=10, generator=generator(7)), server, 200)

    assert not any(verdict.alarm for verdict in verdicts(caring))
    suspected = [verdict.alarm for verdict in verdicts(ignoring)]
    assert any(suspected)
    assert suspected[-1]


def test_about_one_step_in_ten_is_fake_after_the_start_with_every_label_wrong():
    guard = SplitGuardConfig(start=20).guard(classes=10, generator=generator(0))
    fakes = []
    for step in range(1020):
        sent = guard.labels(step, LABELS)
        assert guard.trains(step) == torch.equal(sent, LABELS)
        if not guard.trains(step):
            fakes.append(step)
            assert not (sent == LABELS).any()
            assert sent.min() >= 0
            assert sent.max() < 10
        guard.observe(step, torch.ones(40, 2), weights=torch.ones(2))
    assert min(fakes) >= 20
    assert 70 <= len(fakes) <= 130


def test_wrong_labels_are_spread_over_all_other_classes():
    guard = SplitGuardConfig(start=0, fake_share=0.99).guard(classes=4, generator=generator(0))
    sent = torch.cat([guard.labels(step, torch.zeros(100, dtype=torch.long)) for step in range(50)])
    shares = torch.bincount(sent, minlength=4)[1:] / (sent > 0).sum()
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.05)


def test_a_part_of_a_fake_batch_can_stay_right():
    guard = SplitGuardConfig(start=0, fake_share=0.999, randomised=0.25).guard(classes=10, generator=generator(0))
    assert [int((guard.labels(step, LABELS) != LABELS).sum()) for step in range(5)] == [10] * 5


@pytest.mark.parametrize("config", [SplitGuardConfig(start=0, fake_share=0.3), ScrutinyConfig()])
def test_guards_with_the_same_generator_agree_and_a_step_done_again_changes_nothing(config):
    once, again = (config.guard(classes=10, generator=generator(3)) for _ in range(2))
    for step in range(60):
        sent = once.labels(step, LABELS)
        assert torch.equal(sent, again.labels(step, LABELS))
        assert torch.equal(sent, again.labels(step, LABELS))
        once.observe(step, caring(step, sent), weights=caring(step, sent).mean(0))
        again.observe(step, caring(step, sent), weights=caring(step, sent).mean(0))
        assert again.observe(step, ignoring(step, sent), weights=torch.zeros(10)) is None
        assert torch.equal(sent, again.labels(step, LABELS))
    assert once.verdicts
    assert once.verdicts == again.verdicts


def test_scrutiny_changes_no_label_and_trains_always():
    guard = ScrutinyConfig().guard(classes=10, generator=generator(0))
    assert torch.equal(guard.labels(0, LABELS), LABELS)
    assert guard.trains(0)


def test_policies_on_the_same_scores():
    def alarms(**settings):
        config = SplitGuardConfig(start=0, fake_share=0.3, window=3, patience=1, threshold=0.6, **settings)
        return [verdict.alarm for verdict in watched(config.guard(classes=10, generator=generator(1)), mixed, 120)]

    def mixed(step, sent):
        return (caring if step < 60 else ignoring)(step, sent)

    found = {policy: alarms(policy=policy, memory=1) for policy in ("fast", "mean", "voting")}
    scores = [verdict.score for verdict in watched(
        SplitGuardConfig(start=0, fake_share=0.3, memory=1).guard(classes=10, generator=generator(1)), mixed, 120
    )]  # fmt: skip
    newest = [scores[max(0, number - 2) : number + 1] for number in range(len(scores))]
    assert found["fast"] == [score < 0.6 for score in scores]
    assert found["mean"] == [sum(some) / len(some) < 0.6 for some in newest]
    assert found["voting"] == [2 * sum(score < 0.6 for score in some) > len(some) for some in newest]
    assert any(found["fast"])
    assert not all(found["fast"])


def test_a_gradient_without_its_labels_is_a_fault_of_the_program():
    with pytest.raises(RuntimeError, match="without its labels"):
        ScrutinyConfig().guard(classes=2, generator=generator(0)).observe(0, torch.ones(2, 2), weights=torch.ones(2))


def test_the_outcome_says_who_stopped_when_and_why():
    verdict = Verdict(guard="scrutiny", step=41, score=0.03, alarm=True)
    error = HijackSuspected("client3", verdict)
    assert isinstance(error, UnsplitError)
    assert error.verdict is verdict
    assert str(error).startswith("client3 stopped at step 41: ")
    assert "0.03" in str(error)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (SplitGuardConfig, {"fake_share": 0.0}),
        (SplitGuardConfig, {"randomised": 1.5}),
        (SplitGuardConfig, {"policy": "quick"}),
        (SplitGuardConfig, {"regular": "thirds"}),
        (SplitGuardConfig, {"alpha": 0.0}),
        (SplitGuardConfig, {"threshold": 1.1}),
        (ScrutinyConfig, {"votes": 4, "window": 3}),
        (ScrutinyConfig, {"gap_exponent": 1.0}),
        (ScrutinyConfig, {"history": 2}),
        (ScrutinyConfig, {"threshold": -0.1}),
        (ScrutinyConfig, {"interval": 0}),
    ],
)
def test_settings_out_of_range(config, settings):
    with pytest.raises(InputError):
        config(**settings)


def test_labels_of_one_class_cannot_be_wrong():
    with pytest.raises(InputError, match="2 classes"):
        SplitGuardConfig().guard(classes=1, generator=generator(0))
