"""The family of defences: what each does to a message or a training, what it leaves alone, and that they compose."""

import copy
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

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
    SignGradients,
    Sparsify,
    Together,
    TopK,
    distance_correlation,
    parse_defense,
    together,
)
from unsplit.defenses.gradients import marvell_variances
from unsplit.errors import InputError
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Setup

VALUES = torch.randn((400, 6, 5, 5), generator=generator(0))
MILD = {
    "gaussian": GaussianNoise(scale=0.0), "laplace": LaplaceNoise(scale=0.0), "clip": Clip(limit=1e9),
    "quantise": Quantise(bits=16), "sparsify": Sparsify(threshold=0.0), "top-k": TopK(keep=1.0),
    "dropout": Dropout(rate=0.0), "random-relu": RandomReLU(rate=0.0, scale=0.0), "nopeek": NoPeek(weight=0.0),
    "label-dp": LabelDP(epsilon=50.0), "gradient-noise": GradientNoise(scale=0.0), "marvell": Marvell(power=0.0),
    "max-norm": MaxNorm(scale=0.0), "dp-sgd": PrivateTraining(noise=0.0, clip=1e9),
}  # fmt: skip


def train(*defenses, setup=Setup.C, steps=3, **changes):
    """A few steps on the digits, and the server's transcript."""
    digits = load("digits").train
    settings = {"setup": setup, "cut": 1, "head": 1, "batch_size": 16, "defenses": tuple(defenses)} | changes
    training = split_training(
        build("mnist-net", generator=generator(0)), digits.images[:64], digits.labels[:64], SplitConfig(**settings),
        generator=generator(1),
    )  # fmt: skip
    recorder = training.record(Recorder(observer=SERVER))
    training.run(steps)
    return training, recorder.transcript()


def weights(training):
    return torch.cat([value.flatten() for value in training.model().state_dict().values()])


@pytest.mark.parametrize("scale", [0.3, 2.0])
@pytest.mark.parametrize("noise", [GaussianNoise, LaplaceNoise])
def test_noise_has_the_size_and_shape_that_it_says(noise, scale):
    added = noise(scale=scale).smashed(VALUES, generator=generator(1)) - VALUES
    size = float(VALUES.square().mean().sqrt())
    assert float(added.std()) == pytest.approx(scale * size, rel=0.02)
    assert abs(float(added.mean())) < 0.02 * scale
    kurtosis = float((added / added.std()).pow(4).mean())
    assert kurtosis == pytest.approx(3.0 if noise is GaussianNoise else 6.0, rel=0.1)


def test_clipping_leaves_what_is_within_and_cuts_off_what_is_not():
    clipped = Clip(limit=0.5).smashed(VALUES, generator=generator(1))
    assert float(clipped.abs().max()) == 0.5
    inside = VALUES.abs() < 0.5
    assert torch.equal(clipped[inside], VALUES[inside])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_quantised_values_are_on_so_many_levels_and_gradients_pass_through(bits):
    values = VALUES.clone().requires_grad_()
    rounded = Quantise(bits=bits).smashed(values, generator=generator(1))
    levels = torch.unique((rounded.detach() * 1e4).round())
    assert len(levels) == 2**bits
    step = float(VALUES.max() - VALUES.min()) / (2**bits - 1)
    assert float((rounded.detach() - VALUES).abs().max()) <= step / 2 + 1e-5
    rounded.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(VALUES))


@pytest.mark.parametrize("keep", [0.1, 0.5])
def test_top_k_keeps_the_largest_of_each_sample(keep):
    kept = TopK(keep=keep).smashed(VALUES, generator=generator(1)).flatten(1)
    flat = VALUES.flatten(1)
    assert ((kept != 0).sum(1) == round(keep * 150)).all()
    least = torch.where(kept != 0, kept.abs(), math.inf).min(1).values
    most = torch.where(kept == 0, flat.abs(), 0).max(1).values
    assert (least >= most).all()
    assert torch.equal(kept[kept != 0], flat[kept != 0])


def test_sparsifying_drops_what_is_small():
    left = Sparsify(threshold=1.0).smashed(VALUES, generator=generator(1))
    size = float(VALUES.square().mean().sqrt())
    assert torch.equal(left != 0, VALUES.abs() >= size)


