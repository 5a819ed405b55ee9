"""What is made of restarts: which go on, how they are averaged, and what is believed where they disagree."""

import copy

import pytest
import torch
from torch import nn

from unsplit.attacks.inversion import Photographs, surely
from unsplit.attacks.inversion._candidate import Candidate
from unsplit.attacks.inversion._ensemble import aligned, correlation
from unsplit.attacks.inversion._finalists import chosen, conclude
from unsplit.attacks.symmetry import mirror
from unsplit.knowledge import ClientArchitecture
from unsplit.randomness import generator, seeded
from unsplit.types import DecidedBy, Sign

SHAPE = (1, 10, 10)
NUMBER = 40


def client(*, dense=False, padding=0):
    with seeded(0):
        layers = [nn.Conv2d(SHAPE[0], 4, 3, padding=padding), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 5)) if dense else nn.Sequential(*layers)


def pictures(seed=0, shape=SHAPE):
    """Dark pictures with a bright part that fill the range."""
    made = torch.rand(NUMBER, *shape, generator=generator(seed)) ** 3
    made[:, :, 0, :2] = torch.tensor([0.0, 1.0])
    return made


class Restart(Candidate):
    """A restart that has come to these pictures with this objective."""

    objective = None

    def __init__(self, found, objective, clone=None):
        self.found, self.objective, self.clone = found, objective, clone or client()

    def pictures(self, number=None):
        return self.found[:number]


def concluded(*restarts, witness=None, of=None, figures=0.0):
    architecture = ClientArchitecture.of(of or restarts[0].clone, tuple(restarts[0].found.shape[1:]))
    return conclude(restarts, architecture, 0.0, Photographs(figures=figures), witness)


def darkness(_, made):
    """A witness who knows that pictures are dark."""
    return 0.5 - float(made.mean())


def figures_on_ground(seed=0):
    """Bright pictures in the middle of black ones."""
    made = torch.zeros(NUMBER, *SHAPE)
    made[:, :, 2:-2, 2:-2] = pictures(seed, (1, 6, 6)) ** 0.2
    return made


def noisy(truth, amount, seed):
    return (truth + amount * torch.randn(truth.shape, generator=generator(seed))).clamp(0, 1)


def test_both_signs_come_to_the_end():
    """Three negatives had a head start over the one restart of the other sign."""
    truth = pictures()
    negatives = [Restart(noisy(1 - truth, 0.1, seed), 0.5 + 0.01 * seed) for seed in range(3)]
    lonely = Restart(noisy(truth, 0.1, 5), 0.57)
    collapsed = Restart(torch.full_like(truth, 0.5), 1.1)
    candidates = [lonely, collapsed, *negatives]
    assert chosen(candidates, 1) == [negatives[0]]
    assert chosen(candidates, 2) == [negatives[0], lonely]
    assert chosen(candidates, 3) == [negatives[0], lonely, negatives[1]]
    assert chosen([negatives[1], collapsed], 2) == [negatives[1], collapsed]
    lonely.objective = 0.9
    assert lonely not in chosen(candidates, 2)


def test_restarts_that_agree_are_averaged():
    truth = pictures()
    ones = [noisy(truth, 0.2, seed) for seed in (1, 2)]
    found = concluded(*(Restart(one, 0.05) for one in ones))
    errors = [float((one - truth).square().mean()) for one in ones]
    assert float((found.inputs - truth).square().mean()) < 0.7 * min(errors)
    torch.testing.assert_close(found.best.pictures, ones[0])  # with which the clone goes
    assert found.decided_by is DecidedBy.AGREEMENT
    assert found.sign is Sign.AMBIGUOUS


def test_a_restart_that_explains_less_counts_less():
    truth = pictures()
    best, worse = noisy(truth, 0.02, 1), noisy(truth, 0.3, 2)
    found = concluded(Restart(worse, 0.10), Restart(best, 0.05))
    assert float((found.inputs - truth).square().mean()) < 1.1 * float((best - truth).square().mean())


def test_a_negative_that_explains_less_is_averaged_in_as_a_positive():
    truth = pictures()
    found = concluded(Restart(noisy(truth, 0.2, 1), 0.200), Restart(noisy(1 - truth, 0.2, 2), 0.212))
    assert found.agreement < -0.5
    assert found.decided_by is DecidedBy.OBJECTIVE
    assert found.sign is Sign.RESOLVED
    alone = noisy(truth, 0.2, 1)
    assert float((found.inputs - truth).square().mean()) < float((alone - truth).square().mean())


