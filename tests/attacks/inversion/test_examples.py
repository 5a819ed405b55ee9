"""Inversion by a server that has pictures: some of those that it sees smashed, or others of the same kind."""

import dataclasses

import pytest
import torch
from torch import nn

from helpers.checks import refused
from unsplit import AuditConfig, metrics
from unsplit.attacks.inversion import (
    ExamplesConfig,
    ExamplesInversionConfig,
    LearningConfig,
    invert_from_known_pictures,
    invert_from_similar_pictures,
)
from unsplit.attacks.inversion._informed import _Axes, _drawn, _Variants
from unsplit.attacks.settings import Limits
from unsplit.experiment.inversion import Evaluation, run_inversion
from unsplit.experiment.server_knowledge import ServerKnowledge
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, KnownPictures, OwnTop
from unsplit.models import split
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Sign, Transcript

TINY = ExamplesInversionConfig(
    steps=3, restarts=2, refit_steps=1, learning=LearningConfig(width=4, blocks=1, batch=4),
    examples=ExamplesConfig(directions=4, class_batch=4),
)  # fmt: skip
QUICK = ExamplesInversionConfig(
    steps=100, restarts=2, refit_steps=20, learning=LearningConfig(width=8, blocks=1, batch=16)
)
DEPTH = 6


def view_of(smashed):
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    return Transcript(observer="server", messages=(message,))


def small(*tail):
    """A small client with a dense layer, twelve pictures of noise, and what it sends for them."""
    with seeded(0):
        client = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 6), *tail)
        top = nn.Linear(6, 3)
    inputs = torch.rand(12, 1, 10, 10, generator=generator(1))
    with torch.no_grad():
        smashed = client(inputs)
    return inputs, smashed, ClientArchitecture.of(client, (1, 10, 10)), OwnTop(top=top, classes=3)


@pytest.fixture(scope="module")
def behind_dense(trained, digits):
    """Digits behind the first dense layer: the pictures, what the client sends for them, and what the server has."""
    bottom, top = split(trained.model(), DEPTH)
    inputs = torch.cat([digits.test.images[:40], digits.train.images[:600]])
    with torch.no_grad():
        smashed = bottom(inputs)
    return inputs, view_of(smashed), ClientArchitecture.of(bottom, (1, 28, 28)), OwnTop(top=top, classes=10)


def regressed(smashed, known, number):
    """The plain baseline: all pictures by ridge regression of the first ones on their smashed data."""
    from sklearn.linear_model import RidgeCV

    values = ((smashed - smashed.mean(0)) / smashed.std()).double().numpy()
    fit = RidgeCV(alphas=[10**power for power in range(-4, 5)]).fit(values[:number], known.flatten(1).double().numpy())
    return torch.as_tensor(fit.predict(values)).float().clamp(0, 1).reshape(-1, *known.shape[1:])


def test_thirty_known_pictures_give_the_others_behind_a_dense_layer(behind_dense):
    inputs, view, architecture, top = behind_dense
    known = KnownPictures(indices=tuple(range(40, 70)), pictures=inputs[40:70])
    config = dataclasses.replace(QUICK, steps=200)
    found = invert_from_known_pictures(view, architecture, top, known, config, generator=generator(0))
    error = metrics.mse(found.inputs[:40], inputs[:40])
    smashed = view.tensor(Kind.SMASHED)[40:]
    plain = metrics.mse(regressed(torch.cat([smashed, view.tensor(Kind.SMASHED)[:40]]), inputs[40:70], 30)[-40:],
                        inputs[:40])  # fmt: skip
    guess = min(metrics.trivial_guesses(inputs[:40], inputs.mean(0)).values())
    assert error < 0.85 * guess
    assert error < plain
    assert torch.equal(found.inputs[40:70], inputs[40:70])
    assert found.agreement > 0.5
    assert found.sign is Sign.RESOLVED