def test_dropout_keeps_the_mean_and_drops_its_share():
    values = torch.ones(200, 100)
    left = Dropout(rate=0.25).smashed(values, generator=generator(1))
    assert float((left == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(left.mean()) == pytest.approx(1.0, abs=0.02)


def test_a_random_relu_is_a_relu_with_noise_that_is_often_off():
    left = RandomReLU(rate=0.4, scale=0.0).smashed(VALUES, generator=generator(1))
    assert float((left > 0).float().mean()) == pytest.approx(0.6 * float((VALUES > 0).float().mean()), abs=0.01)
    assert torch.equal(left[left > 0], VALUES[left > 0])


def test_max_norm_makes_all_gradients_as_long_as_the_longest_on_average():
    gradients = torch.randn((50, 8), generator=generator(2)) * torch.linspace(0.1, 3, 50)[:, None]
    gradients[3] = 0
    draws = [MaxNorm().gradients(gradients, torch.zeros(50).long(), generator=generator(seed)) for seed in range(4000)]
    squares = torch.stack(draws).square().sum(2).mean(0)
    longest = float(gradients.square().sum(1).max())
    others = torch.arange(50) != 3
    assert torch.allclose(squares[others], torch.full((49,), longest), rtol=0.15)
    assert float(squares[3]) == 0
    turned = torch.nn.functional.cosine_similarity(draws[0][others], gradients[others]).abs()
    assert torch.allclose(turned, torch.ones(49), atol=1e-5)


def test_signs_keep_signs_and_the_mean_magnitude():
    gradients = torch.randn((50, 8), generator=generator(2))
    sent = SignGradients().gradients(gradients, torch.zeros(50).long(), generator=generator(0))
    assert torch.equal(sent.sign(), gradients.sign())
    assert len(torch.unique(sent.abs())) == 1
    assert float(sent.abs().mean()) == pytest.approx(float(gradients.abs().mean()))


def divergence(along, across, apart, within, dimensions):
    one, two = along[0] + within[0], along[1] + within[1]
    one_across, two_across = across[0] + within[0], across[1] + within[1]
    line = (one + apart) / two + (two + apart) / one
    return line + (dimensions - 1) * (one_across / two_across + two_across / one_across)


def test_marvell_finds_noise_that_no_other_of_its_power_beats():
    """Against a random search; and for two like classes it puts all of it along the line between their means."""
    apart, within, share, dimensions, power = 1.0, (0.02, 0.08), 0.3, 10, 2.0
    along, across = marvell_variances(apart, within, share, dimensions, power)
    used = (1 - share) * (along[0] + 9 * across[0]) + share * (along[1] + 9 * across[1])
    assert used <= power * 1.001
    best = divergence(along, across, apart, within, dimensions)
    source = np.random.default_rng(0)
    for _ in range(5000):
        values = source.dirichlet([0.5] * 4) * power
        other = [values[0] / (1 - share), values[1] / share]
        around = [values[2] / (9 * (1 - share)), values[3] / (9 * share)]
        other = [max(one, two) for one, two in zip(other, around, strict=True)]
        spent = (1 - share) * (other[0] + 9 * around[0]) + share * (other[1] + 9 * around[1])
        if spent <= power:
            assert divergence(other, around, apart, within, dimensions) >= best * 0.999
    along, across = marvell_variances(1.0, (0.05, 0.05), 0.5, 10, 2.0)
    assert along == pytest.approx((2.0, 2.0), rel=1e-2)
    assert max(across) < 1e-3


def test_marvell_hides_two_classes_better_than_as_much_isotropic_noise():
    labels = torch.randint(2, (2000,), generator=generator(0))
    centres = torch.zeros(2, 40)
    centres[1, 0] = 1.0
    gradients = centres[labels] + 0.05 * torch.randn((2000, 40), generator=generator(1))
    hidden = Marvell(power=4.0).gradients(gradients, labels, generator=generator(2))
    spread = Marvell(power=4.0)
    isotropic = gradients + (spread.power / 40) ** 0.5 * torch.randn((2000, 40), generator=generator(3))
    shares = [float(((sent[:, 0] > 0.5).long() == labels).float().mean()) for sent in (gradients, isotropic, hidden)]
    assert shares[0] == 1.0
    assert shares[2] < shares[1] - 0.2


def test_distance_correlation_is_what_its_definition_says():
    one = torch.randn((30, 4), generator=generator(0), dtype=torch.float64)
    other = one[:, :2] ** 2 + 0.1 * torch.randn((30, 2), generator=generator(1), dtype=torch.float64)

    def centred(values):
        distances = squareform(pdist(values.numpy()))
        return distances - distances.mean(0) - distances.mean(1)[:, None] + distances.mean()

    a, b = centred(one), centred(other)
    expected = math.sqrt((a * b).mean() / math.sqrt((a * a).mean() * (b * b).mean()))
    assert float(distance_correlation(one, other)) == pytest.approx(expected, rel=1e-4)
    assert float(distance_correlation(one, 3 * one + 2)) == pytest.approx(1.0, rel=1e-4)


def test_nopeek_lowers_the_distance_correlation_of_what_is_sent():
    digits = load("digits").train.images[:64]

    def left(weight):
        training, _ = train(NoPeek(weight=weight), steps=40)
        return float(distance_correlation(digits, training.infer(digits).tensor(Kind.SMASHED)))

    assert left(20.0) < left(0.0) - 0.03


@pytest.mark.parametrize("name", sorted(set(DEFENSES) - {"sign", "deeper-cut"}))
def test_a_defence_of_no_strength_changes_nothing(name):
    plain, seen = train()
    training, view = train(MILD[name])
    exact = name not in ("quantise", "dp-sgd")
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


def test_the_noise_of_training_and_of_use_differ():
    training, view = train(GaussianNoise(scale=1.0), steps=1)
    inputs = training.clients[0].inputs_of(0)
    plain, _ = train(steps=0)
    used = plain.infer(inputs).tensor(Kind.SMASHED)
    noises = [view.tensor(Kind.SMASHED) - used]
    noises += [train(GaussianNoise(scale=1.0), steps=0)[0].infer(inputs).tensor(Kind.SMASHED) - used]
    assert abs(float(torch.corrcoef(torch.stack([noise.flatten() for noise in noises]))[0, 1])) < 0.05


def test_the_client_learns_through_its_defence():
    """The gradient of what was clipped away does not reach the bottom."""
    training, _ = train(Clip(limit=1e-9), steps=2, setup=Setup.A)
    before = build("mnist-net", generator=generator(0))[:2].state_dict()
    moved = training.clients[0].bottom.module.state_dict()
    assert all(torch.equal(before[name], moved[name]) for name in before)


def test_dp_sgd_clips_each_sample_and_adds_its_noise():
    """A step of plain SGD on one dense layer, whose per-sample gradients are known."""
    with seeded(0):
        model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2))
    inputs, labels = torch.rand((8, 3), generator=generator(0)), torch.arange(8) % 2

    def moved(noise, clip):
        config = SplitConfig(
            cut=0, batch_size=8, client_optimizer=OptimizerSpec(name="sgd", lr=1.0),
            defenses=(PrivateTraining(noise=noise, clip=clip),),
        )  # fmt: skip
        training = split_training(model, inputs, labels, config, generator=generator(1))
        training.run(1)
        return model[0].weight.detach() - training.clients[0].bottom.module[0].weight.detach()

    plain = copy.deepcopy(model)
    total = torch.zeros(2, 3)
    for one, label in zip(inputs, labels, strict=True):
        plain.zero_grad()
        nn.functional.cross_entropy(plain(one[None]), label[None]).backward()
        gradient = plain[0].weight.grad.clone()
        total += gradient * min(1.0, 0.05 / float(gradient.norm()))
    assert torch.allclose(moved(0.0, 0.05), total / 8, atol=1e-6)
    noise = moved(50.0, 0.05) - total / 8
    assert float(noise.std()) == pytest.approx(50 * 0.05 / 8, rel=0.6)


