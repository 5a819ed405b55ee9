"""First layers that are public: their weights are found in a file by any name, and who knows them needs no clone."""

import dataclasses
import re
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from unsplit import AuditConfig, audit
from unsplit.attacks.he2019 import white_box_quick, white_box_reference
from unsplit.attacks.inversion import JointConfig, presets
from unsplit.data import Splits, from_tensors
from unsplit.errors import UnsplitError
from unsplit.experiment.traffic.attack import AttackConfig, attack_recorded
from unsplit.experiment.traffic.audit import RecordedConfig, audit_recorded
from unsplit.experiment.traffic.follow import follow
from unsplit.files import write_tensors
from unsplit.models import build, distance, read_weights, registry, split, start_from
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.verdict import verdict


class Backbone(nn.Module):
    """A network that is no sequence, so that its stages have other names."""

    def __init__(self, classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.act = nn.ReLU()
        self.side = nn.Conv2d(8, 8, 3, padding=1)
        self.classifier = nn.Linear(8 * 36, classes)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = nn.functional.max_pool2d(x + self.side(x), 2)
        return self.classifier(x.flatten(1))


SHAPE = (1, 12, 12)


def published(classes=3, seed=7):
    with seeded(seed):
        return Backbone(classes)


@pytest.fixture(autouse=True)
def _backbone(monkeypatch):
    monkeypatch.setitem(registry.MODELS, "backbone", Backbone)
    monkeypatch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=3))


def network():
    return build("backbone", generator=generator(0), input_shape=SHAPE)


def renamed(state, form):
    return OrderedDict((form.format(name), value.clone()) for name, value in state.items())


FORMS = {
    "as they are": lambda state: state,
    "of data parallel training": lambda state: renamed(state, "module.{}"),
    "within a greater network": lambda state: renamed(state, "encoder.backbone.{}") | {"head.weight": torch.ones(2)},
    "of another task": lambda _: published(classes=1000).state_dict(),
    "by other names in the same order": lambda state: OrderedDict(
        (f"layer{number}.{name.rpartition('.')[2]}", value) for number, (name, value) in enumerate(state.items())
    ),
    "the first layers only": lambda state: {name: v for name, v in state.items() if not name.startswith("class")},
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_by_whatever_names(form, tmp_path):
    """In the stages of a network, the layers up to the cut compute what the published ones do."""
    path, model = tmp_path / "weights.pth", network()
    torch.save(FORMS[form](published().state_dict()), path)
    # All 11 tensors; without those of the last layer; without batch norm's counter as well.
    whole = {"of another task": 9, "the first layers only": 9, "by other names in the same order": 8}
    assert start_from(model, "add", read_weights(path), "weights.pth") == whole.get(form, 11)
    inputs, own = torch.rand(4, *SHAPE, generator=generator(1)), published().eval()
    with torch.no_grad():
        there = own.act(own.stem(inputs))
        assert torch.allclose(split(model.eval(), "add")[0](inputs), there + own.side(there), atol=1e-6)


def test_both_kinds_of_file_hold_the_same(tmp_path):
    state = published().state_dict()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pth")
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "weights.safetensors")
    one, two = (read_weights(tmp_path / name) for name in ("checkpoint.pth", "weights.safetensors"))
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in two.items()}
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def files(folder):
    torch.save(published(), folder / "module.pth")
    torch.save([1, 2], folder / "list.pth")
    (folder / "text.pth").write_text("no weights")
    torch.save({"conv.weight": torch.ones(3)}, folder / "other.pth")
    torch.save(
        {name: value[:1] if value.ndim else value for name, value in published().state_dict().items()},
        folder / "shape.pth",
    )