def test_similar_pictures_help_by_their_classes(behind_dense, digits):
    """The same pictures under wrong classes say less of what was sent."""
    inputs, view, architecture, top = behind_dense
    pictures, labels = digits.train.images[1000:1500], digits.train.labels[1000:1500]
    wrong = (labels + 1 + torch.arange(500) % 9) % 10
    config = dataclasses.replace(QUICK, steps=150, restarts=1)
    errors = []
    for classes in (labels, wrong):
        data = AuxiliaryData(inputs=pictures, labels=classes)
        found = invert_from_similar_pictures(view, architecture, top, data, config, generator=generator(0))
        errors.append(metrics.mse(found.inputs, inputs))
    assert errors[0] < 0.93 * errors[1]
    assert found.agreement is None
    assert found.sign is Sign.UNTESTED


def test_pictures_that_are_known_leave_nothing_to_be_assumed():
    learning = ExamplesInversionConfig().learning
    assert learning.photographs.assumed((1, 28, 28)) == learning.photographs.assumed((3, 32, 32)) == ()


def test_no_final_steps_are_none():
    inputs, smashed, architecture, top = small()
    known = KnownPictures(indices=(0,), pictures=inputs[:1])
    told = []
    found = invert_from_known_pictures(
        view_of(smashed), architecture, top, known, dataclasses.replace(TINY, refit_steps=0), generator=generator(0),
        progress=lambda done, total, _: told.append((done, total)),
    )  # fmt: skip
    assert torch.equal(found.inputs[:1], inputs[:1])
    assert told == [(3, 6), (6, 6)]


@pytest.mark.parametrize("tail", [(), (nn.ReLU(),), (nn.ReLU(), nn.Identity(), nn.Flatten())])
def test_what_is_returned_belongs_together(tail):
    inputs, smashed, architecture, top = small(*tail)
    data = AuxiliaryData(inputs=inputs[:5], labels=torch.tensor([0, 1, 2, 0, 1]))
    known = KnownPictures(indices=(3, 1), pictures=inputs[[3, 1]])
    for found in (
        invert_from_known_pictures(view_of(smashed), architecture, top, known, TINY, generator=generator(0)),
        invert_from_similar_pictures(view_of(smashed), architecture, top, data, TINY, generator=generator(0)),
    ):
        assert found.inputs.shape == inputs.shape
        with torch.no_grad():
            made = found.clones[0](found.inputs)
        assert made.shape == smashed.shape
        assert found.residual.tolist() == pytest.approx(
            ((made - smashed).square().mean(1) / smashed.var(unbiased=False)).tolist(), rel=1e-4
        )


def test_in_other_units_the_same_is_found():
    inputs, smashed, architecture, top = small()
    known = KnownPictures(indices=(0, 5), pictures=inputs[[0, 5]])
    found = invert_from_known_pictures(view_of(smashed), architecture, top, known, TINY, generator=generator(0))
    wide = dataclasses.replace(architecture, low=-1.0, high=3.0)
    told = KnownPictures(indices=(0, 5), pictures=inputs[[0, 5]] * 4 - 1)
    other = invert_from_known_pictures(view_of(smashed), wide, top, told, TINY, generator=generator(0))
    assert torch.allclose(other.inputs[[0, 5]], told.pictures, atol=1e-5)
    assert -1 <= other.inputs.min() < 0
    assert 1 < other.inputs.max() <= 3
    assert torch.allclose((other.inputs + 1) / 4, found.inputs, atol=0.1)