def test_where_nothing_decides_between_signs_none_is_preferred():
    """Better one grey than the wrong one of two signs: the error of a negative is four times that of grey."""
    truth = pictures()
    for first, second in ((0.0150, 0.0158), (0.0158, 0.0150)):
        found = concluded(Restart(truth, first), Restart(1 - truth, second))
        assert found.decided_by is DecidedBy.NOTHING
        assert found.sign is Sign.AMBIGUOUS
        torch.testing.assert_close(found.inputs, torch.full_like(truth, 0.5))
        assert set(found.best.pictures.unique().tolist()) > {0.0, 1.0}


def test_two_that_agree_do_not_outvote_a_third_that_explains_as_much():
    truth = pictures()
    found = concluded(Restart(1 - truth, 0.0150), Restart(noisy(1 - truth, 0.05, 1), 0.0152), Restart(truth, 0.0155))
    assert found.decided_by is DecidedBy.NOTHING
    assert float((found.inputs - truth).square().mean()) < 0.5 * float((1 - 2 * truth).square().mean())


@pytest.mark.parametrize(("dense", "ahead", "kept"), [(False, 0.0, False), (False, 0.5, True), (True, 0.5, False)])
def test_unlike_pictures_leave_one_grey_unless_the_objective_speaks_against_them(dense, ahead, kept):
    """Behind a dense layer the objective does not tell right pictures from wrong ones."""
    one, other = pictures(1), pictures(2)
    one[:, :, 0, :2], other[:, :, 0, :2] = 0.5, 0.5
    found = concluded(*(Restart(made, 0.05 + late, client(dense=dense)) for made, late in ((one, 0.0), (other, ahead))))
    assert found.decided_by is DecidedBy.NOTHING
    assert found.sign is Sign.AMBIGUOUS
    if kept:
        torch.testing.assert_close(found.inputs, found.best.pictures, rtol=0.05, atol=0.01)
    else:
        assert found.inputs.std() < 0.2 * found.best.pictures.std()
        assert float(found.inputs.mean()) == pytest.approx(float((one + other).mean() / 2), abs=0.05)


def test_what_is_believed_is_the_best_share_of_the_mean():
    """Half truth, half noise: no other multiple of the mean is nearer to the truth."""
    truth = torch.randn(400, 1, 10, 10, generator=generator(0))
    ones = [
        0.5 + 0.1 * (truth * 0.3**0.5 + 0.7**0.5 * torch.randn(truth.shape, generator=generator(k))) for k in (1, 2)
    ]
    architecture = ClientArchitecture.of(client(), SHAPE)
    found = conclude([Restart(one, 0.05) for one in ones], architecture, None, Photographs())
    mean = (ones[0] + ones[1]) / 2
    share = float((found.inputs - 0.5).flatten() @ (mean - 0.5).flatten() / (mean - 0.5).square().sum())
    # Each is the truth, at .3 of its own variance, and noise; what there is to find is that part.
    wanted = 0.5 + 0.1 * 0.3**0.5 * truth
    shares = torch.linspace(0.05, 1, 20)
    errors = torch.stack([(0.5 + one * (mean - 0.5) - wanted).square().mean() for one in shares])
    assert share == pytest.approx(float(shares[errors.argmin()]), abs=0.06)


def test_colours_are_brought_onto_each_other():
    one = pictures(3, (3, 10, 10))
    mixing = torch.tensor([[0.5, 0.3, 0.0], [-0.2, 0.6, 0.1], [0.1, 0.0, -0.7]])
    other = torch.einsum("ij,njhw->nihw", mixing, one) + torch.tensor([0.1, 0.2, 0.9])[:, None, None]
    torch.testing.assert_close(aligned(other, one), one, rtol=1e-4, atol=1e-4)


def test_constant_pictures_agree_with_nothing():
    flat = torch.full((NUMBER, *SHAPE), 0.3)
    assert correlation(flat, pictures()) == 0
    assert aligned(flat, pictures()).isfinite().all()
    assert (
        conclude(
            [Restart(flat, 0.1), Restart(flat, 0.2)], ClientArchitecture.of(client(), SHAPE), 0.0, Photographs()
        ).agreement
        == 0
    )


@pytest.mark.parametrize("found_both", [True, False])
def test_a_witness_turns_the_sign(found_both):
    """To a restart that was found there, or to the exact mirror, with the clone turned along."""
    truth = pictures()
    original = client()
    negative = copy.deepcopy(original)
    inputs = mirror(truth, negative, ClientArchitecture.of(original, SHAPE))
    other = Restart(truth, 0.06, copy.deepcopy(original)) if found_both else Restart(noisy(inputs, 0.01, 1), 0.06)
    found = concluded(Restart(inputs, 0.05, negative), other, witness=darkness, of=original)
    assert found.decided_by is DecidedBy.REPLAY
    assert found.sign is Sign.RESOLVED
    torch.testing.assert_close(found.best.pictures, truth, rtol=0.1, atol=0.03)
    with torch.no_grad():
        torch.testing.assert_close(found.best.candidate.clone(truth), original(truth), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("evidence", "decided_by"), [(-0.001, DecidedBy.OBJECTIVE), (-0.004, DecidedBy.REPLAY)])
