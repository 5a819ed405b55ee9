"""Inputs in the client's own units: the same traffic gives the same verdict, whatever 0 and 1 stand for."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from helpers.checks import refused
from unsplit import keep_truth, observe
from unsplit.attacks.he2019 import WhiteBoxConfig, invert_white_box
from unsplit.attacks.inversion import AmortisedConfig, JointConfig, LearningConfig, invert, presets
from unsplit.attacks.objectives import relative_residual
from unsplit.experiment.traffic.attack import AttackConfig, attack_recorded
from unsplit.experiment.traffic.audit import RecordedConfig, audit_recorded
from unsplit.experiment.traffic.truth import read_truth
from unsplit.knowledge import ClientArchitecture, ClientWeights
from unsplit.models import build, split
from unsplit.protocol import load_transcript
from unsplit.randomness import generator, seeded
from unsplit.ranges import InputRange
from unsplit.verdict import verdict

UNITS = {
    "bytes": (0.0, 255.0),
    "mean and deviation": (-0.42421, 2.82149),
    "symmetric": (-1.0, 1.0),
    "volume": (-1024.0, 3071.0),
}
IMAGENET = tuple(
    ((0 - mean) / deviation, (1 - mean) / deviation)
    for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
)


@pytest.fixture(scope="module")
def pictures(digits):
    return digits.test.images[:6], digits.test.labels[:6]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    shorten(monkeypatch)


def shorten(patch):
    """Attacks with few steps; the joint one comes close all the same."""
    patch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=400))
    quick = AmortisedConfig(
        candidates=2, finalists=2, steps=20, refit_steps=4, learning=LearningConfig(batch=6, width=8, blocks=1)
    )
    patch.setitem(presets.PRESETS, "strong-quick", lambda _: quick)


@torch.no_grad()
def moved(layer, units):
    """The first layer of a client that takes its inputs in these units and gives what it gave for 0 to 1."""
    low, span = (part.flatten() for part in units.columns((layer.in_channels, 1, 1)))
    layer.weight.div_(span[:, None, None])
    layer.bias.sub_((layer.weight * low[:, None, None]).sum((1, 2, 3)))


def traffic(folder, trained, pictures, bounds, *, told=True):
    """What a server keeps of one step of a client in these units, and the client's truth."""
    inputs, labels = pictures
    bottom, top = split(copy.deepcopy(trained.model()), 1)
    units = InputRange((bounds,))
    moved(bottom[0], units)
    own = units.to_own(inputs)
    given = {"input_range": bounds} if told else {}
    with observe(folder / "traffic") as server, keep_truth(folder / "truth", **given) as kept:
        received = bottom(own).detach().requires_grad_()
        with server.step(received, labels=labels):
            nn.functional.cross_entropy(top(received), labels).backward()
        kept.step(own, labels)
    return folder


def score_of(found):
    return {score.asset: score.score for score in verdict(found.result).scores}["inputs"]


