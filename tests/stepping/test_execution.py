"""A step many times: captured or eager, the numbers are the same."""

import pytest
import torch
from torch import nn

from helpers.graphs import play_cuda
from unsplit.randomness import generator, seeded
from unsplit.stepping import Timetable, Work, adam, perform, repeated

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def training(device, kept=CPU, steps=12):
    """The weights and the losses of a small training by the table."""
    with seeded(0):
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)).to(kept)
    inputs = torch.randn(20, 4, generator=generator(1)).to(kept)
    batches = torch.randint(20, (steps, 5), generator=generator(2))
    rates = [(0.1 / (step + 1),) for step in range(steps)]
    table = Timetable(rates, {"weight": [1.0 + step for step in range(steps)]}, batches, kept)
    optimizer, losses = adam([net.parameters()], table.rates), torch.zeros(steps, device=kept)

    def step():
        now, batch = table.start_step()
        loss = now["weight"] * (net(inputs.index_select(0, batch)) - 1).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.copy_(torch.cat([losses[1:], loss.detach()[None]]))
        table.end_step()

    run = repeated(step, device)
    perform([Work(step=run, times=steps // 3)])
    perform([Work(step=run, times=steps - steps // 3)])
    return [*(value.detach().cpu() for value in net.parameters()), losses.cpu()]


def test_replays_of_a_captured_step_are_eager_steps(monkeypatch):
    expected = training(CPU)
    graphs = play_cuda(monkeypatch)
    found = training(CUDA)
    assert [graph.replays for graph in graphs] == [9]
    assert all(map(torch.equal, found, expected))


def test_a_step_that_asks_the_host_is_done_eagerly(monkeypatch):
    graphs, numbers, seen = play_cuda(monkeypatch), torch.zeros(1), []

    def step():
        seen.append(numbers.item())
        numbers.add_(1)

    run = repeated(step, CUDA)
    perform([Work(step=run, times=6)])
    assert numbers.item() == 6
    assert seen == [0, 1, 2, 3, 4, 5]
    assert [graph.replays for graph in graphs] == [0]


def test_a_step_for_which_memory_does_not_suffice_is_an_error(monkeypatch):
    play_cuda(monkeypatch)
    calls = []

    def step():
        calls.append(1)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        perform([Work(step=repeated(step, CUDA), times=6)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine has not")
def test_on_a_gpu_captured_steps_are_those_of_the_processor_within_rounding():
    for found, expected in zip(training(CUDA, CUDA), training(CPU), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
