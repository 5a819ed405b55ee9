"""Batch normalisation of dense outputs refuses single samples in training; nothing here breaks on it."""

import pytest
import torch
from torch import nn

from helpers.checks import noise, refused
from unsplit.attacks.inversion import AmortisedConfig, CoordinateConfig, JointConfig, LearningConfig, invert
from unsplit.attacks.labels import CloneHeadConfig, train_clone_head
from unsplit.data import Dataset, Splits
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.experiment.auditing.fitting import fitting
from unsplit.knowledge import ClientArchitecture, HeadArchitecture, LabelSpace
from unsplit.models import build, refuses_single_samples, split
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Setup, Transcript

SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def _layers_draw_from_a_seed():
    with seeded(0):
        yield


def net():
    """With batch norm at the client, in the middle and before the head."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(),
        nn.Linear(6, 10),
    )  # fmt: skip


def trained(samples, setup="a", *, batch=8, steps=6, **changes):
    config = SplitConfig(setup=Setup(setup), cut=2, batch_size=batch, **changes)
    model = build(net, generator=generator(0))
    training = split_training(model, *noise(samples, SHAPE), config, generator=generator(1))
    recorder = training.record(Recorder(observer="server"))
    training.run(steps)
    return training, recorder.transcript()


@pytest.mark.parametrize("setup", ["a", "b", "c"])
def test_a_last_batch_of_one_is_filled_up(setup):
    training, view = trained(9, setup)
    kind = Kind.FEATURES if setup == "b" else Kind.SMASHED
    assert list(view.of(kind).sizes) == [8, 2, 8, 2, 8, 2]
    assert [len(training.truth(step).labels) for step in range(2)] == [8, 2]


def test_larger_last_batches_stay_as_they_are():
    assert list(trained(11)[1].of(Kind.SMASHED).sizes) == [8, 3, 8, 3, 8, 3]


def test_batches_of_one_are_refused_by_the_layer_s_name():
    said = refused(trained, 9, batch=1)
    assert "nn.BatchNorm1d" in said
    assert "take larger batches" in said


@pytest.mark.parametrize(
    ("layers", "refuses"),
    [
        ([nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4)], True),
        ([nn.Conv2d(1, 2, 8), nn.BatchNorm2d(2)], True),
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)], False),
        ([nn.Flatten(), nn.Linear(64, 4), nn.LayerNorm(4)], False),
        ([nn.Linear(9, 4), nn.BatchNorm1d(4)], False),  # it takes no such inputs at all
    ],
)
def test_which_networks_refuse_single_samples(layers, refuses):
    model = nn.Sequential(*layers)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert refuses_single_samples(model, SHAPE) is refuses
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_inversions_take_any_number_of_samples(depth, samples):
    with seeded(0):
        bottom, _ = split(net(), depth)
    with torch.no_grad():
        sent = bottom.eval()(torch.rand(samples, *SHAPE, generator=generator(1)))
    view = Transcript(
        observer="server",
        messages=(Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=sent),),
    )
    for config in (
        JointConfig(steps=2),
        CoordinateConfig(rounds=1, input_steps=1, weight_steps=1),
        AmortisedConfig(candidates=1, finalists=1, steps=2, refit_steps=1, learning=LearningConfig(width=4, batch=4)),
    ):
        found = invert(view, ClientArchitecture.of(bottom.train(), SHAPE), config, generator=generator(2))
        assert bool(found.residual.isfinite().all())


def test_a_clone_head_takes_a_last_batch_of_one():
    features = torch.rand(9, 12, generator=generator(0))
    head = HeadArchitecture.of(nn.Sequential(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)))
    message = Message(step=0, sender="server", receiver="client0", kind=Kind.FEATURES, payload=features)
    view, labels = Transcript(observer="server", messages=(message,)), torch.arange(9) % 3
    config = CloneHeadConfig(epochs=1, batch_size=8)
    assert train_clone_head(view, labels, head, LabelSpace(classes=3), config, generator=generator(1))


def test_an_audit_leaves_out_steps_of_single_samples_and_says_so():
    images, labels = noise(20, SHAPE)
    data = Dataset(name="noise", images=images, labels=labels, classes=tuple("0123456789"))
    config, notes = fitting(AuditConfig(cuts=(2,)), Splits(train=data, test=data), net())
    assert config.label_setups == ()
    assert "nn.BatchNorm1d" in " ".join(notes)
    without = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10), nn.Linear(10, 10))
    config, notes = fitting(AuditConfig(cuts=(2,)), Splits(train=data, test=data), without)
    assert config.label_setups == ("b", "c")
    assert "nn.BatchNorm1d" not in " ".join(notes)
