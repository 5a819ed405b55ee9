"""The main job end to end, small: numbers, pictures, resumption and honesty."""

import dataclasses
import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import unsplit
from unsplit import AuditConfig, Pictures, audit, files, write_report
from unsplit.cli.app import main
from unsplit.data import Splits, from_tensors
from unsplit.errors import DataError, InputError, UnsplitError
from unsplit.experiment.traffic.attack import AttackConfig, attack_recorded
from unsplit.experiment.training import TrainConfig, train
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Setup

SGD = OptimizerSpec(name="sgd", lr=0.01)


@pytest.fixture
def short(monkeypatch):
    """Presets with next to no steps: what is tested here is everything around the attacks."""
    from unsplit.attacks.inversion import CoordinateConfig, JointConfig, presets

    monkeypatch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=30))
    monkeypatch.setitem(presets.PRESETS, "paper", lambda _: CoordinateConfig(rounds=2, input_steps=2, weight_steps=2))


@pytest.fixture(scope="module")
def small(digits: Splits) -> Splits:
    """A tenth of the digits."""
    return Splits(train=digits.train.subset(torch.arange(400)), test=digits.test.subset(torch.arange(200)))


CONFIG = AuditConfig(
    cuts=(1, "conv2"), presets=("joint", "paper"), epochs=1, label_steps=60, label_heads=(1,), label_optimizers=(SGD,)
)


@pytest.mark.usefixtures("short")
def test_an_audit_has_every_row(small, tmp_path):
    found = audit(CONFIG, folder=tmp_path, splits=small)
    rows = found.result.inversion
    wanted = [
        (state, preset, depth)
        for state in ("before", "after") for preset in ("joint", "paper") for depth in (1, 3)
    ]  # fmt: skip
    assert [(row.state, row.preset, row.depth) for row in rows] == wanted
    assert found.originals.shape == (10, 1, 28, 28)
    assert all(inputs.shape == found.originals.shape for inputs in found.reconstructions)
    for row, inputs in zip(rows, found.reconstructions, strict=True):
        assert row.mse == pytest.approx(float((inputs - found.originals).square().mean()))
        assert row.mse_scale_free <= row.mse + 1e-6
        assert row.mse_best_trivial == min(row.guesses.values())
    labels = [(row.setup, row.observed, row.known_samples, row.clone_head) for row in found.result.labels]
    kinds = [("weight_grad", 0, "untrained"), ("weight_grad", 0, "trained"), ("cut_grad", 0, "none")]
    assert [entry for entry in labels if entry[2] == 0] == [(setup, *kind) for setup in ("b", "c") for kind in kinds]
    trained = [row for row in found.result.labels if row.clone_head == "trained"]
    assert all(row.accuracy == 1 and row.head_accuracy is not None for row in trained)
    assert {model.attack for model in found.result.threat_models} == {
        "invert_jointly", "invert_by_coordinates", "infer_from_weight_gradients", "group_by_cut_gradient",
        "infer_from_known_samples",
    }  # fmt: skip
    page = write_report(
        tmp_path, found.result, Pictures(originals=found.originals, reconstructions=found.reconstructions)
    )
    assert page.stat().st_size > 20_000


@pytest.mark.usefixtures("short")
def test_the_same_seed_gives_the_same_numbers(small):
    def numbers(seed):
        config = dataclasses.replace(CONFIG, presets=("joint",), states=("after",), seed=seed)
        found = audit(config, splits=small).result
        rows = [row.model_dump(exclude={"seconds_per_image"}) for row in found.inversion]
        return json.dumps([rows, [row.model_dump() for row in found.labels], found.training.losses])

    assert numbers(5) == numbers(5)
    assert numbers(5) != numbers(6)


@pytest.mark.usefixtures("short")
def test_finished_attacks_are_not_run_again(small, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, presets=("joint",), label_setups=())
    first = audit(config, folder=tmp_path, splits=small)
    kept = sorted((tmp_path / "cells").iterdir())
    assert len(kept) == 4
    kept[0].write_bytes(b"half written")  # as if the run had been cut off: this one is run again
    runs = []
    original = files.save_file
    monkeypatch.setattr(files, "save_file", lambda *args, **more: runs.append(args) or original(*args, **more))
    again = audit(config, folder=tmp_path, splits=small)
    assert len(runs) == 1
    for one, other in zip(first.reconstructions, again.reconstructions, strict=True):
        assert torch.equal(one, other)
    audit(dataclasses.replace(config, seed=1), folder=tmp_path, splits=small)
    assert len(list((tmp_path / "cells").iterdir())) == 8


