"""Coordinate descent's fast steps find what a plain loop of autograd and torch's optimisers finds."""

import functools

import pytest
import torch
from torch import nn

from helpers.graphs import play_cuda
from helpers.pretended import PretendedCuda
from unsplit.attacks.inversion import CoordinateConfig, _descent, invert_by_coordinates, preset
from unsplit.attacks.inversion._copies import Copies
from unsplit.attacks.objectives import objective, total_variation
from unsplit.attacks.targets import fresh_clone
from unsplit.knowledge import ClientArchitecture
from unsplit.optim import OptimizerSpec
from unsplit.randomness import generator, own_stream, seeded
from unsplit.stepping import repeated, together
from unsplit.types import Kind, Message, Transcript

SHAPE = (1, 12, 12)
SHORT = {"rounds": 3, "input_steps": 4, "weight_steps": 3, "tolerance": None}


def layers():
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(36, 5), nn.Sigmoid(),
        )  # fmt: skip


def seen(client, samples=3):
    with torch.no_grad():
        smashed = client(torch.rand(samples, *SHAPE, generator=generator(1)))
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=smashed)
    return Transcript(observer="server", messages=(message,)), ClientArchitecture.of(client, SHAPE)


def plainly(view, architecture, config, source):
    """The attack as its paper writes it, one input after another."""
    targets = view.tensor(Kind.SMASHED)
    number, found = len(targets) if config.new_clone else 1, []
    clones = [fresh_clone(architecture, source, targets.device, alone=True) for _ in range(number)]
    for index, target in enumerate(targets.split(1)):
        clone = clones[index if config.new_clone else 0]
        x = torch.full((1, *architecture.input_shape), 0.5).requires_grad_()
        weights = list(clone.parameters())
        if config.partition == "merged":
            groups = [[x, *weights]]
        elif config.partition == "layers":
            groups = [[x], *([*layer.parameters()] for layer in clone if [*layer.parameters()])]
        else:
            groups = [[x], weights]
        specs = [config.input_optimizer, *[config.weight_optimizer] * (len(groups) - 1)]
        optimizers = [spec.build(group) for spec, group in zip(specs, groups, strict=True)]
        for _ in range(config.rounds):
            for group, optimizer in zip(groups, optimizers, strict=True):
                on_input = group[0] is x
                for _ in range(config.input_steps if on_input else config.weight_steps):
                    loss = objective(config.input_objective if on_input else config.weight_objective)(clone(x), target)
                    if on_input:
                        loss = loss + config.variation_weight * total_variation(x, config.variation)
                        loss = loss + config.norm_weight * x.square().mean()
                    for value, gradient in zip(group, torch.autograd.grad(loss, group), strict=True):
                        value.grad = gradient
                    optimizer.step()
        found.append(x.detach())
    return torch.cat(found), clones


def own(seed):
    """The stream that the decorator gives the attack for a generator of this seed."""
    return own_stream(generator(seed), "attacker")


def settings(name, **more):
    return CoordinateConfig(**{**vars(preset(name, 1)), **SHORT, **more})


