"""Clients with a guard: an honest training goes on as it would, a hijacker is noticed and the client stops."""

import pytest
import torch

from unsplit.data import load
from unsplit.defenses.detection import HijackSuspected, ScrutinyConfig, SplitGuardConfig
from unsplit.errors import InputError
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.protocol import MaliciousServer, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Setup

STEPS = 150


def guarded(guard, *, hijacked=False):
    digits = load("digits").train
    adam = OptimizerSpec()
    config = SplitConfig(cut=1, batch_size=64, guard=guard, client_optimizer=adam, server_optimizer=adam)
    training = split_training(
        build("mnist-net", generator=generator(0)), digits.images, digits.labels, config, generator=generator(1)
    )
    if hijacked:
        # A server that pulls all smashed data to one value: what it sends depends on no label.
        training.server = MaliciousServer(
            body=training.server.body, answer=lambda smashed: (smashed - 1) / len(smashed), loss=config.loss
        )
    return training


def weights(training):
    return torch.cat([value.flatten() for value in training.model().state_dict().values()])


@pytest.mark.parametrize("guard", [SplitGuardConfig(), ScrutinyConfig()])
def test_a_hijacker_is_noticed_and_the_client_stops(guard):
    training = guarded(guard, hijacked=True)
    with pytest.raises(HijackSuspected, match="do not look like those of the agreed task") as caught:
        training.run(STEPS)
    assert caught.value.verdict.alarm
    assert "\n" not in str(caught.value)
    assert training.steps_done < STEPS


@pytest.mark.parametrize("guard", [SplitGuardConfig(), ScrutinyConfig()])
def test_an_honest_training_is_not_stopped(guard):
    training = guarded(guard)
    training.run(STEPS)
    assert training.steps_done == STEPS


def test_scrutiny_changes_no_bit_of_the_training():
    plain, watched = guarded(None), guarded(ScrutinyConfig())
    for training in (plain, watched):
        training.run(20)
    assert torch.equal(weights(plain), weights(watched))


def test_a_guard_needs_labels_that_are_sent():
    digits = load("digits").train
    with pytest.raises(InputError, match=r"so it needs setup \(a\)"):
        split_training(
            build("mnist-net", generator=generator(0)), digits.images, digits.labels,
            SplitConfig(setup=Setup.C, guard=ScrutinyConfig()), generator=generator(1),
        )  # fmt: skip
