"""SDAR: a passive server with data of its own simulates the client and learns to decode what it sends."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.checks import noise, refused
from unsplit.attacks.auxiliary import (
    SDAR_PRESETS,
    SdarAttacker,
    SdarConfig,
    invert_by_simulation,
    invert_by_simulation_without_labels,
    sdar_preset,
)
from unsplit.attacks.auxiliary._networks import (
    CentrePad,
    make_decoder,
    make_feature_discriminator,
    make_picture_discriminator,
)
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, OwnTop
from unsplit.metrics import mse, trivial_guesses
from unsplit.models import build, cuts, split
from unsplit.models.resnet20 import resnet20
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Transcript

SMALL = replace(
    SDAR_PRESETS["quick"], iterations=110, batch_size=16, feature_width=16, picture_width=4, width=8,
    simulator=OptimizerSpec(lr=3e-3),
)  # fmt: skip
TINY = replace(SMALL, iterations=2, batch_size=4)


@pytest.fixture(scope="module")
def used(trained, digits):
    """A trained network in use: what the server sees and knows, and the truth."""
    bottom, top = split(trained.model(), 1)
    truth = digits.train.images[:256]
    message = trained.infer(truth)
    own = AuxiliaryData(inputs=digits.test.images, labels=digits.test.labels)
    known = {
        "architecture": ClientArchitecture.of(bottom, (1, 28, 28)),
        "top": OwnTop(top=top, classes=10),
        "data": own,
    }
    return message, known, truth


@pytest.fixture(scope="module")
def guess(digits):
    """The error of the best guess that needs no message."""
    return min(trivial_guesses(digits.train.images[:256], digits.train.images.mean(0)).values())


@pytest.fixture(scope="module")
def runs(used):
    """Two runs, the one that explains more of the smashed data first. In so few iterations, and with a top that is
    trained already, about every second run settles on a simulator other than the client, and is worse than the guess.
    """
    view, known, _ = used
    both = [invert_by_simulation_without_labels(view, **known, config=SMALL, generator=generator(s)) for s in (2, 3)]
    return sorted(both, key=lambda run: float(run.residual.mean()))


@pytest.fixture(scope="module")
def inverted(runs):
    """What an attacker keeps of the runs, who sees their residuals and nothing of the truth."""
    return runs[0]


def labelled(view, labels):
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.LABELS, payload=labels)
    return Transcript(observer="server", messages=(*view, message))


def random_world(model="mnist-net", cut=1, shape=(1, 28, 28), samples=8):
    network = build(model, generator=generator(0)).eval()
    bottom, top = split(network, cut)
    inputs, labels = noise(samples, shape)
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=bottom(inputs))
    known = {
        "architecture": ClientArchitecture.of(bottom, shape),
        "top": OwnTop(top=top, classes=10),
        "data": AuxiliaryData(inputs=inputs.flip(0), labels=labels.flip(0)),
    }
    return Transcript(observer="server", messages=(message,)), labels, known


def test_the_run_that_explains_most_beats_the_best_guess_by_far(inverted, used, guess):
    assert mse(inverted.inputs, used[2]) < 0.5 * guess
    assert float(inverted.inputs.min()) >= 0
    assert float(inverted.inputs.max()) <= 1


def test_against_other_pictures_it_is_no_better_than_the_guess(inverted, used, guess):
    assert mse(inverted.inputs, used[2].roll(1, 0)) > guess


def test_the_residual_says_which_simulator_explains_what_was_sent(runs, used):
    kept, left = runs
    assert float(kept.residual.mean()) < 0.7 < float(left.residual.mean())
    assert mse(kept.inputs, used[2]) < mse(left.inputs, used[2])


def test_smashed_data_of_unrelated_samples_say_nothing(used, guess):
    view, known, truth = used
    smashed = view.tensor(Kind.SMASHED)
    message = Message(
        step=0, sender="client0", receiver="server", kind=Kind.SMASHED,
        payload=smashed.flatten(2)[:, :, torch.randperm(576, generator=generator(1))].view_as(smashed),
    )  # fmt: skip
    scrambled = Transcript(observer="server", messages=(message,))
    config = replace(SMALL, iterations=30)
    found = invert_by_simulation_without_labels(scrambled, **known, config=config, generator=generator(0))
    assert mse(found.inputs, truth) > 0.9 * guess


def test_labels_are_used_where_they_come(used, digits, guess):
    view, known, truth = used
    attacker_config = replace(SMALL, iterations=60)
    seen = labelled(view, digits.train.labels[:256])
    found = invert_by_simulation(seen, **known, config=attacker_config, generator=generator(3))
    assert mse(found.inputs, truth) < 0.5 * guess
    attacker = SdarAttacker(**known, config=TINY, generator=generator(0))
    smashed = view.tensor(Kind.SMASHED)[:2]
    told = [attacker.invert(smashed, torch.full((2,), label)) for label in (0, 1)]
    assert not torch.equal(*told)


@pytest.mark.parametrize("conditional", [True, False])
def test_the_same_seed_gives_the_same_numbers(conditional):
    view, labels, known = random_world()
    run = invert_by_simulation if conditional else invert_by_simulation_without_labels
    seen = labelled(view, labels)
    first, again, other = (run(seen, **known, config=TINY, generator=generator(seed)).inputs for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def watched(attack, steps):
    """A training of ten steps, with an attacker beside it or without."""
    inputs, labels = noise(40)
    model = build("mnist-net", generator=generator(0))
    training = split_training(model, inputs, labels, SplitConfig(batch_size=8), generator=generator(1))
    everything = training.record(Recorder(observer="server"))
    now = training.record(Recorder(observer="server", last=1, kinds=(Kind.SMASHED, Kind.LABELS)))
    top = training.server.body.module
    attacker = None
    if attack:
        bottom, _ = split(model, 1)
        attacker = SdarAttacker(
            ClientArchitecture.of(bottom, (1, 28, 28)), OwnTop(top=top, classes=10),
            AuxiliaryData(inputs=inputs, labels=labels), TINY, generator=generator(2),
        )  # fmt: skip
    for _ in range(steps):
        training.step()
        if attacker is not None:
            attacker.observe(now.transcript(), OwnTop(top=top, classes=10))
    return training, everything.transcript(), attacker


def test_a_training_that_is_watched_is_the_training_that_is_not():
    state = torch.get_rng_state()
    (alone, sent_alone, _), (beside, sent_beside, attacker) = watched(False, 10), watched(True, 10)
    assert torch.equal(state, torch.get_rng_state())
    for first, second in zip(sent_alone, sent_beside, strict=True):
        assert first.header == second.header
        assert torch.equal(first.tensor, second.tensor)
    for first, second in zip(alone.model().state_dict().values(), beside.model().state_dict().values(), strict=True):
        assert torch.equal(first, second)
    assert attacker.losses["task"] > 0


def test_it_follows_the_top_and_leaves_it_alone():
    training, _, attacker = watched(True, 3)
    body = training.server.body.module
    own = attacker._top
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in body.state_dict().items())
    assert not {value.data_ptr() for value in own.parameters()} & {value.data_ptr() for value in body.parameters()}
    assert all(value.grad is None for value in own.parameters())
    assert body.training


def test_one_step_is_the_gradient_of_the_objective():
    view, _, known = random_world()
    slow = OptimizerSpec(name="sgd", lr=0.1)
    config = replace(TINY, batch_size=4, simulator=slow, decoder=slow, feature_weight=0.0, picture_weight=0.0)
    attacker = SdarAttacker(**known, config=config, generator=generator(0), conditional=False)
    simulator, decoder = copy.deepcopy(attacker.simulator), copy.deepcopy(attacker.decoder)
    data = known["data"]
    drawn = torch.randint(8, (4,), generator=torch.Generator().set_state(attacker._generator.get_state()))
    inputs, labels = data.inputs[drawn], data.labels[drawn]
    attacker.learn(view.tensor(Kind.SMASHED), None)
    functional.cross_entropy(known["top"].top(simulator(inputs)), labels).backward()
    for value, moved in zip(simulator.parameters(), attacker.simulator.parameters(), strict=True):
        torch.testing.assert_close(value - 0.1 * value.grad, moved)
    loss = functional.mse_loss(decoder(attacker.simulator(inputs).detach(), None), inputs)
    loss.backward()
    for value, moved in zip(decoder.parameters(), attacker.decoder.parameters(), strict=True):
        torch.testing.assert_close(value - 0.1 * value.grad, moved)
    assert attacker.losses["decoder"] == pytest.approx(float(loss.detach()))


def test_the_discriminator_learns_to_tell_and_the_simulator_to_deceive():
    view, _, known = random_world(samples=32)
    told = {}
    for weight in (1e-6, 1.0):
        config = replace(SMALL, feature_weight=weight, picture_weight=0.0, feature_judge=OptimizerSpec(lr=3e-3))
        attacker = SdarAttacker(**known, config=config, generator=generator(0), conditional=False)
        for _ in range(40):
            attacker.learn(view.tensor(Kind.SMASHED), None)
        told[weight] = attacker.losses["feature_judge"]
    assert told[1e-6] < 0.9  # Chance is 2 log 2.
    assert told[1.0] > 1.2 * told[1e-6]


def test_a_state_goes_on_where_it_ended():
    view, labels, known = random_world()
    first = SdarAttacker(**known, config=TINY, generator=generator(0))
    smashed = view.tensor(Kind.SMASHED)
    first.learn(smashed, labels)
    drawn = generator(9)
    drawn.set_state(first._generator.get_state())
    second = SdarAttacker(**known, config=TINY, generator=drawn)
    drawn.set_state(first._generator.get_state())
    second.load(first.state())
    for attacker in (first, second):
        attacker.learn(smashed, labels)
    assert all(torch.equal(value, second.state()[name]) for name, value in first.state().items())


@pytest.mark.parametrize(("model", "shape"), [("mnist-net", (1, 28, 28)), ("cifar-net", (3, 32, 32))])
@seeded(0)
def test_every_cut_of_the_papers_nets_has_networks(model, shape):
    for cut in cuts(build(model, generator=generator(0)), shape):
        smashed, labels = torch.rand(2, *cut.shape), torch.tensor([1, 2])
        for classes in (None, 10):
            told = labels if classes else None
            assert make_decoder(cut.shape, shape, classes, width=2)(smashed, told).shape == (2, *shape)
            assert make_feature_discriminator(cut.shape, classes, width=8)(smashed, told).shape == (2, 1)


def convolutions(network):
    return [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]


@seeded(0)
def test_the_papers_networks_have_the_authors_layers():
    network = resnet20()
    assert sum(value.numel() for value in network.parameters()) == 272_474  # He et al.'s .27 million, option B.
    shapes = {cut.name: cut.shape for cut in cuts(network, (3, 32, 32))}
    level4, level7 = shapes["block4"], shapes["block7"]
    assert (level4, level7) == ((32, 16, 16), (64, 8, 8))
    assert convolutions(make_decoder(level4, (3, 32, 32), 10)) == [32, 16, 16, 16, 3]
    assert convolutions(make_decoder(level7, (3, 32, 32), 10)) == [64, 32, 32, 32, 16, 16, 16, 3]
    assert convolutions(make_feature_discriminator(level4, 10)) == [64, 128, 256, 256, 256, 256]
    assert convolutions(make_feature_discriminator(level7, 10)) == [128, 256, 256, 256, 256]
    assert convolutions(make_picture_discriminator((3, 32, 32), 10)) == [64, 128, 128, 256]


def test_padding_puts_back_what_unpadded_convolutions_took():
    picture = torch.rand(1, 1, 28, 28, generator=generator(0))
    middle = torch.zeros(1, 1, 5, 5)
    middle[0, 0, 2, 2] = 1
    padded = CentrePad((28, 28))(functional.conv2d(picture, middle))
    assert torch.equal(padded[:, :, 2:26, 2:26], picture[:, :, 2:26, 2:26])
    assert float(padded[:, :, :2].abs().sum()) == 0


@pytest.mark.parametrize("cut", ["fc1", "pool2"])
def test_deeper_and_flat_cuts_run(cut):
    view, _, known = random_world(cut=cut)
    found = invert_by_simulation_without_labels(view, **known, config=TINY, generator=generator(0))
    assert found.inputs.shape == (8, 1, 28, 28)
    assert bool(found.inputs.isfinite().all())


def test_reduced_precision_learns_nearly_the_same():
    view, _, known = random_world()
    errors = []
    for precision in ("off", "on"):
        config = replace(TINY, reduced_precision=precision)
        attacker = SdarAttacker(**known, config=config, generator=generator(0), conditional=False)
        attacker.learn(view.tensor(Kind.SMASHED), None)
        errors.append(attacker.losses["decoder"])
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


def test_what_is_missing_is_said_in_one_sentence():
    view, labels, known = random_world()
    data = known["data"]

    def sentence(run=invert_by_simulation_without_labels, view=view, **changed):
        return refused(run, view, **(known | changed), config=TINY, generator=generator(0))

    assert "labelled data" in sentence(data=AuxiliaryData(inputs=data.inputs))
    assert "one label for each" in sentence(data=AuxiliaryData(inputs=data.inputs[:, :, :14], labels=data.labels))
    assert "holds no labels message" in sentence(invert_by_simulation)
    for wrong in (labels[:3], labels + 0.5, labels + 10):
        assert "use SDAR without labels" in sentence(invert_by_simulation, labelled(view, wrong))


def test_smashed_data_that_are_no_maps_are_refused():
    view, _, known = random_world(lambda: nn.Sequential(nn.Flatten(2), nn.Flatten(), nn.Linear(784, 10)), cut=0)
    sentence = refused(invert_by_simulation_without_labels, view, **known, config=TINY, generator=generator(0))
    assert "cut the network elsewhere" in sentence


@pytest.mark.parametrize("settings", [
    {"iterations": 0}, {"batch_size": 1}, {"feature_weight": -1.0}, {"picture_weight": float("nan")}, {"width": 0},
])  # fmt: skip
def test_settings_out_of_range(settings):
    assert next(iter(settings)) in refused(SdarConfig, **settings)


def test_presets_by_name():
    assert sdar_preset("paper") == SdarConfig()
    assert "did you mean 'quick'" in refused(sdar_preset, "quik")