@pytest.fixture(scope="module")
def expected(trained, pictures, tmp_path_factory):
    """What is found where inputs are from 0 to 1."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        unit = traffic(tmp_path_factory.mktemp("unit"), trained, pictures, (0.0, 1.0))
        return audit_recorded(unit / "traffic", RecordedConfig(), truth=unit / "truth")


@pytest.mark.parametrize("name", UNITS)
def test_the_same_traffic_in_other_units_gives_the_same_verdict(name, trained, pictures, expected, tmp_path):
    other = traffic(tmp_path, trained, pictures, UNITS[name])
    found = audit_recorded(other / "traffic", RecordedConfig(), truth=other / "truth")
    assert score_of(expected) > 0.8
    assert score_of(found) == pytest.approx(score_of(expected), abs=0.01)
    assert found.result.recorded.input_range == (UNITS[name],)
    pairs = zip(expected.result.recorded.inversion, found.result.recorded.inversion, strict=True)
    for one, other_row in pairs:
        assert other_row.sign == one.sign
        assert other_row.scores.guesses == pytest.approx(one.scores.guesses, abs=1e-5)
        assert other_row.scores.mse == pytest.approx(one.scores.mse, abs=0.01)
    assert float(found.originals.min()) >= -1e-5
    assert float(found.originals.max()) <= 1 + 1e-5


def test_truth_beyond_the_range_is_refused_until_the_range_is_said(trained, pictures, tmp_path):
    folder = traffic(tmp_path, trained, pictures, (0.0, 255.0), told=False)
    sentence = refused(audit_recorded, folder / "traffic", RecordedConfig(), truth=folder / "truth")
    assert "beyond the range 0 to 1" in sentence
    assert "`input_range=(0, 255)`" in sentence
    told = RecordedConfig(input_range=InputRange.of("0,255"), presets=("joint",))
    assert score_of(audit_recorded(folder / "traffic", told, truth=folder / "truth")) > 0.8


def test_the_truth_s_own_range_and_another_one_are_refused(trained, pictures, tmp_path):
    folder = traffic(tmp_path, trained, pictures, (0.0, 255.0))
    assert read_truth(folder / "truth").input_range == InputRange(((0.0, 255.0),))
    other = RecordedConfig(input_range=InputRange.of("0,1"))
    assert "leave `input_range` out" in refused(audit_recorded, folder / "traffic", other, truth=folder / "truth")


def test_a_client_that_says_a_range_is_held_to_it(tmp_path):
    kept = keep_truth(tmp_path / "truth", input_range="0,255")
    assert "beyond the range 0 to 255" in refused(kept.step, torch.full((2, 1, 4, 4), 300.0), torch.tensor([0, 1]))


def test_an_attack_without_truth_gives_pictures_in_the_client_s_units(trained, pictures, tmp_path):
    folder = traffic(tmp_path, trained, pictures, (0.0, 255.0))
    request = AttackConfig(input_range=InputRange.of((0, 255)))
    attack_recorded(folder / "traffic", request, tmp_path / "found")
    tensors = load_file(tmp_path / "found" / "reconstruction.safetensors")
    wrong, guess = tensors["inputs"] - 255 * pictures[0], 255 * (pictures[0].mean(0) - pictures[0])
    assert float(wrong.square().mean().sqrt()) < 0.5 * float(guess.square().mean().sqrt())
    smashed = load_transcript(folder / "traffic").messages[0].tensor
    bottom, _ = split(build("mnist-net", generator=generator(0)), 1)
    bottom.load_state_dict({name[7:]: value for name, value in tensors.items() if name.startswith("clone0/")})
    with torch.no_grad():
        assert float(relative_residual(bottom(tensors["inputs"]), smashed).max()) < 0.05


FIRST_LAYERS = {
    "convolution": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
    "padded": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
    "without bias": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "in groups": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU()),
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 5)),
    "behind a norm": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Tanh()),
}


@pytest.mark.parametrize("bounds", [((0.0, 255.0),), ((-2.0, 3.0),), IMAGENET], ids=["bytes", "shifted", "channels"])
@pytest.mark.parametrize("name", FIRST_LAYERS)
def test_clones_and_inputs_come_back_in_the_client_s_units(name, bounds, tmp_path):
    """Whatever the first layer, what an attack returns explains the smashed data, as it says it does."""
    with seeded(0):
        bottom = FIRST_LAYERS[name]()
    units = InputRange(bounds)
    own = units.to_own(torch.rand((4, 3, 6, 6), generator=generator(1)))
    with observe(tmp_path) as server, torch.no_grad(), server.step(bottom(own), gradient=False):
        pass
    view = load_transcript(tmp_path)
    architecture = ClientArchitecture.of(bottom, (3, 6, 6), units)
    found = invert(view, architecture, JointConfig(steps=40), generator=generator(0))
    assert found.inputs.shape == own.shape
    back = units.to_unit(found.inputs)
    assert float(back.min()) >= -1e-4
    assert float(back.max()) <= 1 + 1e-4
    assert found.clones[0].state_dict().keys() == bottom.state_dict().keys()
    smashed = view.messages[0].tensor
    with torch.no_grad():
        made = found.clones[0](found.inputs)
    assert torch.allclose(relative_residual(made, smashed), found.residual, rtol=1e-3, atol=1e-4)


def test_the_white_box_does_not_depend_on_units(tmp_path):
    inputs = torch.rand((3, 1, 8, 8), generator=generator(1))
    found = {}
    for bounds in ((0.0, 1.0), (-3.0, 9.0)):
        with seeded(0):
            bottom = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
        units = InputRange((bounds,))
        moved(bottom[0], units)
        with (
            observe(tmp_path / str(bounds)) as server,
            torch.no_grad(),
            server.step(bottom(units.to_own(inputs)), gradient=False),
        ):
            pass
        weights = ClientWeights(bottom=bottom, input_shape=(1, 8, 8), low=bounds[0], high=bounds[1])
        result = invert_white_box(
            load_transcript(tmp_path / str(bounds)), weights, WhiteBoxConfig(steps=60), generator=generator(0)
        )
        assert result.clones == (bottom,)
        found[bounds] = units.to_unit(result.inputs)
    one, other = found.values()
    assert torch.allclose(one, other, atol=0.02)
    assert float((one - inputs).square().mean()) < 0.05


@pytest.mark.parametrize("value", ["5", "a,b", "3,1", "1,2,3", [], (0, float("inf"))])
def test_what_is_no_range_is_one_sentence(value):
    assert "for example 0,255" in refused(InputRange.of, value)


def test_a_range_for_other_channels_is_one_sentence():
    assert "2 channels" in refused(ClientArchitecture.of, nn.Flatten(), (1, 12, 12), InputRange.of("0,1,0,255"))