@pytest.mark.usefixtures("short")
def test_a_model_and_data_of_the_user_s():
    """Colour pictures of another size, three classes, a net of the user's."""
    source = generator(0)
    inputs, labels = torch.rand(60, 3, 12, 12, generator=source), torch.arange(60) % 3
    splits = Splits(
        train=from_tensors(inputs[:45], labels[:45], classes=("a", "b", "c")),
        test=from_tensors(inputs[45:], labels[45:], classes=("a", "b", "c")),
    )
    models = {"net": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(576, 3))}
    import unsplit.models.registry as registry

    registry.MODELS["tested"] = models["net"]
    try:
        config = AuditConfig(
            model="tested",
            presets=("joint",),
            cuts=(0, 1),
            epochs=1,
            batch_size=8,
            label_steps=20,
            label_heads=(1,),
            label_optimizers=(SGD,),
        )
        found = audit(config, splits=splits)
    finally:
        del registry.MODELS["tested"]
    assert found.result.training.classes == 3
    assert len(found.result.inversion) == 4


def bad(**changes):
    return lambda splits: audit(dataclasses.replace(CONFIG, **changes), splits=splits)


def relabelled(splits, classes):
    data = [dataclasses.replace(part, classes=classes) for part in (splits.train, splits.test)]
    return Splits(train=data[0], test=data[1])


