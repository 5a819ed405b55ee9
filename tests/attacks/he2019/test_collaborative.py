"""He et al.'s attacks: white box, black box with counted queries, shadows with and without data."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from unsplit import metrics
from unsplit.attacks import threat_model
from unsplit.attacks.he2019 import (
    BlackBoxConfig,
    ShadowConfig,
    StreamConfig,
    WhiteBoxConfig,
    invert_black_box,
    invert_by_shadow,
    invert_by_shadow_without_data,
    invert_white_box,
    mirrored,
    stream_black_box,
    white_box_reference,
)
from unsplit.errors import InputError
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, ClientQueries, ClientWeights, OwnTop
from unsplit.models import build, cuts, split
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Transcript


def observed(bottom, inputs):
    with torch.no_grad():
        message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=bottom(inputs))
    return Transcript(observer="server", messages=[message])


def pictures(count, seed=0, side=28):
    """Smooth random pictures: coarse noise, enlarged."""
    coarse = torch.rand(count, 1, side // 4, side // 4, generator=generator(seed))
    return nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")


def parts(depth, seed=1):
    return split(build("mnist-net", generator=generator(seed)), depth)


def test_the_white_box_undoes_a_convolution_of_one_pixel():
    with seeded(0):
        bottom = nn.Conv2d(1, 2, 1)
    nn.init.constant_(bottom.weight, 2.0)
    truth = pictures(3)
    found = invert_white_box(
        observed(bottom, truth),
        ClientWeights(bottom=bottom, input_shape=(1, 28, 28)),
        WhiteBoxConfig(steps=3000),
        generator=generator(0),
    )
    torch.testing.assert_close(found.inputs, truth, atol=1e-3, rtol=0)
    assert float(found.residual.max()) < 1e-4


def test_white_box_targets_do_not_touch_each_other():
    bottom, truth = parts(3)[0], pictures(3)
    knows, config = (
        ClientWeights(bottom=bottom, input_shape=(1, 28, 28)),
        replace(white_box_reference(2, colour=False), steps=100),
    )
    together = invert_white_box(observed(bottom, truth), knows, config, generator=generator(0)).inputs
    alone = invert_white_box(observed(bottom, truth[1:2]), knows, config, generator=generator(0)).inputs
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)


def test_the_white_box_beats_every_guess_and_chance_is_chance():
    bottom, truth = parts(1)[0], pictures(4)
    found = invert_white_box(
        observed(bottom, truth),
        ClientWeights(bottom=bottom, input_shape=(1, 28, 28)),
        WhiteBoxConfig(steps=1000),
        generator=generator(0),
    ).inputs
    best = min(metrics.trivial_guesses(truth, truth.mean(0)).values())
    assert metrics.mse(found, truth) < 0.3 * best
    assert metrics.mse(found, truth.flip(0)) > 0.8 * best


@pytest.mark.parametrize(
    ("layers", "colour", "weight"),
    [(1, True, 0), (5, True, 10), (6, True, 1000), (1, False, 0), (3, False, 1), (5, False, 1000)],
)
def test_the_references_weights_of_total_variation(layers, colour, weight):
    assert white_box_reference(layers, colour=colour).variation_weight == weight


@pytest.mark.parametrize(("name", "shape"), [("mnist-net", (1, 28, 28)), ("cifar-net", (3, 32, 32))])
def test_an_inverse_network_leads_back_from_every_cut(name, shape):
    model = build(name, generator=generator(0))
    for cut in cuts(model, shape):
        inverse = mirrored(split(model, cut.depth)[0], shape, generator=generator(1))
        assert inverse(torch.zeros(2, *cut.shape)).shape == (2, *shape)


def test_the_inverse_network_of_the_second_relu_is_the_authors():
    first, relu, second = mirrored(parts(4)[0], (1, 28, 28), generator=generator(1))
    assert (first.in_channels, first.out_channels, first.kernel_size, first.stride) == (16, 8, (5, 5), (1, 1))
    assert isinstance(relu, nn.ReLU)
    assert (second.in_channels, second.out_channels, second.stride, second.output_padding) == (8, 1, (2, 2), (1, 1))


def test_layers_that_cannot_be_mirrored_are_named():
    with pytest.raises(InputError, match="Softmax"):
        mirrored(nn.Sequential(nn.Softmax(1)), (3, 4), generator=generator(1))


def black_box(budget, config=None, seed=0):
    bottom, truth = parts(1)[0], pictures(4)
    queries = ClientQueries(lambda inputs: bottom(inputs), budget)
    found = invert_black_box(
        observed(bottom, truth),
        ClientArchitecture.of(bottom, (1, 28, 28)),
        queries,
        AuxiliaryData(inputs=pictures(100, seed=9)),
        config or BlackBoxConfig(epochs=5),
        generator=generator(seed),
    )
    return found, queries, truth


def test_the_black_box_spends_its_budget_and_no_more():
    found, queries, truth = black_box(30)
    assert queries.used == 30
    assert found.clones == ()
    assert found.inputs.shape == truth.shape
    with pytest.raises(InputError, match="0 of its budget of 30 are left"):
        queries.ask(truth)


def test_more_queries_make_the_black_box_better():
    config = BlackBoxConfig(epochs=40, batch_size=8)
    errors = [metrics.mse(black_box(budget, config)[0].inputs, black_box(1)[2]) for budget in (2, 100)]
    assert errors[1] < 0.7 * errors[0]


def test_the_stream_asks_one_query_at_a_time():
    bottom, truth = parts(1)[0], pictures(2)
    asked = []

    def answer(inputs):
        asked.append(len(inputs))
        return bottom(inputs)

    found = stream_black_box(
        observed(bottom, truth),
        ClientArchitecture.of(bottom, (1, 28, 28)),
        ClientQueries(answer, 7),
        AuxiliaryData(inputs=pictures(20)),
        StreamConfig(replays=3),
        generator=generator(0),
    )
    assert asked == [1] * 7
    assert found.shape == (8, *truth.shape)
    assert metrics.mse(found[7], truth) < metrics.mse(found[0], truth)


def shadow(config, *, data=True, seed=0):
    model = build("mnist-net", generator=generator(1))
    bottom, top = split(model, 1)
    truth = pictures(2)
    knows = {"architecture": ClientArchitecture.of(bottom, (1, 28, 28)), "top": OwnTop(top=top, classes=10)}
    before = copy.deepcopy(model.state_dict())
    if data:
        labelled = AuxiliaryData(inputs=pictures(64, seed=3), labels=torch.arange(64) % 10)
        found = invert_by_shadow(
            observed(bottom, truth), data=labelled, config=config, generator=generator(seed), **knows
        )
    else:
        found = invert_by_shadow_without_data(
            observed(bottom, truth), config=config, generator=generator(seed), **knows
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.grad is None for value in top.parameters()), "the server's own layers are only read"
    return found


QUICK = ShadowConfig(epochs=2, noise_samples=64, inversion=WhiteBoxConfig(steps=20))


@pytest.mark.parametrize("data", [True, False])
def test_a_shadow_is_trained_and_inverted_and_nothing_else_changes(data):
    found = shadow(QUICK, data=data)
    again, other = shadow(QUICK, data=data), shadow(QUICK, data=data, seed=1)
    assert torch.equal(found.inputs, again.inputs)
    assert not torch.equal(found.inputs, other.inputs)
    assert len(found.clones) == 1


def test_training_makes_the_shadow_serve_the_top():
    bottom, top = parts(1)
    inputs = pictures(64, seed=3)
    with torch.no_grad():  # What the top already says of the client's smashed data is what the shadow can learn to say.
        labels = top(bottom(inputs)).argmax(1)
    losses = []
    invert_by_shadow(
        observed(bottom, pictures(2)),
        ClientArchitecture.of(bottom, (1, 28, 28)),
        OwnTop(top=top, classes=10),
        AuxiliaryData(inputs=inputs, labels=labels),
        replace(QUICK, epochs=30, batch_size=64),
        generator=generator(0),
        progress=lambda _, total, loss: losses.append(loss) if total == 30 else None,
    )
    assert losses[-1] < losses[0] - 0.01


def test_a_shadow_without_labels_is_refused():
    bottom, top = parts(1)
    with pytest.raises(InputError, match="no labels"):
        invert_by_shadow(
            observed(bottom, pictures(1)),
            ClientArchitecture.of(bottom, (1, 28, 28)),
            OwnTop(top=top, classes=10),
            AuxiliaryData(inputs=pictures(5)),
            QUICK,
            generator=generator(0),
        )


@pytest.mark.parametrize(
    ("function", "knows"),
    [
        (invert_white_box, {ClientWeights}),
        (invert_black_box, {ClientArchitecture, ClientQueries, AuxiliaryData}),
        (stream_black_box, {ClientArchitecture, ClientQueries, AuxiliaryData}),
        (invert_by_shadow, {ClientArchitecture, OwnTop, AuxiliaryData}),
        (invert_by_shadow_without_data, {ClientArchitecture, OwnTop}),
    ],
)
def test_what_each_attack_reads_and_knows(function, knows):
    model = threat_model(function)
    assert model.reads == (Kind.SMASHED,)
    assert set(model.knows) == knows


@pytest.mark.parametrize(
    "settings",
    [
        lambda: WhiteBoxConfig(steps=0),
        lambda: WhiteBoxConfig(variation_weight=-1),
        lambda: BlackBoxConfig(epochs=0),
        lambda: StreamConfig(replays=0),
        lambda: ShadowConfig(noise_samples=0),
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(InputError):
        settings()
