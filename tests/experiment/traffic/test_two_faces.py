"""The unscored attack and the scored audit of one recording find the same, since there is one core behind both."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.traffic import shorten
from unsplit.experiment.traffic.attack import AttackConfig, attack_recorded
from unsplit.experiment.traffic.audit import RecordedConfig, audit_recorded
from unsplit.losses import LossSpec
from unsplit.models import build
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.ranges import InputRange
from unsplit.types import Setup

STEPS, BATCH = 10, 16


@pytest.fixture(autouse=True)
def short(monkeypatch):
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """A recording of the U-shape with heads handed over, the truth of its last step, and a file of weights."""
    folder = tmp_path_factory.mktemp("faces")
    config = SplitConfig(setup=Setup.C, cut=1, clients=2, turn=3, batch_size=BATCH)
    training = split_training(
        build("mnist-net", generator=generator(0)), digits.train.images, digits.train.labels, config,
        generator=generator(1),
    )  # fmt: skip
    training.record(Recorder(observer="server", folder=folder / "transcript"))
    training.run(STEPS, checkpoint=folder / "checkpoint")
    last = training.truth(STEPS - 1)
    steps = torch.full((BATCH,), STEPS - 1)
    save_file({"inputs": last.inputs, "labels": last.labels, "steps": steps}, folder / "truth")
    save_file(dict(build("mnist-net", generator=generator(3)).state_dict()), folder / "weights.safetensors")
    return folder


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("bounds", [(0, 1), (-1, 3)])
@pytest.mark.parametrize("name", ["joint", "strong-quick", "white-box-quick"])
def test_inputs_are_the_same(name, bounds, scored, folder, tmp_path):
    units = InputRange.of(bounds)
    weights = str(folder / "weights.safetensors") if name == "white-box-quick" else None
    known = {"known_weights": weights, "input_range": units, "seed": 5}
    tried = () if weights else (name,)
    audited = audit_recorded(
        folder / "transcript", RecordedConfig(presets=tried, **known), truth=folder / "truth" if scored else None
    )
    config = AttackConfig(preset=name if tried else "joint", **known)
    found = attack_recorded(folder / "transcript", config, tmp_path / "out")
    (row,) = audited.result.recorded.inversion
    tensors = load_file(tmp_path / "out" / found.tensors)
    assert torch.equal(units.to_unit(tensors["inputs"]), audited.reconstructions[0])
    assert (row.preset, row.step, row.samples, row.steps) == (name, STEPS - 1, BATCH, 1)
    assert (found.inputs, found.sign, found.residual) == (row.smashed, row.sign, row.residual)
    other = attack_recorded(folder / "transcript", replace(config, seed=6), tmp_path / "other")
    same = torch.equal(load_file(tmp_path / "other" / other.tensors)["inputs"], tensors["inputs"])
    assert same == (weights is not None)  # the white box draws nothing


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_labels_are_the_same(loss, scored, folder, tmp_path):
    known = {"loss": LossSpec(name=loss), "seed": 5}
    truth = folder / "truth" if scored else None
    audited = audit_recorded(folder / "transcript", RecordedConfig(presets=("joint",), **known), truth=truth)
    rows = audited.result.recorded.labels
    assert [row.attack for row in rows] == ["infer_by_surrogate", "infer_from_handed_weights"]
    for name, row in zip(("surrogate", "handed-weights"), rows, strict=True):
        config = AttackConfig(goal="labels", label_attack=name, **known)
        found = attack_recorded(folder / "transcript", config, tmp_path / name)
        decided = torch.tensor([label for label in found.labels if label >= 0])
        assert tuple(torch.bincount(decided, minlength=10).tolist()) == row.counts
        assert (len(found.labels), found.undecided, found.named) == (row.samples, row.undecided, row.named)
        assert (found.margin, len(found.steps)) == (row.margin, row.steps)
