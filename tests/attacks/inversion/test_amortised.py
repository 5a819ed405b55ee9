"""The amortised attack: a decoder shared by all smashed data."""

import dataclasses

import pytest
import torch
from torch import nn

from unsplit import metrics
from unsplit.attacks.inversion import (
    AmortisedConfig,
    JointConfig,
    LearningConfig,
    invert_by_decoder,
    invert_jointly,
    surely,
)
from unsplit.attacks.inversion._decoder import Decoder
from unsplit.attacks.inversion._receptive import receptive_centres
from unsplit.attacks.settings import NO_ASSUMPTIONS
from unsplit.errors import InputError
from unsplit.experiment.inversion import Evaluation, more_inputs, run_inversion
from unsplit.knowledge import ClientArchitecture
from unsplit.randomness import generator, seeded
from unsplit.types import DecidedBy, Kind, Message, Sign, Transcript

TINY = AmortisedConfig(candidates=2, steps=10, refit_steps=2, learning=LearningConfig(width=4, blocks=1, batch=4))
QUICK = AmortisedConfig(candidates=3, finalists=2, steps=300, learning=LearningConfig(batch=32))


def view_of(smashed):
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    return Transcript(observer="server", messages=(message,))


def small(depth=2):
    """A small client and what it sends for twenty pictures of noise."""
    with seeded(0):
        layers = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 6)][: depth + 1]
        client = nn.Sequential(*layers)
    with torch.no_grad():
        smashed = client(torch.rand(20, 1, 10, 10, generator=generator(1)))
    return view_of(smashed), ClientArchitecture.of(client, (1, 10, 10))


@pytest.mark.parametrize(
    ("attack", "config"),
    [
        (invert_jointly, JointConfig(steps=20)),
        (invert_by_decoder, TINY),
    ],
)
def test_flattening_before_the_cut_changes_nothing(attack, config):
    """Frameworks that send rows flatten what a ReLU left; dropout is not known, and left out."""
    with seeded(0):
        layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)]
    inputs = torch.rand(12, 1, 10, 10, generator=generator(1))
    with torch.no_grad():
        smashed = nn.Sequential(*layers)(inputs)
    found = []
    for tail, sent in (([], smashed), ([nn.Flatten(), nn.Identity()], smashed.flatten(1)), ([nn.Dropout()], smashed)):
        architecture = ClientArchitecture.of(nn.Sequential(*layers, *tail), (1, 10, 10))
        found.append(attack(view_of(sent), architecture, config, generator=generator(2)))
        with torch.no_grad():
            assert found[-1].clones[0](inputs).shape == sent.shape
    for other in found[1:]:
        assert torch.equal(other.inputs, found[0].inputs)
        assert torch.allclose(other.residual, found[0].residual)


@pytest.fixture(scope="module")
def recovered(trained, digits):
    """The attack behind the second convolution of a trained client: its row, its pictures, and the truth."""
    judged = Evaluation(
        targets=digits.test.one_per_class(), test=digits.test, mean_input=digits.train.images.mean(0),
        others=more_inputs(digits.train, 1000),
    )  # fmt: skip
    cpu = torch.device("cpu")
    row, pictures = run_inversion(
        trained.model(), 4, "strong", judged, state="after", seed=0, device=cpu, settings=QUICK
    )
    return row, pictures, judged.targets.images


def test_depth_four_of_a_trained_client_is_recovered(recovered):
    row, _, _ = recovered
    assert row.mse <= 0.025
    assert row.mse <= row.mse_best_trivial / 2
    assert row.clone_accuracy >= row.reference_accuracy - 0.04
    assert row.smashed == 1010


