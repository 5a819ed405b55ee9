"""Whose turn it is, and which samples a step uses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unsplit.errors import InputError
from unsplit.optim import OptimizerSpec
from unsplit.protocol.schedule import BatchSchedule, Turns


@given(
    clients=st.integers(1, 5), length=st.integers(1, 7), samples=st.integers(1, 30), share=st.integers(1, 30),
    client=st.integers(0, 4), epoch=st.integers(0, 3), seed=st.integers(0, 2**62),
)  # fmt: skip
def test_every_epoch_visits_every_sample_once(clients, length, samples, share, client, epoch, seed):
    turns = Turns(clients=clients, length=length)
    schedule = BatchSchedule(samples=samples, batch_size=min(share, samples), seed=seed, turns=turns)
    client %= clients
    own = [step for step in range(clients * (length + 1) * schedule.steps_an_epoch * 5) if turns.client(step) == client]
    steps = own[epoch * schedule.steps_an_epoch : (epoch + 1) * schedule.steps_an_epoch]
    visited = torch.cat([schedule.batch(step) for step in steps])
    assert sorted(visited.tolist()) == list(range(samples))


@given(clients=st.integers(1, 5), length=st.integers(1, 7))
def test_turns_go_round(clients, length):
    turns = Turns(clients=clients, length=length)
    order = [turns.client(step) for step in range(2 * clients * length)]
    assert order == [client for client in range(clients) for _ in range(length)] * 2
    handed = [step for step in range(2 * clients * length) if turns.hands_off(step)]
    assert handed == ([] if clients == 1 else list(range(length, 2 * clients * length, length)))


def test_epochs_differ():
    schedule = BatchSchedule(samples=50, batch_size=50, seed=0, turns=Turns(clients=1, length=1))
    assert not torch.equal(schedule.batch(0), schedule.batch(1))


@pytest.mark.parametrize("batch", [0, 11])
def test_a_batch_larger_than_the_data(batch):
    with pytest.raises(InputError, match="use a batch size from 1 to 10"):
        BatchSchedule(samples=10, batch_size=batch, seed=0, turns=Turns(clients=1, length=1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "RMSpop"}, "did you mean 'rmsprop'"),
        ({"name": "lbfgs"}, "Unknown optimiser"),
        ({"lr": 0.0}, "must be above 0"),
        ({"options": {"momentun": 0.9}}, "refuses its options"),
        ({"options": {"betas": (2.0, 0.9)}}, "refuses its options"),
    ],
)
def test_optimizers_that_torch_does_not_have(options, words):
    with pytest.raises(InputError, match=words):
        OptimizerSpec(**options)