def test_what_cannot_be_is_refused():
    inputs, smashed, architecture, top = small()

    def run(known, config=TINY):
        return refused(
            invert_from_known_pictures, view_of(smashed), architecture, top, known, config, generator=generator(0)
        )

    assert "beyond the 12" in run(KnownPictures(indices=(12,), pictures=inputs[:1]))
    assert "shape" in run(KnownPictures(indices=(1,), pictures=inputs[:1, :, :5]))
    assert "once" in refused(KnownPictures, indices=(1, 1), pictures=inputs[:2])
    assert "one for each" in refused(KnownPictures, indices=(1, 2), pictures=inputs[:1])
    assert "weights" in refused(ExamplesConfig, decoded=0, explained=0, returned=0, alike=0, sent=0)
    assert "restarts" in refused(ExamplesInversionConfig, restarts=0)

    def learn(data, layers=top):
        return refused(
            invert_from_similar_pictures, view_of(smashed), architecture, layers, data, TINY, generator=generator(0)
        )

    assert "classes" in learn(AuxiliaryData(inputs=inputs))
    with seeded(0):
        narrow, dense = nn.Linear(5, 3), nn.Linear(100, 6)
    other = OwnTop(top=narrow, classes=3)
    assert "behind this cut" in learn(AuxiliaryData(inputs=inputs, labels=torch.zeros(12).long()), other)
    flat = ClientArchitecture.of(dense, (100,))
    known = KnownPictures(indices=(1,), pictures=inputs[:1].flatten(1))
    sentence = refused(invert_from_known_pictures, view_of(smashed), flat, top, known, TINY, generator=generator(0))
    assert "invert_from_known_rows" in sentence


def test_variants_without_deviations_are_the_pictures():
    pictures = torch.rand(3, 2, 7, 9, generator=generator(0))
    chosen = torch.tensor([[2, 0], [1, 1]])
    still = ExamplesConfig(turn=0, scale=0, shift=0)
    drawn = _Variants.draw(chosen, still, generator(0))
    for step in range(2):
        assert torch.allclose(drawn.of(pictures, torch.tensor([step])), pictures[chosen[step]], atol=1e-5)
    moved = _Variants.draw(chosen, ExamplesConfig(), generator(0)).of(pictures, torch.tensor([1]))
    assert float((moved[0] - moved[1]).abs().mean()) > 0.02


def test_the_distance_of_distributions_knows_no_order():
    samples = torch.randn(200, 5, generator=generator(0))
    axes = _Axes(samples, 64, generator(1))
    now = torch.tensor([3])
    assert float(axes.distance(samples, samples.flip(0), now)) == pytest.approx(0, abs=1e-10)
    # A shift by one deviation along every axis is a distance of one of them squared, in the mean over directions.
    assert float(axes.distance(samples, samples + samples.std(), now)) == pytest.approx(1, rel=0.5)
    assert float(axes.distance(samples, samples * 0, now)) == pytest.approx(1, rel=0.2)


def test_only_classes_that_both_have_are_compared():
    own, seen = torch.tensor([0, 0, 2, 5]), torch.tensor([1, 2, 2, 1, 0])
    drawn = _drawn(own, seen, 20, ExamplesConfig(class_batch=4), generator(0))
    variants, chosen = drawn
    assert chosen.shape == variants.chosen.shape == (20, 8)
    assert torch.equal(own[variants.chosen], seen[chosen])
    assert set(seen[chosen].flatten().tolist()) == {0, 2}
    assert _drawn(own, torch.ones(4).long(), 20, ExamplesConfig(), generator(0)) is None


def test_limits_hold_for_every_restart():
    held = QUICK.within(Limits(decoder_steps=7, restarts=1, batch=3))
    assert (held.steps, held.restarts, held.learning.batch) == (7, 1, 3)
    assert held.computing("on").learning.reduced_precision == "on"


def test_a_server_of_an_audit_knows_pictures_that_follow_the_targets(digits, trained):
    targets = digits.test.one_per_class()
    judged = Evaluation(
        targets=targets, test=targets, mean_input=digits.train.images.mean(0), others=digits.train.images[:50]
    )
    row, pictures = run_inversion(
        trained.model(), DEPTH, "known-pictures", judged, state="after", seed=0, device=torch.device("cpu"),
        settings=TINY, server=ServerKnowledge(known_pictures=8),
    )  # fmt: skip
    assert (row.smashed, row.mse_best_of_eight) == (60, None)
    assert pictures.shape == targets.images.shape
    knows = ServerKnowledge(known_pictures=8).of_kinds(
        [KnownPictures], trained.model(), DEPTH, targets, (judged.others, judged.others), torch.device("cpu")
    )
    assert knows[0].indices == tuple(range(10, 18))
    assert torch.equal(knows[0].pictures, judged.others[:8])
    assert "known_pictures" in refused(AuditConfig, known_pictures=0)