def test_against_other_pictures_it_is_no_better_than_a_guess(recovered):
    row, pictures, truth = recovered
    assert metrics.mse(pictures, truth.roll(1, 0)) > row.mse_best_trivial


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_the_same_seed_gives_the_same_numbers_and_leaves_the_global_generator_alone(depth):
    view, architecture = small(depth)
    before = torch.get_rng_state()
    runs = [invert_by_decoder(view, architecture, TINY, generator=generator(7)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(runs[0].inputs, runs[1].inputs)
    other = invert_by_decoder(view, architecture, TINY, generator=generator(8))
    assert not torch.equal(runs[0].inputs, other.inputs)
    assert runs[0].inputs.shape == (20, 1, 10, 10)
    assert runs[0].inputs.min() >= 0
    assert runs[0].inputs.max() <= 1


def test_what_is_returned_belongs_together():
    view, architecture = small()
    alone = dataclasses.replace(TINY, finalists=1)
    found = invert_by_decoder(view, architecture, alone, generator=generator(0))
    with torch.no_grad():
        output = found.clones[0](found.inputs)
    smashed = view.tensor(Kind.SMASHED)
    expected = (output - smashed).square().flatten(1).mean(1) / smashed.var(unbiased=False)
    torch.testing.assert_close(found.residual, expected)


@pytest.mark.parametrize("seed", range(3))
def test_a_result_says_what_decided_its_sign(seed):
    view, architecture = small()
    found = invert_by_decoder(view, architecture, TINY, generator=generator(seed))
    assert -1 <= found.agreement <= 1
    assert found.sign is (Sign.AMBIGUOUS if found.decided_by is DecidedBy.NOTHING else Sign.RESOLVED)
    assert (found.decided_by is DecidedBy.AGREEMENT) == (found.agreement >= 0.5)
    assert found.sure is surely(found.agreement, float(found.residual.mean()), found.sign)


def test_one_finalist_says_nothing_of_agreement():
    view, architecture = small()
    alone = dataclasses.replace(TINY, finalists=1).assuming(NO_ASSUMPTIONS)
    found = invert_by_decoder(view, architecture, alone, generator=generator(0))
    assert found.agreement is found.decided_by is None
    assert found.sign is Sign.UNTESTED
    assert found.sure is False


def test_pictures_are_in_the_range_of_the_architecture():
    view, architecture = small()
    shifted = dataclasses.replace(architecture, low=-1.0, high=3.0)
    found = invert_by_decoder(view, shifted, TINY, generator=generator(0))
    assert -1 <= found.inputs.min() < 0
    assert found.inputs.max() <= 3


def uniform(*layers):
    """Layers that look at all they see alike, so that where they look can be told on paper."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


CENTRES = {
    "a valid convolution": (lambda: uniform(nn.Conv2d(1, 1, 5)), 24, (1.0, 2.0)),
    "a padded one": (lambda: uniform(nn.Conv2d(1, 1, 3, padding=1)), 28, (1.0, 0.0)),
    "with strides": (lambda: uniform(nn.Conv2d(1, 1, 4, stride=2, padding=1)), 14, (2.0, 0.5)),
    "and pooled": (lambda: uniform(nn.Conv2d(1, 1, 5), nn.ReLU(), nn.AvgPool2d(2)), 12, (2.0, 2.5)),
}


@pytest.mark.parametrize("name", CENTRES)
@pytest.mark.parametrize("axis", [0, 1])
def test_where_a_place_of_the_smashed_data_looks(name, axis):
    with seeded(0):
        clone = CENTRES[name][0]()
    _, size, (stride, start) = CENTRES[name]
    found = receptive_centres(clone, (1, 28, 28), axis, size)
    assert found == pytest.approx((stride, start), abs=0.15)


@pytest.mark.parametrize("picture", [(1, 28, 28), (3, 32, 32), (1, 15, 17)])
@pytest.mark.parametrize("flat", [False, True])
def test_a_decoder_fits_any_picture(picture, flat):
    channels, height, width = picture
    with seeded(0):
        layers = [nn.Conv2d(channels, 4, 3), nn.MaxPool2d(2)]
        clone = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(5)) if flat else nn.Sequential(*layers)
        smashed = clone(torch.rand(6, *picture)).detach()
        decoder = Decoder(clone, smashed, picture, width=4, blocks=1)
    made = decoder(smashed)
    assert made.shape == (6, channels, height, width)
    assert made.dtype == torch.float32
    assert 0 < made.min() < made.max() < 1


def test_the_tilt_makes_first_pictures_dark_or_bright():
    view, architecture = small()
    smashed = view.tensor(Kind.SMASHED)
    means = []
    for tilt in (-2.0, 0.0, 2.0):
        with seeded(0):
            clone = architecture.blueprint.instantiate(generator=generator(0))
            means.append(float(Decoder(clone, smashed, (1, 10, 10), width=4, tilt=tilt)(smashed).detach().mean()))
    assert means[0] < 0.3 < means[1] < 0.7 < means[2]


WRONG = {
    "no candidate": (lambda: AmortisedConfig(candidates=0), "candidates"),
    "more finalists than candidates": (
        lambda: AmortisedConfig(candidates=1, finalists=2),
        "finalists can be at most candidates",
    ),
    "a trial of everything": (lambda: AmortisedConfig(trial=1.0), "between 0 and 1"),
    "no tilt": (lambda: AmortisedConfig(tilts=()), "at least one tilt"),
    "half astray": (lambda: AmortisedConfig(stray=0.5), "from 0 to below 0.5"),
    "no rate of refitting": (lambda: AmortisedConfig(refit_rate=0.0), "above 0"),
    "an empty batch": (lambda: LearningConfig(batch=0), "batch"),
    "a rate of zero": (lambda: LearningConfig(clone_rate=0.0), "above 0, and finite"),
    "a negative prior": (lambda: LearningConfig(bias_prior=-1.0), "0 or more"),
    "a leak of one": (lambda: LearningConfig(leak=1.0), "leak"),
    "betas": (lambda: LearningConfig(betas=(0.9, 1.0)), "betas"),
    "blocks": (lambda: LearningConfig(blocks=-1), "blocks"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_out_of_its_range_is_refused(name):
    make, words = WRONG[name]
    with pytest.raises(InputError, match=words):
        make()


def test_inputs_that_are_no_pictures_are_refused():
    with seeded(0):
        client = nn.Linear(4, 3)
        view = view_of(client(torch.rand(5, 4)).detach())
    with pytest.raises(InputError, match="use the preset 'joint'"):
        invert_by_decoder(view, ClientArchitecture.of(client, (4,)), TINY, generator=generator(0))