def test_a_witness_that_hardly_speaks_is_not_heard(evidence, decided_by):
    truth = pictures()
    found = concluded(
        Restart(truth, 0.05),
        Restart(1 - truth, 0.065),
        witness=lambda _, made: evidence if made.mean() < 0.5 else 0.0,
    )
    assert found.decided_by is decided_by
    assert (float(found.inputs.mean()) < 0.5) == (decided_by is DecidedBy.OBJECTIVE)


def test_a_witness_that_confirms_the_sign_keeps_it():
    truth = pictures()
    found = concluded(Restart(truth, 0.0150), Restart(1 - truth, 0.0151), witness=darkness)
    assert found.decided_by is DecidedBy.REPLAY
    torch.testing.assert_close(found.inputs, truth)


def test_agreement_resolves_the_sign_only_where_there_is_no_mirror():
    """All restarts may have ended on the same wrong side, where both sides explain the same."""
    with seeded(0):
        dense = nn.Sequential(nn.Flatten(), nn.Linear(100, 20), nn.ReLU())
    truth = pictures()
    for clone, sign in ((dense, Sign.AMBIGUOUS), (client(), Sign.AMBIGUOUS), (client(padding=1), Sign.RESOLVED)):
        found = concluded(Restart(truth, 0.05, clone), Restart(truth, 0.06, copy.deepcopy(clone)))
        assert found.agreement == pytest.approx(1)
        assert found.sign is sign
        assert concluded(Restart(truth, 0.05, clone)).sign is Sign.UNTESTED


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.92, 0.02, Sign.RESOLVED), True),
        ((0.92, 0.02, "resolved"), True),
        ((0.89, 0.02, Sign.RESOLVED), False),
        ((0.95, 0.03, Sign.RESOLVED), False),
        ((0.92, 0.02, Sign.ASSUMED), True),
        ((0.92, 0.02, Sign.AMBIGUOUS), False),
        ((-0.95, 0.02, Sign.RESOLVED), False),
        ((None, 0.02, Sign.UNTESTED), False),
        ((float("nan"), 0.02, Sign.RESOLVED), False),
        ((0.92, float("nan"), Sign.RESOLVED), False),
    ],
)
def test_the_rule_of_being_sure(given, expected):
    assert surely(*given) is expected


@pytest.mark.parametrize("negatives", [0, 1, 2])
def test_figures_on_dark_ground_settle_the_sign_where_nothing_else_does(negatives):
    """Whichever sign the restarts found; the clone is turned along, and that it was assumed is said."""
    truth, original = figures_on_ground(), client()
    architecture = ClientArchitecture.of(original, SHAPE)
    restarts = []
    for number in range(2):
        clone, found = copy.deepcopy(original), noisy(truth, 0.01, number)
        if number < negatives:
            found = mirror(found, clone, architecture)
        restarts.append(Restart(found, 0.05 + 0.001 * number, clone))
    found = concluded(*restarts, of=original, figures=1.0)
    assert (found.sign, found.decided_by) == (Sign.ASSUMED, DecidedBy.FIGURES)
    torch.testing.assert_close(found.inputs, truth, rtol=0, atol=0.06)
    with torch.no_grad():
        torch.testing.assert_close(found.best.candidate.clone(truth), original(truth), rtol=1e-3, atol=1e-3)


def test_what_the_traffic_tells_goes_before_what_is_assumed():
    truth = 1 - figures_on_ground()
    found = concluded(Restart(truth, 0.05), witness=lambda _, made: float(made.mean()) - 0.5, figures=1.0)
    assert (found.sign, found.decided_by) == (Sign.RESOLVED, DecidedBy.REPLAY)
    torch.testing.assert_close(found.inputs, truth, rtol=0, atol=1e-6)


def test_without_figures_or_behind_dense_layers_nothing_is_assumed():
    truth = figures_on_ground()
    with seeded(0):
        dense = nn.Sequential(nn.Flatten(), nn.Linear(100, 20), nn.ReLU())
    flat = pictures()
    flat[:, :, 0, :2] = 0.5
    for made, clone in ((truth, dense), (flat, client())):
        found = concluded(Restart(made, 0.05, clone), Restart(made, 0.06, copy.deepcopy(clone)), figures=1.0)
        assert found.sign is Sign.AMBIGUOUS
        assert found.decided_by is DecidedBy.AGREEMENT
