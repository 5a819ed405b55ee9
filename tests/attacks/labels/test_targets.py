"""Regression targets behind cut gradients."""

import math

import pytest
import torch
from torch import nn

from helpers.labels import dense, pairs, train_dense
from unsplit.attacks.labels import TargetsConfig, infer_targets
from unsplit.errors import InputError
from unsplit.knowledge import HeadArchitecture, KnownTargets
from unsplit.losses import LossSpec
from unsplit.models import build, split_head
from unsplit.optim import OptimizerSpec
from unsplit.randomness import generator
from unsplit.types import Kind

LOSS = LossSpec(name="mse")


def observe(head, optimizer, steps=20):
    source = generator(0)
    inputs = torch.randn(2000, 12, generator=source)
    targets = (inputs[:, 0] - 0.5 * inputs[:, 1].square() + 0.3 * torch.randn(2000, generator=source)) * 3 + 5
    layers = (dense(12, 16), nn.ReLU, dense(16, 8), nn.Sigmoid, dense(8, 1))
    training, view, _ = train_dense(
        inputs, targets, *layers, steps=steps, head=head, loss=LOSS, client_optimizer=optimizer
    )
    truth = torch.cat([training.truth(step).labels for step in range(steps)])
    return view, truth, HeadArchitecture.of(split_head(training.model(), head)[1])


def explained(found, truth):
    """Share of the targets' variance."""
    return float(1 - (found - truth).square().mean() / truth.var())


def known(truth, number=10):
    return KnownTargets(indices=tuple(range(number)), values=tuple(truth[:number].tolist()))


@pytest.mark.parametrize(("head", "least"), [(1, 0.98), (2, 0.8)])
@pytest.mark.parametrize("optimizer", [OptimizerSpec(lr=1e-3), OptimizerSpec(name="sgd", lr=0.001)])
def test_targets_are_read_with_a_few_known(head, least, optimizer):
    """Of ten known targets alone the mean explains nothing, and the features hardly anything: the net is untrained."""
    view, truth, architecture = observe(head, optimizer)
    found = infer_targets(view, known(truth), architecture, TargetsConfig(), generator=generator(1))
    assert explained(found, truth) > least


def test_gradients_of_other_targets_say_nothing():
    view, truth, architecture = observe(1, OptimizerSpec(lr=1e-3))
    shuffled = truth[torch.randperm(len(truth), generator=generator(5))]
    found = infer_targets(view, known(shuffled, 200), architecture, TargetsConfig(), generator=generator(1))
    assert explained(found, shuffled) < 0.1


def test_a_gradient_of_zero_is_undecided():
    view, truth, architecture = observe(1, OptimizerSpec(lr=1e-3), steps=2)
    gradients = view.tensor(Kind.FEATURE_GRAD).clone()
    gradients[::4] = 0
    view = pairs(view.tensor(Kind.FEATURES), gradients)
    told = KnownTargets(indices=(1, 2, 3, 5), values=tuple(truth[[1, 2, 3, 5]].tolist()))
    found = infer_targets(view, told, architecture, TargetsConfig(), generator=generator(1))
    assert found[::4].isnan().all()
    assert found[1::4].isfinite().all()
    nothing = pairs(view.tensor(Kind.FEATURES), torch.zeros_like(gradients))
    assert infer_targets(nothing, told, architecture, TargetsConfig(), generator=generator(1)).isnan().all()


def test_one_seed_gives_one_result():
    view, truth, architecture = observe(2, OptimizerSpec(lr=1e-3), steps=3)
    config = TargetsConfig(passes=3)
    one, same, other = (
        infer_targets(view, known(truth), architecture, config, generator=generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def dense_pair(outputs):
    return lambda: nn.Sequential(nn.Identity(), nn.Linear(8, outputs))


ONE, TWO = (HeadArchitecture.of(build(dense_pair(outputs), generator=generator(0))[1:]) for outputs in (1, 2))
GOOD = pairs(torch.rand(8, 8, generator=generator(0)), torch.eye(8))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda told: infer_targets(GOOD, told(2), ONE, TargetsConfig(), generator=generator(0)), "must be 3 or more"),
        (
            lambda told: infer_targets(GOOD, told(9), ONE, TargetsConfig(), generator=generator(0)),
            "among the 8 observed samples",
        ),
        (
            lambda told: infer_targets(
                GOOD, told(4), TWO, TargetsConfig(), generator=generator(0)
            ),
            "more than one output",
        ),
        (lambda told: TargetsConfig(passes=0), "passes is 0"),  # noqa: ARG005
        (lambda told: KnownTargets(indices=(), values=()), "give one or more, counted from 0"),  # noqa: ARG005
        (lambda told: KnownTargets(indices=(1,), values=(1.0, 2.0)), "2 targets for 1"),  # noqa: ARG005
        (
            lambda told: infer_targets(
                pairs(torch.ones(8, 8), torch.full((8, 8), math.nan)), told(4), ONE, TargetsConfig(),
                generator=generator(0),
            ),
            "NaN",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call(lambda number: known(torch.arange(20.0), number))
    assert "\n" not in str(caught.value)