def test_dp_sgd_leaves_no_trace_in_the_layers():
    training, _ = train(PrivateTraining(), steps=2)
    for layer in training.model().modules():
        assert not layer._forward_hooks
        assert not layer._backward_hooks


def test_a_deeper_cut_moves_the_cut():
    training, view = train(DeeperCut(modules=2))
    assert len(training.clients[0].bottom.module) == 4
    plain, _ = train(cut=3)
    assert torch.equal(weights(plain), weights(training))
    assert view.tensor(Kind.SMASHED).shape[1:] == plain.infer(torch.zeros(1, 1, 28, 28)).tensor(Kind.SMASHED).shape[1:]


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


@pytest.mark.parametrize(
    "name", sorted(name for name in DEFENSES if type(DEFENSES[name]()).smashed is not Defense.smashed)
)
def test_the_truth_explains_what_was_seen_better_than_anything_else(name):
    """The misfit that an attacker who knows the defence minimises is lower for the true values than for others."""
    values = VALUES.clamp_min(0) if name == "random-relu" else VALUES
    defense = DEFENSES[name]()
    observed = defense.smashed(values, generator=generator(1))
    right = defense.misfit(values, observed).mean()
    for other in (torch.zeros_like(values), values.roll(1, 0), 2 * values):
        assert right < defense.misfit(other, observed).mean()


def test_knowing_that_values_are_missing_forgives_what_is_missing():
    observed = Dropout(rate=0.5).smashed(VALUES, generator=generator(1))
    aware = Dropout(rate=0.5).misfit(VALUES, observed).mean()
    assert aware < 0.5 * (VALUES - observed).square().mean()
    kept = TopK(keep=0.1).smashed(VALUES, generator=generator(1))
    assert TopK(keep=0.1).misfit(VALUES, kept).mean() < 0.2 * (VALUES - kept).square().mean()


def normalised():
    """DP-SGD of a client with batch norm."""
    with seeded(0):
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    config = SplitConfig(cut=1, batch_size=4, defenses=(PrivateTraining(),))
    split_training(model, torch.zeros(4, 3), torch.zeros(4).long(), config, generator=generator(0))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Dropout(rate=1.0), "from 0 up to 1"),
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
    ],
)  # fmt: skip
def test_bad_settings_are_one_sentence(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