ADAFACTOR = OptimizerSpec(name="adafactor", lr=0.01)
MOMENTUM = OptimizerSpec(name="sgd", lr=0.05, options={"momentum": 0.9, "weight_decay": 0.01})
CONFIGS = {
    "paper": settings("paper"),
    "paper-literal": settings("paper-literal"),
    "one by one": settings("paper", at_once=1),
    "released": settings("released"),
    "layers": settings("paper", partition="layers"),
    "merged": settings("paper", partition="merged"),
    "sgd": settings("paper", input_optimizer=MOMENTUM, weight_optimizer=MOMENTUM),
    "adafactor": settings("paper", input_optimizer=ADAFACTOR, weight_optimizer=ADAFACTOR),
    "signal": settings("paper", variation="signal"),
    "l1 and cosine": settings("paper", input_objective="l1", weight_objective="cosine"),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_steps_are_those_of_a_plain_loop(config):
    view, architecture = seen(layers())
    found = invert_by_coordinates(view, architecture, config, generator=generator(5))
    inputs, clones = plainly(view, architecture, config, own(5))
    torch.testing.assert_close(found.inputs, inputs, atol=1e-4, rtol=0)
    for one, other in zip(found.clones, clones, strict=True):
        for name, value in one.named_parameters():
            torch.testing.assert_close(value, other.get_parameter(name), atol=1e-4, rtol=0)


class Scaled(nn.Module):
    """A layer that only autograd knows, with a weight that stays as it is."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.5]))
        self.still = nn.Parameter(torch.tensor([0.3]), requires_grad=False)

    def forward(self, values):
        return values * self.scale + self.still


def tied():
    shared = nn.Linear(12, 12)
    return nn.Sequential(shared, nn.ReLU(), shared)


NETWORKS = {
    "the paper's layers": layers,
    "no biases": lambda: nn.Sequential(nn.Conv2d(1, 3, 5, padding=2, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2)),
    "an odd stride": lambda: nn.Sequential(nn.Conv2d(1, 2, (3, 4), stride=(2, 3), padding=(1, 0))),
    "another convolution": lambda: nn.Sequential(nn.Conv2d(1, 4, 3, dilation=2, padding="same"), nn.GELU()),
    "one within another": lambda: nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh()), nn.Linear(10, 4)),
    "unknown": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), Scaled(), nn.LayerNorm(10), nn.AvgPool2d(2)),
    "tied": tied,
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_gradients_are_those_of_autograd(make):
    """Of each copy's weights and inputs."""
    with seeded(3):
        networks = [make() for _ in range(3)]
    inputs = torch.randn(3, *SHAPE, generator=generator(4)).requires_grad_()
    outputs = [network(one[None]) for network, one in zip(networks, inputs, strict=True)]
    slope = torch.randn(torch.cat(outputs).shape, generator=generator(5))
    torch.autograd.backward(outputs, slope.split(1))
    names = [name for name, _ in networks[0].named_parameters()]
    moving = [name for name in names if networks[0].get_parameter(name).requires_grad]
    weights = {name: torch.stack([each.get_parameter(name).detach() for each in networks]) for name in names}
    copies, into = Copies(networks[0]), {name: torch.full_like(weights[name], torch.nan) for name in moving}
    with torch.no_grad():
        trace = copies.run(inputs.detach(), weights)
        passed = copies.gradients(trace, slope, weights, into, inputs=True)
        first = copies.first_with({moving[-1]: None})
        later = copies.run(copies.before(first, inputs.detach(), weights), weights, first)
        alone = {moving[-1]: torch.full_like(weights[moving[-1]], torch.nan)}
        copies.gradients(later, slope, weights, alone, inputs=False)
    torch.testing.assert_close(trace.output, torch.cat(outputs).detach())
    torch.testing.assert_close(passed, inputs.grad)
    for name in moving:
        torch.testing.assert_close(into[name], torch.stack([each.get_parameter(name).grad for each in networks]))
    torch.testing.assert_close(alone[moving[-1]], into[moving[-1]])


def numbers(found):
    return [found.inputs, found.residual, *(value for clone in found.clones for value in clone.parameters())]


LONGER = {"rounds": 6, "input_steps": 4, "weight_steps": 4}
PLAYED = {
    "paper": settings("paper", **LONGER),
    "some end first": settings("paper", **LONGER, tolerance=0.2, patience=1, start="uniform"),
    "released": settings("released", **LONGER),
}


@pytest.mark.parametrize("config", PLAYED.values(), ids=PLAYED)
def test_attacks_side_by_side_on_a_gpu_find_what_each_finds_alone(monkeypatch, config):
    views = [seen(layers()[:depth], 2) for depth in (2, 4)]
    calls = [
        functools.partial(invert_by_coordinates, *view, config, generator=generator(number))
        for number, view in enumerate(views)
    ]
    again = [functools.partial(call, generator=generator(number)) for number, call in enumerate(calls)]
    alone = [call() for call in calls]
    graphs = play_cuda(monkeypatch)
    monkeypatch.setattr(_descent, "repeated", lambda step, _: repeated(step, torch.device("cuda")))
    for found, expected in zip(together(again), alone, strict=True):
        assert found.rounds == expected.rounds
        assert all(map(torch.equal, numbers(found), numbers(expected)))
    assert all(graph.replays for graph in graphs)
    if config.tolerance is None:
        # Of each of the two attacks, for each group of searches: steps on inputs and on weights, and the last on these.
        assert len(graphs) == 2 * (3 if config.new_clone else 6)


@pytest.mark.parametrize("name", ["paper", "released"])
def test_all_steps_are_graphs_and_no_tensor_is_on_the_wrong_side(monkeypatch, name):
    graphs, config = play_cuda(monkeypatch), settings(name, **LONGER)
    with PretendedCuda():
        view, architecture = seen(layers()[:4], 2)
        found = invert_by_coordinates(view.to(torch.device("cuda")), architecture, config, generator=generator(0))
        assert found.inputs.device.type == "cuda"
    # Three eager steps warm up each.
    assert [graph.replays for graph in graphs] == [21, 15, 3] * (1 if config.new_clone else 2)


def test_an_optimizer_that_asks_the_host_is_never_in_a_graph(monkeypatch):
    graphs = play_cuda(monkeypatch)
    adagrad = OptimizerSpec(name="adagrad", lr=0.01, options={"lr_decay": 0.1})
    config = settings("paper", **LONGER, input_optimizer=adagrad, weight_optimizer=adagrad)
    view, architecture = seen(layers()[:4], 2)
    expected = invert_by_coordinates(view, architecture, config, generator=generator(0))
    with PretendedCuda():
        found = invert_by_coordinates(view.to(torch.device("cuda")), architecture, config, generator=generator(0))
    assert not graphs
    assert torch.equal(found.inputs, expected.inputs)
