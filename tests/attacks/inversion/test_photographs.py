"""Colours of photographs: found again without a picture, in a clone that still explains what was sent."""

import pytest
import torch
from torch import nn

from helpers.checks import refused
from unsplit.attacks.inversion import Photographs
from unsplit.attacks.inversion._decoder import Decoder
from unsplit.attacks.inversion.photographs import AXES, figure_contrast, greyed, natural_colours, phase_misfit, red_blue
from unsplit.attacks.symmetry import remix
from unsplit.models import build, split
from unsplit.randomness import generator, seeded

MIXED = torch.tensor([[0.6, -0.3, 0.4], [0.5, 0.5, 0.2], [-0.2, 0.5, 0.6]])


def photographs(number=300, patches=4, side=4):
    """Patches with the colours of photographs: brightness evenly spread, most of them nearly grey and few vivid, blue
    more so than red.
    """
    draws = generator(3)
    grey = torch.rand(number, patches, patches, generator=draws)
    vivid = torch.rand(2, number, patches, patches, generator=draws) ** 6
    blue = 0.1 - 1.5 * vivid[0] * grey * (1 - grey)
    green = 0.02 - 0.4 * vivid[1] * grey * (1 - grey)
    along = torch.stack([grey * 3**0.5, blue, green], 1)
    colours = torch.einsum("ac,nahw->nchw", torch.tensor(AXES), along).clamp(0, 1)
    return colours.repeat_interleave(side, 2).repeat_interleave(side, 3)


def mixed(pictures, mixing=MIXED):
    return torch.einsum("cd,ndhw->nchw", mixing, pictures)


def likeness(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@pytest.mark.parametrize("turn", [0.0, 0.7, 2.0])
def test_mixed_colours_are_found_again(turn):
    truth = photographs()
    wheel = torch.tensor([[1, 0, 0], [0, turn, -1], [0, 1, turn]], dtype=torch.float32)
    found = mixed(truth, MIXED @ wheel)
    colours = natural_colours(found, 0.005)
    natural = colours(found)
    assert float((natural - truth).square().mean()) < 0.01 < 0.4 * float((found - truth).square().mean())
    assert likeness(natural.mean(1), truth.mean(1)) > 0.97
    assert colours.told
    assert likeness(red_blue(natural), red_blue(truth)) > 0.8


def test_the_same_pictures_give_the_same_colours():
    found = mixed(photographs())
    one, other = (natural_colours(found, 0.005) for _ in range(2))
    assert torch.equal(one.mixing, other.mixing)
    assert torch.equal(one.offset, other.offset)


def test_a_clone_that_is_remixed_explains_the_same():
    found = mixed(photographs(4))
    with seeded(0):
        clone = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3))
    before = clone(found)
    offset = torch.tensor([0.1, -0.2, 0.3])
    remix(clone, MIXED, offset)
    assert torch.allclose(clone(mixed(found) + offset[:, None, None]), before, atol=1e-5)


@pytest.mark.parametrize("first", [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.BatchNorm2d(3)])
def test_what_is_no_convolution_of_three_channels_is_left_alone(first):
    clone = nn.Sequential(first, nn.ReLU())
    before = {name: value.clone() for name, value in clone.state_dict().items()}
    remix(clone, MIXED, torch.ones(3))
    assert all(torch.equal(value, before[name]) for name, value in clone.state_dict().items())


@pytest.mark.parametrize(
    "pictures",
    [
        torch.rand(9, 1, 8, 8, generator=generator(0)).expand(9, 3, 8, 8),
        torch.full((9, 3, 8, 8), 0.5),
    ],
    ids=["grey", "constant"],
)
def test_without_three_colours_nothing_is_changed(pictures):
    assert natural_colours(pictures, 0.005) is None


def test_greyed_pictures_keep_their_brightness():
    truth = photographs()
    without = greyed(truth, red_blue=True)
    assert likeness(without.mean(1), truth.mean(1)) > 0.99
    assert float(red_blue(without).std()) < 0.1 * float(red_blue(truth).std())
    kept = greyed(truth, red_blue=False)
    assert likeness(red_blue(kept), red_blue(truth)) > 0.97


def test_a_chequerboard_depends_on_the_phase_and_a_photograph_does_not():
    plain = torch.rand(40, 1, 17, 17, generator=generator(2))
    board = plain.clone()
    board[:, :, ::2, ::2] += 0.3
    assert float(phase_misfit(plain, 2)) < 0.1 * float(phase_misfit(board, 2))
    assert float(phase_misfit(torch.full((4, 1, 9, 9), 0.5), 2)) < 1e-6
    wide = plain.clone()
    wide[:, :, :, ::4] *= 0.5
    assert float(phase_misfit(wide, 4)) > 10 * float(phase_misfit(plain, 4))


@pytest.mark.parametrize(("depth", "period"), [(0, 2), (2, 2), (4, 2), (5, 4), (6, 2)])
def test_the_period_is_that_of_the_clients_pooling_and_of_the_decoder(depth, period):
    client = split(build("mnist-net", generator=generator(0)), depth)[0]
    with torch.no_grad():
        smashed = client(torch.rand(8, 1, 28, 28, generator=generator(1)))
    with seeded(0):
        assert Decoder(client, smashed, (1, 28, 28), width=4, blocks=0).period == period


def test_what_is_assumed_is_said_only_where_it_is_used():
    assert "photographs" in Photographs().assumed((3, 32, 32))[0]
    assert len(Photographs().assumed((3, 32, 32))) == 2
    assert "brighter than the ground" in Photographs().assumed((1, 28, 28))[-1]
    assert len(Photographs().assumed((1, 28, 28))) == 2
    assert len(Photographs(figures=0).assumed((1, 28, 28))) == 1
    assert Photographs(colours=False, phases=0).assumed((3, 32, 32)) == ()
    assert Photographs().assumed((3, 40)) == Photographs().assumed((12,)) == ()


@pytest.mark.parametrize("name", ["phases", "figures"])
def test_a_negative_weight_is_refused(name):
    assert name in refused(Photographs, **{name: -1.0})


@pytest.mark.parametrize("size", [(5, 5), (8, 8), (28, 28), (40, 13)])
def test_figures_stand_out_from_their_ground_and_their_negatives_do_not(size):
    made = torch.zeros(3, 1, *size)
    made[:, :, size[0] // 4 : -(size[0] // 4), size[1] // 4 : -(size[1] // 4)] = 0.8
    assert float(figure_contrast(made)) == pytest.approx(0.8)
    assert float(figure_contrast(1 - made)) == pytest.approx(-0.8)
    assert float(figure_contrast(torch.full_like(made, 0.3))) == pytest.approx(0, abs=1e-6)
