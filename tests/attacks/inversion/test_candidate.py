"""One restart of the amortised attack: what it minimises, and its steps."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.graphs import play_cuda
from unsplit.attacks.inversion import LearningConfig, _candidate
from unsplit.attacks.inversion._candidate import Candidate
from unsplit.attacks.inversion._decoder import Decoder
from unsplit.attacks.inversion._leak import Leak
from unsplit.attacks.inversion._schedule import Stretch
from unsplit.attacks.inversion.photographs import figure_misfit, phase_misfit
from unsplit.attacks.objectives import total_variation
from unsplit.randomness import generator, seeded
from unsplit.stepping import perform, repeated

STRETCHES = (Stretch(5, 0.0, 0.1), Stretch(150, 0.1, 1.0))


def candidate(learning, layers=(nn.Conv2d, nn.ReLU)):
    with seeded(0):
        client = nn.Sequential(layers[0](1, 40, 5), *(layer() for layer in layers[1:]))
        smashed = client(torch.rand(8, 1, 12, 12)).detach()
        decoder = Decoder(client, smashed, (1, 12, 12), width=4, blocks=0)
    return Candidate(client, smashed, decoder, (0.0, 1.0), learning, generator(0), STRETCHES), client


def test_the_prior_is_one_where_torch_starts_a_layer():
    weights, _ = candidate(LearningConfig(weight_prior=1.0, bias_prior=0.0))
    biases, client = candidate(LearningConfig(weight_prior=0.0, bias_prior=1.0))
    assert float(weights.prior().detach()) == pytest.approx(1.0, rel=0.1)
    assert float(biases.prior().detach()) == pytest.approx(1.0, rel=0.35)
    with torch.no_grad():
        client[0].bias.fill_(0.2)  # Its mean square is 0.04; 1 / (3 * 25) is expected.
    assert float(biases.prior().detach()) == pytest.approx(3.0)


def test_before_a_last_relu_only_what_lies_above_zero_is_wrong():
    learner, client = candidate(LearningConfig())
    with torch.no_grad():
        client[0].weight.zero_()
        client[0].bias.fill_(-3.0)
    pictures, silent = torch.rand(2, 1, 12, 12, generator=generator(0)), torch.zeros(2, 40, 8, 8)
    assert float(learner.fit(pictures, silent).detach()) == 0.0
    client[0].bias.data.fill_(2.0)
    variance = float(learner.fit(pictures, silent).detach())
    client[0].bias.data.fill_(-2.0)
    # Where 1 is wanted, -2 is 3 too low: nine fourths of being 2 where 0 is wanted.
    assert float(learner.fit(pictures, silent + 1).detach()) == pytest.approx(variance * 9 / 4)


def test_learning_fits_the_smashed_data():
    learner, _ = candidate(LearningConfig(width=8, batch=8))
    perform([learner.learn(lambda _: None)])
    first = learner.objective
    perform([learner.learn(lambda _: None)])
    assert learner.objective < first / 2


def test_a_loss_that_is_not_finite_is_an_infinite_objective_to_the_end_of_its_stretch():
    learner, client = candidate(LearningConfig(batch=4))
    assert learner.objective == math.inf
    with torch.no_grad():
        client[0].bias[0] = math.nan
    perform([learner.learn(lambda _: None)])
    assert learner.objective == math.inf


def by_hand(learning, stretches):
    """The weights that the steps of a candidate must end at: rates, weights and batches told by the host, each step."""
    learner, _ = candidate(learning, (nn.Conv2d, nn.ReLU, lambda: nn.Conv2d(40, 4, 3)))
    decoder, clone, source = learner.decoder, learner.clone, generator(0)
    targets, fitted = learner._targets, nn.Sequential(clone[0], nn.LeakyReLU(), clone[2])
    groups = [{"params": list(decoder.parameters())}, {"params": list(clone.parameters())}]
    adam = torch.optim.Adam(groups, betas=learning.betas, fused=True)
    narrow = min(1.0, learning.wide / 360)
    for steps, begin, end in stretches:
        for step in range(steps):
            done = begin + (end - begin) * step / steps
            fall = 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, (step + 1) / 30)
            late = max(0.0, 1 - done / learning.rise)
            adam.param_groups[0]["lr"] = fall * 0.004 * (0.0015 / 0.004) ** late
            adam.param_groups[1]["lr"] = fall * 0.03 * (0.003 / 0.03) ** late * narrow
            fitted[1].negative_slope = max(0.0, learning.leak * (1 - 2 * done))
            batch = targets[torch.randint(len(targets), (learning.batch,), generator=source)]
            pictures = decoder(batch)
            error = (fitted(pictures) - batch).square().mean() / learner._variance
            variation = 0.3 * (0.005 / 0.3) ** done * total_variation(pictures)
            figures = 0.3 * (0.005 / 0.3) ** done * figure_misfit(pictures)
            phases = (0.1 if done >= 0.5 else 0.0) * phase_misfit(pictures, decoder.period)
            adam.zero_grad()
            (error + variation + learner.prior() + figures + phases).backward()
            adam.step()
    return [*decoder.parameters(), *clone.parameters()]


def test_steps_by_the_table_are_those_that_the_host_would_tell():
    learning, layers = LearningConfig(batch=4, wide=90), (nn.Conv2d, nn.ReLU, lambda: nn.Conv2d(40, 4, 3))
    learner, _ = candidate(learning, layers)
    for _ in STRETCHES:
        perform([learner.learn(lambda _: None)])
    expected = by_hand(learning, STRETCHES)
    for found, wanted in zip([*learner.decoder.parameters(), *learner.clone.parameters()], expected, strict=True):
        assert torch.equal(found, wanted)


def test_the_leak_of_a_device_is_that_of_the_processor():
    """On the processor the slope is read as a number; elsewhere another kernel reads it on the device."""
    values = torch.randn(5, 3, 7, 7, generator=generator(0), requires_grad=True)
    leak = Leak(torch.device("cpu"))
    leak.slope.fill_(0.3)
    one, other = leak(values), functional.prelu(values, leak.slope)
    assert torch.equal(one, other)
    grads = [torch.autograd.grad(made.square().sum(), values)[0] for made in (one, other)]
    assert torch.equal(*grads)


def learned():
    """The weights that a restart ends with, and what it refitted."""
    learner, client = candidate(LearningConfig(batch=4, wide=90), (nn.Conv2d, nn.ReLU, lambda: nn.Conv2d(40, 4, 3)))
    for _ in STRETCHES:
        perform([learner.learn(lambda _: None)])
    perform([learner.refit(learner.pictures(), 10, 0.01, generator(3))])
    return [*learner.decoder.parameters(), *client.parameters()], learner.objective


def test_a_captured_restart_is_an_eager_one(monkeypatch):
    """Nothing in a step comes from the host: operations recorded once and done again give the same weights."""
    expected, objective = learned()
    graphs = play_cuda(monkeypatch)
    monkeypatch.setattr(_candidate, "repeated", lambda step, _: repeated(step, torch.device("cuda")))
    monkeypatch.setattr(Leak, "forward", lambda self, values: functional.prelu(values, self.slope))
    found, again = learned()
    assert [graph.replays for graph in graphs] == [152, 7]
    assert again == objective
    assert all(map(torch.equal, found, expected))
