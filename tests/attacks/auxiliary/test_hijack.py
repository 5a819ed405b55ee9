"""Feature-space hijacking: a malicious server that trains the client for an objective of its own."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from unsplit.attacks.auxiliary import HijackConfig, hijack_feature_space
from unsplit.attacks.auxiliary._hijack_networks import hijacking_networks
from unsplit.errors import InputError
from unsplit.knowledge import AuxiliaryData
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.protocol import MaliciousServer, Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.studies.reproduction.tables.figure3b import HijackCell
from unsplit.types import Kind, Message, Transcript

SMALL = HijackConfig(width=4, batch_size=8, autoencoder=OptimizerSpec(lr=1e-3), critic=OptimizerSpec(lr=1e-3))


def pictures(count, seed=0, side=16):
    coarse = torch.rand(count, 1, side // 4, side // 4, generator=generator(seed))
    return functional.interpolate(coarse, scale_factor=4, mode="bilinear")


def hijacked(config=SMALL, rate=1e-3):
    model = build("resnet", generator=generator(0))
    split_config = SplitConfig(cut="block1", batch_size=8, client_optimizer=OptimizerSpec(lr=rate))
    training = split_training(model, pictures(32), torch.arange(32) % 10, split_config, generator=generator(1))
    view = training.infer(pictures(1))
    hijacker = hijack_feature_space(view, AuxiliaryData(inputs=pictures(64, seed=5)), config, generator=generator(2))
    training.server = MaliciousServer(body=training.server.body, answer=hijacker.answer, loss=functional.cross_entropy)
    return training, hijacker


def features_of(*shape):
    payload = torch.rand(8, *shape, generator=generator(3))
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=payload)
    return Transcript(observer="server", messages=(message,))


@pytest.mark.parametrize(("cut", "halvings"), [("relu1", 0), ("block1", 1), ("block2", 2), ("block4", 3)])
@pytest.mark.parametrize("side", [16, 28])
def test_the_networks_lead_from_pictures_to_features_and_back(cut, halvings, side):
    training = split_training(
        build("resnet", generator=generator(0)),
        pictures(2, side=side), torch.zeros(2).long(), SplitConfig(cut=cut, batch_size=1), generator=generator(0),
    )  # fmt: skip
    smashed = training.infer(pictures(2, side=side)).tensor(Kind.SMASHED)
    pilot, decoder, critic = hijacking_networks(
        (1, side, side), tuple(smashed.shape[1:]), generator=generator(1), width=4
    )
    features = pilot(pictures(2, side=side))
    assert features.shape == smashed.shape
    assert decoder(features).shape == (2, 1, side, side)
    assert critic(features).shape == (2, 1)
    assert sum(layer.stride == (2, 2) for layer in pilot) == halvings


def test_the_reference_networks_are_the_authors():
    pilot, decoder, critic = hijacking_networks((1, 28, 28), (256, 4, 4), generator=generator(0))
    assert [layer.out_channels for layer in pilot] == [64, 128, 256, 256]
    assert [layer.out_channels for layer in decoder if hasattr(layer, "out_channels")] == [256, 128, 1]
    assert [layer.weight.shape for layer in critic if hasattr(layer, "weight")] == [
        (256, 256, 3, 3), (256, 256, 3, 3), (1, 1024)
    ]  # fmt: skip


def test_the_client_gets_the_critics_gradient_and_the_top_is_never_trained():
    training, hijacker = hijacked()
    before = {name: value.clone() for name, value in training.server.body.module.state_dict().items()}
    view = training.record(Recorder(observer="client0"))
    critic = {name: value.clone() for name, value in hijacker.critic.state_dict().items()}
    training.run(1)
    smashed = view.transcript().tensor(Kind.SMASHED).requires_grad_()
    (expected,) = torch.autograd.grad(torch.func.functional_call(hijacker.critic, critic, (smashed,)).mean(), smashed)
    torch.testing.assert_close(view.transcript().tensor(Kind.CUT_GRAD), expected)
    training.run(3)
    assert all(torch.equal(value, before[name]) for name, value in training.server.body.module.state_dict().items())


def test_the_client_is_drawn_to_the_pilot_whose_features_the_decoder_reads():
    """Both halves of the attack. In so few steps of so small networks it is luck whether the client's own features are
    already read better; the curve of figure 3b measures that.
    """
    training, hijacker = hijacked(replace(SMALL, width=8, penalty=100.0))
    targets = pictures(16, seed=9)

    @torch.no_grad()
    def distances():
        pilot = hijacker.pilot(2 * targets - 1)
        apart = (training.infer(targets).tensor(Kind.SMASHED) - pilot).mean((0, 2, 3))
        read = (hijacker.invert(pilot) - targets).square().mean()
        return float(apart.square().mean() / pilot.square().mean()), float(read / targets.var())

    training.run(2)
    apart, read = distances()
    training.run(200)
    still_apart, now_read = distances()
    assert still_apart < 0.6 * apart
    assert now_read < 0.2 < read


def test_the_penalty_pulls_slopes_towards_one():
    smashed = features_of(4, 8, 8)
    slopes = {}
    for penalty in (0.0, 100.0):
        hijacker = hijack_feature_space(
            smashed, AuxiliaryData(inputs=pictures(16)), replace(SMALL, penalty=penalty, penalty_by_channel=False),
            generator=generator(0),
        )  # fmt: skip
        batch = smashed.tensor(Kind.SMASHED)
        for _ in range(60):
            hijacker.answer(batch)
        probe = batch.clone().requires_grad_()
        (slope,) = torch.autograd.grad(hijacker.critic(probe).sum(), probe)
        slopes[penalty] = float((slope.flatten(1).norm(dim=1) - 1).abs().mean())
    assert slopes[100.0] < 0.5 * slopes[0.0]


def test_a_stretch_goes_on_where_the_one_before_it_ended():
    _, hijacker = hijacked()
    batch = features_of(64, 8, 8).tensor(Kind.SMASHED)
    hijacker.answer(batch)
    state = hijacker.state()
    _, other = hijacked()
    other.load(state)
    for value, again in zip(hijacker.state().values(), other.state().values(), strict=True):
        assert torch.equal(value, again)


def test_a_cell_keeps_a_curve_and_the_clients_view():
    cell = HijackCell(
        dataset="digits", seed=0, part=0, iterations=2, cut="block4", settings=replace(SMALL, width=2),
        client_optimizer=OptimizerSpec(lr=1e-5), batch_size=4, judge_every=1, view_every=2,
    )  # fmt: skip
    row, tensors = cell.run({})
    assert [point["iteration"] for point in row["curve"]] == [0, 1, 2]
    assert {name for name in tensors if name.startswith("view/")} == {
        "view/0/smashed", "view/0/labels", "view/0/cut_grad"
    }  # fmt: skip
    following = replace(cell, part=1)
    assert following.needs == cell
    again, _ = following.run(following.select(tensors))
    assert [point["iteration"] for point in again["curve"]] == [3, 4]


@pytest.mark.parametrize("shape", [(4,), (4, 5, 5), (4, 32, 32)])
def test_smashed_data_that_are_no_halved_pictures(shape):
    with pytest.raises(InputError, match="hijacking attack"):
        hijack_feature_space(features_of(*shape), AuxiliaryData(inputs=pictures(4)), SMALL, generator=generator(0))


@pytest.mark.parametrize("settings", [{"penalty": -1.0}, {"batch_size": 0}, {"width": 1}])
def test_settings_out_of_range(settings):
    with pytest.raises(InputError):
        HijackConfig(**settings)
