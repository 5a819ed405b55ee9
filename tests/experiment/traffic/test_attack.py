"""Attacks on a stored transcript: every label attack by its name, and files of known samples."""

import contextlib
import json
from dataclasses import replace

import pytest
import torch

from unsplit.attacks import labels, threat_model
from unsplit.attacks.labels import LABEL_ATTACKS
from unsplit.data import Splits
from unsplit.errors import InputError, UnsplitError
from unsplit.experiment.traffic.attack import AttackConfig, attack_recorded
from unsplit.experiment.training import TrainConfig, train
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.protocol import Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Setup

SGD = OptimizerSpec(name="sgd", lr=0.01)


@pytest.fixture(scope="module")
def small(digits: Splits) -> Splits:
    """A tenth of the digits."""
    return Splits(train=digits.train.subset(torch.arange(400)), test=digits.test.subset(torch.arange(200)))


def declared():
    """The names of all label attacks that infer classes."""
    found = set()
    for name in labels.__all__:
        with contextlib.suppress(TypeError):  # not an attack
            found.add(threat_model(getattr(labels, name)).attack)
    return found - {"infer_targets"}


def test_every_label_attack_that_infers_classes_has_a_name():
    assert {one.attack.__name__ for one in LABEL_ATTACKS.values()} == declared()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"goal": "everything"}, "Unknown goal"),
        ({"label_attack": "surogate"}, "did you mean 'surrogate'"),
        ({"white_box": "white"}, "Unknown preset of the white box"),
        ({"reduced_precision": "maybe"}, "maybe"),
    ],
)
def test_an_attack_that_there_is_not_is_one_sentence(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        replace(AttackConfig(), **changes)
    assert "\n" not in str(caught.value)


def test_labels_of_a_stored_transcript(small, tmp_path, monkeypatch):
    monkeypatch.setattr("unsplit.experiment.training.load", lambda _: small)
    split = SplitConfig(setup=Setup.B, clients=2, turn=1, batch_size=1, client_optimizer=SGD, server_optimizer=SGD)
    train(TrainConfig(split=split, steps=80), tmp_path / "run")
    groups = attack_recorded(
        tmp_path / "run" / "transcript", AttackConfig(goal="labels", label_attack="k-means"), tmp_path / "groups"
    )
    assert not groups.named
    assert len(groups.labels) == 80
    request = AttackConfig(goal="labels", label_attack="matching", optimizer=SGD)
    named = attack_recorded(tmp_path / "run" / "transcript", request, tmp_path / "named")
    assert named.named
    assert named.steps == tuple(range(1, 79))
    assert (tmp_path / "named" / "head.safetensors").exists()


@pytest.fixture(scope="module")
def recorded(digits, tmp_path_factory):
    """A stored transcript of single samples whose weights pass through the server, and the true labels."""
    folder = tmp_path_factory.mktemp("labels")
    split = SplitConfig(setup=Setup.B, clients=2, turn=1, batch_size=1, client_optimizer=SGD, server_optimizer=SGD)
    model = build("mnist-net", generator=generator(0))
    training = split_training(model, digits.train.images, digits.train.labels, split, generator=generator(0))
    recorder = training.record(Recorder(observer="server", folder=folder / "transcript"))
    training.run(100)
    recorder.flush()
    return folder / "transcript", torch.cat([training.truth(step).labels for step in range(100)])


TWO_CLASSES = ("norm", "direction")


@pytest.mark.parametrize("name", LABEL_ATTACKS)
def test_every_label_attack_reads_a_stored_transcript(name, recorded, tmp_path):
    transcript, truth = recorded
    first = [(int((truth == label).nonzero()[0]), label) for label in range(10)]
    (tmp_path / "known.csv").write_text("position,label\n" + "".join(f"{at},{label}\n" for at, label in first))
    named = name in ("nearest", "k-means", "surrogate", "spectral", "features")
    request = AttackConfig(
        goal="labels", label_attack=name, classes=2 if name in TWO_CLASSES else 10, optimizer=SGD,
        known=tmp_path / "known.csv" if named else None,
    )  # fmt: skip
    found = attack_recorded(transcript, request, tmp_path / "out")
    assert found.named == (name not in TWO_CLASSES)
    assert len(found.labels) == len(found.steps) == (98 if name in ("sign", "matching", "least-squares") else 100)
    assert found.undecided == sum(label < 0 for label in found.labels)
    right = sum(int(label) == int(truth[step]) for label, step in zip(found.labels, found.steps, strict=True))
    if name not in ("features", *TWO_CLASSES):
        assert right >= 0.95 * len(found.steps)
    assert (tmp_path / "out" / "head.safetensors").exists() == (found.head is not None)
    assert json.loads((tmp_path / "out" / "attack.json").read_text())["attack"] == name


@pytest.mark.parametrize(
    ("content", "words"),
    [("1;2\n", "position and a label on each line"), ("1,two\n", "position and a label"),
     ("", "give one or more, counted from 0"),
     ("999,1\n", "known sample is not among"), (None, "cannot be read|There is no|no such|not exist")],
)  # fmt: skip
def test_a_file_of_known_samples_that_is_none(content, words, recorded, tmp_path):
    if content is not None:
        (tmp_path / "known.csv").write_text(content)
    with pytest.raises(UnsplitError, match=f"(?i){words}") as caught:
        attack_recorded(
            recorded[0],
            AttackConfig(goal="labels", label_attack="k-means", known=tmp_path / "known.csv"),
            tmp_path / "out",
        )
    assert "\n" not in str(caught.value)


def test_known_samples_must_be_named_to_compare_with(recorded, tmp_path):
    with pytest.raises(InputError, match="name a file of them with `known`"):
        attack_recorded(recorded[0], AttackConfig(goal="labels", label_attack="nearest"), tmp_path)
