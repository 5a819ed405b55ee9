"""Attacks side by side, as on a GPU: each finds what it finds alone."""

import functools
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.graphs import play_cuda
from unsplit.attacks.inversion import AmortisedConfig, LearningConfig, _candidate, invert
from unsplit.attacks.inversion._leak import Leak
from unsplit.knowledge import ClientArchitecture
from unsplit.randomness import generator, seeded
from unsplit.stepping import repeated, together
from unsplit.types import Kind, Message, Transcript

SETTINGS = AmortisedConfig(
    candidates=3, steps=12, trial=0.5, refit_steps=6, learning=LearningConfig(width=4, blocks=1, batch=4)
)


def attacks():
    """Two attacks on different clients, of different lengths."""
    calls = []
    for number, layers in enumerate(([1, 3], [1, 3, 2])):
        with seeded(number):
            parts = [(nn.Conv2d(a, b, 3), nn.ReLU()) for a, b in itertools.pairwise(layers)]
            client = nn.Sequential(*(layer for part in parts for layer in part))
            smashed = client(torch.rand(20, 1, 10, 10)).detach()
        message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
        view = Transcript(observer="server", messages=(message,))
        architecture = ClientArchitecture.of(client, (1, 10, 10))
        calls.append(functools.partial(invert, view, architecture, SETTINGS, generator=generator(number)))
    return calls


def numbers(found):
    return [found.inputs, found.residual, *found.clones[0].parameters()]


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("at_once", [1, None])
def test_each_finds_what_it_finds_alone(monkeypatch, captured, at_once):
    alone = [attack() for attack in attacks()]
    if captured:
        graphs = play_cuda(monkeypatch)
        monkeypatch.setattr(_candidate, "repeated", lambda step, _: repeated(step, torch.device("cuda")))
        monkeypatch.setattr(Leak, "forward", lambda self, values: functional.prelu(values, self.slope))
    for found, expected in zip(together(attacks(), at_once=at_once), alone, strict=True):
        assert found.agreement == expected.agreement
        assert all(map(torch.equal, numbers(found), numbers(expected)))
    if captured:
        # Three restarts go half of the way, two of them to the end, and the best is refitted.
        assert len(graphs) == 2 * 4
        assert all(graph.replays for graph in graphs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine has not")
def test_on_a_gpu_as_well_within_what_its_kernels_leave_to_chance():
    (call, other) = attacks()
    on_gpu = [functools.partial(one.func, one.args[0].to(torch.device("cuda")), *one.args[1:]) for one in (call, other)]
    runs = [together([functools.partial(one, generator=generator(0)) for one in on_gpu]) for _ in range(2)]
    for one, again in zip(*runs, strict=True):
        torch.testing.assert_close(one.inputs, again.inputs, rtol=1e-2, atol=1e-2)
