"""What all defences have in common: they are mild or strong, act in training and in use, are texts, and compose."""

import math
from dataclasses import fields

import pytest
import torch
from torch import nn

from helpers.defenses import VALUES, train, weights
from unsplit.data import load
from unsplit.defenses import (
    DEFENSES,
    Clip,
    DeeperCut,
    Defense,
    Dropout,
    GaussianNoise,
    GradientNoise,
    LabelDP,
    LaplaceNoise,
    Marvell,
    MaxNorm,
    NoPeek,
    PrivateTraining,
    Quantise,
    RandomReLU,
    Sparsify,
    Together,
    TopK,
    parse_defense,
    randomised_response,
    together,
)
from unsplit.errors import InputError
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Kind

MILD = {
    "gaussian": GaussianNoise(scale=0.0), "laplace": LaplaceNoise(scale=0.0), "clip": Clip(limit=1e9),
    "quantise": Quantise(bits=16), "sparsify": Sparsify(threshold=0.0), "top-k": TopK(keep=1.0),
    "dropout": Dropout(rate=0.0), "random-relu": RandomReLU(rate=0.0, scale=0.0), "nopeek": NoPeek(weight=0.0),
    "label-dp": LabelDP(epsilon=50.0), "gradient-noise": GradientNoise(scale=0.0), "marvell": Marvell(power=0.0),
    "max-norm": MaxNorm(scale=0.0), "dp-sgd": PrivateTraining(noise=0.0, clip=1e9),
}  # fmt: skip
"""Each defence at a strength at which it changes nothing; those without one are named in the test."""
ROUNDING = ("quantise", "dp-sgd")
"""Those of them that change the last digits even so."""


@pytest.mark.parametrize("name", sorted(set(DEFENSES) - {"sign", "deeper-cut"}))
def test_a_defence_of_no_strength_changes_nothing(name):
    plain, seen = train()
    training, view = train(MILD[name])
    exact = name not in ROUNDING
    for kind in (Kind.SMASHED, Kind.FEATURE_GRAD):
        one, other = seen.tensor(kind), view.tensor(kind)
        assert torch.equal(one, other) if exact else torch.allclose(one, other, atol=2e-3)
    assert torch.equal(weights(plain), weights(training)) if exact else True


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_a_defence_acts_when_the_network_is_used_too_and_alike_for_one_seed(name):
    first, second = (train(DEFENSES[name](), steps=4) for _ in range(2))
    assert torch.equal(weights(first[0]), weights(second[0]))
    for kind in (Kind.SMASHED, Kind.FEATURE_GRAD):
        assert torch.equal(first[1].tensor(kind), second[1].tensor(kind))
    inputs = load("digits").test.images[:8]
    sent = first[0].infer(inputs).tensor(Kind.SMASHED)
    bottom = first[0].clients[0].bottom.module
    acts = type(DEFENSES[name]()).smashed is not Defense.smashed
    with torch.no_grad():
        assert torch.equal(sent, bottom(inputs)) is not acts
    assert first[0].predict(inputs).shape == (8, 10)


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_text_says_the_same_defence(name):
    defense = DEFENSES[name]()
    assert parse_defense(str(defense)) == defense
    assert parse_defense(name) == defense
    assert (
        parse_defense(f"{name}:{','.join(str(getattr(defense, field.name)) for field in fields(defense))}") == defense
    )
    for text in (defense.protects, defense.knob, type(defense).__doc__):
        assert text
    assert "Reference:" in type(defense).__doc__
    assert all(field.default is not None for field in fields(defense))


def test_together_they_act_one_after_another():
    both = together([Clip(limit=0.5), GaussianNoise(scale=0.1), DeeperCut(modules=1), NoPeek(weight=2.0)])
    sent = both.smashed(VALUES, generator=generator(3))
    clipped = VALUES.clamp(-0.5, 0.5)
    assert torch.equal(sent, GaussianNoise(scale=0.1).smashed(clipped, generator=generator(3)))
    assert both.deeper == 1
    assert float(both.penalty(VALUES[:9], VALUES[:9])) == pytest.approx(2.0, rel=1e-3)
    assert together([Clip()]) == Clip()
    assert "clip" in str(both)
    assert str(Together()) == "none"


def normalised():
    """DP-SGD of a client with batch norm."""
    with seeded(0):
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    config = SplitConfig(cut=1, batch_size=4, defenses=(PrivateTraining(),))
    split_training(model, torch.zeros(4, 3), torch.zeros(4).long(), config, generator=generator(0))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Dropout(rate=1.0), "from 0 to below 1"),
        (lambda: TopK(keep=0.0), "above 0 and at most 1"),
        (lambda: Quantise(bits=17), "from 1 to 16"),
        (lambda: Clip(limit=0.0), "above 0"),
        (lambda: PrivateTraining(clip=0.0), "above 0"),
        (lambda: parse_defense("gausian"), "did you mean 'gaussian'"),
        (lambda: parse_defense("gaussian:scle=1"), "did you mean 'scale'"),
        (lambda: parse_defense("quantise:bits=2.5"), "a whole number, not '2.5'"),
        (lambda: parse_defense("sign:1"), "is not understood"),
        (lambda: parse_defense("random-relu:0.1,0.2,0.3"), "is not understood"),
        (lambda: Together(members=(PrivateTraining(), PrivateTraining())), "named twice"),
        (lambda: train(DeeperCut(modules=20)), "no cut"),
        (lambda: LabelDP().labels(torch.zeros(3), 1, generator=generator(0)), "regression"),
        (lambda: GradientNoise().gradients(VALUES, torch.zeros(400), generator=generator(0)), "regression"),
        (lambda: normalised(), "batch norm"),
        (lambda: GradientNoise(scale=-1.0), "scale is -1.0"),
        (lambda: GradientNoise(scale=math.inf), "0 or more, and finite"),
        (lambda: GradientNoise(scale=1.0, shape="align"), "did you mean 'aligned'"),
        (lambda: randomised_response(torch.zeros(2).long(), 2, 0.0, generator=generator(0)), "above 0"),
        (lambda: LabelDP(epsilon=-1.0), "above 0"),
    ],
)  # fmt: skip
def test_bad_settings_are_one_sentence(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
