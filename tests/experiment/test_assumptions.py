"""What attacks take for granted stands beside what they know, and can be turned off."""

import pytest
import torch

from unsplit.attacks.inversion import Photographs, preset
from unsplit.attacks.settings import NO_ASSUMPTIONS, Assumptions
from unsplit.experiment.threats import threats_of_inversion
from unsplit.experiment.traffic.attacker import Attacker
from unsplit.experiment.traffic.inversion import inversions
from unsplit.models import build
from unsplit.randomness import generator
from unsplit.ranges import InputRange
from unsplit.types import Transcript

COLOUR, GREY = (3, 32, 32), (1, 28, 28)


def assumed(name, shape, **assumptions):
    rows = threats_of_inversion((name,), shape, aware=False, assumptions=Assumptions(**assumptions))
    return [sentence for row in rows for sentence in row.assumes]


def test_an_attack_that_assumes_photographs_says_so():
    assert len(assumed("strong", COLOUR)) == 2
    assert len(assumed("strong", GREY)) == 2
    assert all("photographs" in sentence for sentence in assumed("strong", COLOUR))


@pytest.mark.parametrize("name", ["joint", "paper", "white-box"])
def test_others_assume_nothing(name):
    assert assumed(name, COLOUR) == []


def test_what_is_turned_off_is_neither_said_nor_used():
    assert assumed("strong", COLOUR, photographs=False) == []
    assert len(assumed("strong", GREY, photographs=False)) == len(assumed("strong", GREY, figures=False)) == 1
    settings = preset("strong", 1).assuming(NO_ASSUMPTIONS)
    assert settings.learning.photographs == Photographs(colours=False, phases=0.0, figures=0.0)
    assert preset("strong", 1).assuming(Assumptions()) == preset("strong", 1)


@pytest.mark.parametrize("off", [False, True])
def test_recorded_traffic_is_attacked_so(off):
    attacker = Attacker(not_photographs=off, not_figures=off)
    known = (GREY, InputRange())
    model = build("mnist-net", generator=generator(0))
    view = Transcript(observer="server", messages=())
    found = inversions(view, model, known, attacker, ("strong",), device=torch.device("cpu"))
    assert bool(found[0].settings.assumes(GREY)) is not off