BAD_AUDITS = {
    "cut": (bad(cuts=(1, 40)), InputError, r"no cut 40; .*9 \(relu4\)"),
    "model": (bad(model="mnist"), InputError, "did you mean 'mnist-net'"),
    "model for other pictures": (bad(model="cifar-net"), InputError, "do not fit the model"),
    "classes": (lambda s: audit(CONFIG, splits=relabelled(s, tuple("0123456789AB"))), InputError, "12 classes"),
    "device": (bad(device="cuda:77"), InputError, "use `device='cpu'`"),
    "batch": (bad(batch_size=401), InputError, "use a batch size from 1 to 400"),
    "preset": (bad(presets=("jiont",)), InputError, "did you mean 'joint'"),
    "state": (bad(states=("afetr",)), InputError, "did you mean 'after'"),
    "label setup": (bad(label_setups=("a",)), InputError, "known are b, c"),
    "epochs": (bad(epochs=0), InputError, "at least 1"),
    "head": (bad(cuts=(), label_heads=(7,)), InputError, "no head of 7 layers"),
    "data": (lambda _: audit(dataclasses.replace(CONFIG, data="dgits")), DataError, "did you mean 'digits'"),
    "targets": (bad(targets_per_class=900), DataError, "900 of each class are needed"),
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("case", BAD_AUDITS)
def test_bad_audits_are_one_sentence(case, small):
    run, kind, words = BAD_AUDITS[case]
    with pytest.raises((kind, InputError), match=words) as caught:
        run(small)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("short")
def test_a_training_its_checkpoint_and_its_transcript(digits, small, tmp_path, monkeypatch):
    """What one command leaves, the next one reads: train, attack what was recorded, audit what was trained."""
    monkeypatch.setattr("unsplit.experiment.training.load", lambda _: small)
    split = SplitConfig(setup=Setup.A, cut=1, batch_size=20)
    summary = train(TrainConfig(split=split, steps=12, keep_last=2), tmp_path / "run")
    assert (summary.steps, summary.messages) == (12, 6)
    with pytest.raises(InputError, match="holds a run already"):
        train(TrainConfig(split=split, steps=12), tmp_path / "run")
    found = attack_recorded(tmp_path / "run" / "transcript", AttackConfig(), tmp_path / "attack")
    assert found.inputs == 20
    assert (tmp_path / "attack" / "reconstruction.safetensors").exists()
    config = dataclasses.replace(CONFIG, presets=("joint",), cuts=(3,), label_setups=())
    loaded = audit(config, checkpoint=tmp_path / "run" / "checkpoint.safetensors", splits=small)
    assert loaded.result.training.steps == 12
    assert loaded.result.training.accuracy == pytest.approx(summary.accuracy)
    assert digits is not None


def test_a_resumed_training_leaves_what_an_undisturbed_one_leaves(small, tmp_path, monkeypatch):
    monkeypatch.setattr("unsplit.experiment.training.load", lambda _: small)
    config = TrainConfig(split=SplitConfig(batch_size=20), steps=12, checkpoint_every=5)
    whole = train(config, tmp_path / "whole")

    def interrupt(done, _total, _loss):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", progress=interrupt)
    resumed = train(config, tmp_path / "cut", resume=True)
    assert resumed.accuracy == whole.accuracy
    assert resumed.messages == whole.messages
    one, other = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_public_surface_resolves():
    assert all(hasattr(unsplit, name) for name in unsplit.__all__)


def command(monkeypatch, capsys, *arguments):
    """`unsplit audit`: its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["unsplit", "audit", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0, capsys.readouterr()


@pytest.mark.usefixtures("short")
def test_recorded_traffic_is_judged_by_its_truth(digits, tmp_path, monkeypatch, capsys):
    split = SplitConfig(setup=Setup.A, cut=1, batch_size=16)
    model = build("mnist-net", generator=generator(0))
    training = split_training(model, digits.train.images, digits.train.labels, split, generator=generator(1))
    training.record(Recorder(observer="server", folder=tmp_path / "transcript"))
    training.run(3, checkpoint=tmp_path / "checkpoint")
    party = training.active(2)
    labels = party.labels_of(2)
    truth = {"inputs": party.inputs_of(2), "labels": labels, "steps": torch.full((len(labels),), 2)}
    files.write_tensors(tmp_path / "truth", truth)
    common = ["--transcript", tmp_path / "transcript", "--presets", "joint", "--out", tmp_path / "out", "--quiet"]
    sent, redrawn = ["--fail-if", "label_accuracy>=1"], ["--fail-if", "inversion_mse>0"]
    code, printed = command(monkeypatch, capsys, *common, *sent)
    assert code == 2
    assert "cannot be judged without the truth" in printed.err
    assert not (tmp_path / "out").exists()
    truth_given = ["--truth", tmp_path / "truth", "--markdown", tmp_path / "v.md"]
    code, printed = command(monkeypatch, capsys, *common, *sent, *redrawn, *truth_given)
    assert code == 1
    assert [line.split()[1] for line in printed.err.splitlines()] == ["label_accuracy>=1", "inversion_mse>0"]
    assert "step 2, joint" in printed.err
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["scores"][2]["score"] == 1.0
    assert "recorded traffic" in (tmp_path / "v.md").read_text()
    code, printed = command(monkeypatch, capsys, *common, "--fail-if", "clone_accuracy>0", *truth_given)
    assert code == 2  # nothing in a recording says how good a clone is
    assert "cannot be judged" in printed.err
    assert (tmp_path / "out" / "report.html").exists()


SETTINGS = """
data: digits
cuts: [1, conv2]
presets: [joint]
label_setups: []
epochs: 3
seed: 5
"""


def test_settings_of_a_file_and_of_the_command_line(tmp_path, monkeypatch, capsys):
    """What is given on the command line wins, what is not is the file's, and the rest is as ever."""
    seen = []

    class StoppedError(UnsplitError):
        pass

    def stop(config, **_):
        seen.append(config)
        raise StoppedError("enough.")

    monkeypatch.setattr("unsplit.cli.trained.run_audit", stop)
    (tmp_path / "audit.yaml").write_text(SETTINGS)
    lines = [[], ["--seed", 9, "--cuts", "2", "--targets", 2], ["cifar-net"]]
    for line in lines:
        code, _ = command(monkeypatch, capsys, *line, "--config", tmp_path / "audit.yaml", "--out", tmp_path / "out")
        assert code == 2
    plain = AuditConfig(cuts=(1, "conv2"), presets=("joint",), label_setups=(), epochs=3, seed=5)
    assert seen == [
        plain,
        dataclasses.replace(plain, seed=9, cuts=(2,), targets_per_class=2),
        dataclasses.replace(plain, model="cifar-net"),
    ]


@pytest.mark.parametrize("content", ["epochs: none", "epohcs: 3", "[1, 2", "- 1"])
def test_a_file_of_settings_that_is_none(content, tmp_path, monkeypatch, capsys):
    (tmp_path / "audit.yaml").write_text(content)
    code, printed = command(monkeypatch, capsys, "--config", tmp_path / "audit.yaml", "--out", tmp_path / "out")
    assert code == 2
    assert printed.err.count("\n") == 1