BAD = {
    "missing.pth": "There is no file",
    "module.pth": "without running code from it",
    "list.pth": "without named tensors",
    "text.pth": "without running code from it",
    "other.pth": r"8 are missing, such as 'stem\.0\.weight'.*it has 'conv\.weight'",
    "shape.pth": r"'stem\.0\.weight' has shape \(1, 1, 3, 3\)",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_does_not_hold_them_is_one_sentence(name, tmp_path):
    files(tmp_path)
    with pytest.raises(UnsplitError, match=BAD[name]) as caught:
        start_from(network(), "add", read_weights(tmp_path / name), name)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def splits():
    inputs, labels = torch.rand(60, *SHAPE, generator=generator(0)), torch.arange(60) % 3
    parts = [from_tensors(inputs[part], labels[part], classes=("a", "b", "c")) for part in (slice(45), slice(45, 60))]
    return Splits(train=parts[0], test=parts[1])


@pytest.fixture
def config(tmp_path):
    torch.save(published(classes=1000).state_dict(), tmp_path / "public.pth")
    return AuditConfig(
        model="backbone", cuts=("act",), presets=("joint",), epochs=2, batch_size=15, label_setups=(),
        optimizer=OptimizerSpec(name="sgd", lr=0.05), known_weights=str(tmp_path / "public.pth"),
    )  # fmt: skip


def test_an_audit_has_a_row_of_its_own_for_who_knows_the_weights(config, splits):
    result = audit(config, splits=splits).result
    rows = {(row.state, row.preset): row for row in result.inversion}
    assert set(rows) == {(state, name) for state in ("before", "after") for name in ("joint", "white-box-quick")}
    exact, drifted = rows["before", "white-box-quick"], rows["after", "white-box-quick"]
    assert exact.drift == 0
    assert exact.mse < 0.02 * exact.mse_best_trivial
    assert 0 < drifted.drift < 1
    assert exact.mse < drifted.mse
    assert rows["before", "joint"].drift is None
    assert any("9 of the network's 11 tensors start as those of public.pth" in note for note in result.training.notes)
    knows = {row.attack: row.knows for row in result.threat_models}
    assert knows["invert_white_box"] == ("the weights of the client's first layers",)
    assert "white-box" not in (verdict(result, targets=3).of("model").by or "")
    assert verdict(result, targets=3).of("inputs").by == "depth 2 (act), before training, white-box-quick"


def test_a_frozen_client_stays_what_is_known(config, splits):
    frozen = dataclasses.replace(config, freeze_client=True, cuts=("act", "add"), states=("after",))
    result = audit(frozen, splits=splits).result
    rows = [row for row in result.inversion if row.drift is not None]
    assert len(rows) == 2
    # Batch norm's statistics move with the data; no weight does.
    moved = audit(dataclasses.replace(frozen, freeze_client=False), splits=splits).result
    for row, other in zip(rows, (row for row in moved.inversion if row.drift is not None), strict=True):
        assert row.drift < other.drift
    with pytest.raises(UnsplitError, match="name the file of these weights with `known_weights`"):
        AuditConfig(freeze_client=True)
    with pytest.raises(UnsplitError, match="name cuts to invert"):
        audit(dataclasses.replace(config, cuts=()), splits=splits)
    with pytest.raises(UnsplitError, match="did you mean 'white-box'"):
        AuditConfig(white_box="whitebox")


def test_recorded_traffic_is_inverted_by_who_knows_the_weights(config, splits, tmp_path):
    """In training, batch norm takes the batch's own statistics; the attack follows."""
    model = network()
    start_from(model, "act", read_weights(tmp_path / "public.pth"), "public.pth")
    split_config = SplitConfig(cut="act", batch_size=9, client_optimizer=OptimizerSpec(name="sgd", lr=1e-6))
    training = split_training(model, splits.train.images, splits.train.labels, split_config, generator=generator(1))
    training.record(Recorder(observer="server", folder=tmp_path / "transcript"))
    training.run(1, checkpoint=tmp_path / "checkpoint")
    truth = training.truth(0)
    write_tensors(
        tmp_path / "truth", {"inputs": truth.inputs, "labels": truth.labels, "steps": torch.zeros(9, dtype=torch.int64)}
    )
    found = audit_recorded(
        tmp_path / "transcript",
        RecordedConfig(model="backbone", cut="act", presets=(), input_shape=SHAPE, known_weights=config.known_weights),
        truth=tmp_path / "truth",
    )
    (row,) = found.result.recorded.inversion
    assert row.preset == "white-box-quick"
    # Statistics of the batch leave its brightness and contrast open.
    assert row.scores.mse < 0.1 * row.scores.mse_best_trivial
    assert row.scores.mse_scale_free < 0.01 * row.scores.mse_best_trivial
    assert [model.attack for model in found.result.threat_models] == ["invert_white_box"]
    request = AttackConfig(model="backbone", cut="act", input_shape=SHAPE, known_weights=config.known_weights)
    alone = attack_recorded(tmp_path / "transcript", request, tmp_path / "out")
    assert alone.residual == pytest.approx(row.residual)
    told = []
    follow(tmp_path / "transcript", request, tmp_path / "f", quiet_for=0.2, tell=lambda *each: told.append(each[2]))
    assert [found.residual for found in told] == [alone.residual]


def test_the_authors_settings_stay_as_they_are():
    theirs, ours = white_box_reference(4, colour=True), white_box_quick(4, colour=True)
    assert (theirs.steps, theirs.variation_weight, theirs.relative, theirs.falling) == (5000, 10.0, False, False)
    assert (ours.steps, ours.relative, ours.falling) == (500, True, True)


def test_distance_is_relative():
    one, two = published(), published()
    assert distance(one, two) == 0
    with torch.no_grad():
        for value in two.state_dict().values():
            value.mul_(1.5 if value.is_floating_point() else 1)
    assert distance(one, two) == pytest.approx(0.5)
    assert re.fullmatch(r"0\.0+|0", str(distance(one, one)))
