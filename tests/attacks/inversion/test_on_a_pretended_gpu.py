"""Every amortised attack on a pretended CUDA device: no tensor is on the wrong side, and all its steps are graphs."""

import dataclasses

import pytest
import torch
from torch import nn

from helpers.graphs import play_cuda
from helpers.pretended import PretendedCuda
from unsplit import devices
from unsplit.attacks.inversion import (
    AmortisedConfig,
    ExamplesConfig,
    ExamplesInversionConfig,
    LearningConfig,
    invert_by_decoder,
    invert_from_known_pictures,
    invert_from_similar_pictures,
    invert_through_defense,
)
from unsplit.defenses import DEFENSES, parse_defense
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, KnownDefense, KnownPictures, OwnTop
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Transcript

LEARNING = LearningConfig(width=4, blocks=1, batch=4)
BLIND = AmortisedConfig(candidates=2, steps=8, trial=0.5, refit_steps=6, learning=LEARNING)
INFORMED = ExamplesInversionConfig(
    steps=8, restarts=2, refit_steps=6, learning=LEARNING, examples=ExamplesConfig(directions=4, class_batch=4)
)
GRAPHS = [5, 5, 3]
"""Replays of two restarts and of the refit: all steps but the first three, which warm up."""

INPUTS, CLASSES = torch.rand(12, 1, 10, 10, generator=generator(1)), torch.arange(6) % 3


def run(attack, config, *knows, dense=True):
    """The attack on a small client whose smashed data and top are on the device."""
    with seeded(0):
        client = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), *([nn.Flatten(), nn.Linear(192, 6)] if dense else []))
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=client(INPUTS).detach())
    view = Transcript(observer="server", messages=(message,)).to(torch.device("cuda"))
    return attack(view, ClientArchitecture.of(client, (1, 10, 10)), *knows, config, generator=generator(0))


def own_top():
    with seeded(1):
        return OwnTop(top=nn.Linear(6, 3).to("cuda"), classes=3)


ATTACKS = {
    "by the architecture": lambda: run(invert_by_decoder, BLIND),
    "before a ReLU": lambda: run(invert_by_decoder, BLIND, dense=False),
    "known pictures": lambda: run(
        invert_from_known_pictures, INFORMED, own_top(), KnownPictures(pictures=INPUTS[:3], indices=(0, 1, 2))
    ),
    "similar pictures": lambda: run(
        invert_from_similar_pictures, INFORMED, own_top(), AuxiliaryData(inputs=INPUTS[:6], labels=CLASSES)
    ),
}
SMASHED = [name for name in DEFENSES if parse_defense(name).changes("smashed")]


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(devices, "_computes_bfloat16", lambda kind: False)  # noqa: ARG005
    return play_cuda(monkeypatch)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_all_steps_are_graphs(graphs, attack):
    with PretendedCuda():
        found = attack()
        assert found.inputs.device.type == "cuda"
    assert [graph.replays for graph in graphs] == GRAPHS


@pytest.mark.parametrize("name", SMASHED)
def test_what_is_known_of_a_defense_asks_nothing_of_the_host(graphs, name):
    defense = parse_defense(name)
    known = KnownDefense(misfit=defense.misfit, noise=defense.noise)
    with PretendedCuda():
        run(invert_through_defense, dataclasses.replace(BLIND, refit_steps=0), known)
    assert [graph.replays for graph in graphs] == GRAPHS[:2]
