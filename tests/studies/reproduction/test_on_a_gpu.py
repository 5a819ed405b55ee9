"""Cells on CUDA: pretended where there is none, so that no step asks the host and no tensor is on the wrong side."""

from dataclasses import replace

import pytest
import torch

from helpers.graphs import play_cuda
from helpers.pretended import PretendedCuda
from unsplit import devices
from unsplit.attacks.inversion import AmortisedConfig, LearningConfig
from unsplit.optim import OptimizerSpec
from unsplit.studies.reproduction import Selection, plan
from unsplit.studies.reproduction.tables._inversion import InversionCell

QUICK = AmortisedConfig(
    samples=100, candidates=2, steps=10, trial=0.5, refit_steps=6, learning=LearningConfig(width=4, blocks=1, batch=4)
)


def cells(device):
    """A training of a few samples, and the attacks on its client, behind a convolution and behind a dense layer."""
    selection = Selection(
        tables=("table2",), presets=("strong",), depths=(4, 6), states=("after",), budget="smoke", device=device
    )
    # Momentum keeps nothing on the host, unlike Adam on the processor, which stands for the device.
    spec = OptimizerSpec(name="sgd", lr=0.01, options={"momentum": 0.9})
    attacks = [cell for cell in plan(selection) if isinstance(cell, InversionCell)]
    training = replace(attacks[0].training, samples=300, optimizer=spec)
    attacks = [replace(cell, training=training, settings=QUICK, scored_on=50) for cell in attacks]
    return attacks[0].needs, attacks


def results(device):
    client, attacks = cells(device)
    row, tensors = client.run({})
    return [row, *(attack.run(attack.select(tensors))[0] for attack in attacks)]


def test_on_a_pretended_gpu_cells_find_what_the_processor_finds_and_all_their_steps_are_graphs(monkeypatch):
    monkeypatch.setattr(devices, "_computes_bfloat16", lambda kind: False)  # noqa: ARG005
    expected = results("cpu")
    graphs = play_cuda(monkeypatch)
    with PretendedCuda():
        found = results("cuda")
    assert found[0] == expected[0]
    for row, wanted in zip(found[1:], expected[1:], strict=True):
        # Rates are in single precision there.
        for metric in ("mse", "ssim", "residual", "agreement"):
            assert row[metric] == pytest.approx(wanted[metric], rel=1e-3, abs=1e-4)
    # Of the client, and of each attack two restarts that go to the end and a refit.
    assert [graph.replays for graph in graphs] == [1, *[7, 7, 3] * (len(found) - 1)]


def test_what_mixes_devices_is_seen():
    with PretendedCuda():
        there, here = torch.ones(2, device="cuda"), torch.ones(2)
        assert (there + 1).device.type == "cuda"
        assert (there + 1).cpu().device.type == "cpu"
        assert torch.equal((there * torch.tensor(2.0)).cpu(), here + 1)
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="the processor's"):
            torch.rand(2, device="cuda", generator=torch.Generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine has not")
def test_on_a_gpu_cells_run_and_name_what_they_found():
    for row in results("cuda"):
        assert row
