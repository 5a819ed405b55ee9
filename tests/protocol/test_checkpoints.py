"""A resumed run ends as an undisturbed one, bit for bit."""

import json
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import unsplit.protocol.checkpoint as checkpoints
from helpers.checks import noise
from unsplit import files
from unsplit.errors import FormatError
from unsplit.models import build
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, load_network, load_transcript, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Setup


def with_dropout():
    with seeded(0):
        return nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(1, 4, 5), drop=nn.Dropout(0.5), pool=nn.AvgPool2d(6), flat=nn.Flatten(),
                fc1=nn.Linear(64, 20), act=nn.ReLU(), fc2=nn.Linear(20, 10),
            )
        )  # fmt: skip


def make(setup=Setup.C, clients=2, batch_size=4, optimizer=None, model=None, seed=1):
    spec = optimizer or OptimizerSpec()
    config = SplitConfig(
        setup=setup, cut=1, batch_size=batch_size, clients=clients, turn=3, client_optimizer=spec, server_optimizer=spec
    )
    return split_training(model or with_dropout(), *noise(), config, generator=generator(seed))


@pytest.mark.parametrize("kept", [8, 9])  # within a turn, and between two, where weights wait to be handed over
@pytest.mark.parametrize("optimizer", [OptimizerSpec(), OptimizerSpec(name="sgd", lr=0.05, options={"momentum": 0.9})])
@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("setup", Setup)
def test_resuming_changes_no_bit(setup, clients, optimizer, kept, tmp_path):
    whole = make(setup, clients, optimizer=optimizer)
    recorded = whole.record(Recorder(observer=SERVER))
    whole.run(14)

    first = make(setup, clients, optimizer=optimizer)
    first.record(Recorder(observer=SERVER, folder=tmp_path / "t"))
    first.run(kept, checkpoint=tmp_path / "c")
    first.run(11)  # steps that are lost: the run dies before the next checkpoint
    first._recorders[0].flush()
    second = make(setup, clients, optimizer=optimizer)
    second.record(Recorder(observer=SERVER, folder=tmp_path / "t"))
    assert second.resume(tmp_path / "c") == kept
    second.run(14, checkpoint=tmp_path / "c")

    assert all(
        torch.equal(value, second.model().state_dict()[name]) for name, value in whole.model().state_dict().items()
    )
    stored = load_transcript(tmp_path / "t")
    assert [message.header for message in stored] == [message.header for message in recorded.transcript()]
    for one, other in zip(stored, recorded.transcript(), strict=True):
        assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


@pytest.mark.parametrize("setup", Setup)
def test_the_network_of_a_checkpoint(setup, tmp_path):
    training = make(setup)
    training.run(5, checkpoint=tmp_path / "c")
    model = with_dropout()
    assert load_network(tmp_path / "c", model) == 5
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in training.model().state_dict().items())


def _rewrite(path, **metadata):
    with checkpoints.safe_open(path, framework="pt") as stream:
        known = stream.metadata()
    save_file(load_file(path), path, metadata=known | metadata)


DAMAGE = {
    "missing": (lambda path: path.unlink(), "no checkpoint"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:200]), "truncated or altered"),
    "not ours": (lambda path: save_file({"a": torch.ones(1)}, path), "not a checkpoint of unsplit"),
    "future": (lambda path: _rewrite(path, version="99"), "update unsplit"),
    "broken metadata": (lambda path: _rewrite(path, version="x"), "truncated or altered"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence(damage, tmp_path):
    training = make()
    training.run(2, checkpoint=tmp_path / "c")
    do, words = DAMAGE[damage]
    do(tmp_path / "c")
    with pytest.raises(FormatError, match=words):
        make().resume(tmp_path / "c")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"clients": 3}, "client2"),
        ({"setup": Setup.A}, "same setup and clients"),
        ({"batch_size": 5}, "resume with the same settings"),
        ({"seed": 2}, "resume with the same settings"),
        ({"model": "mnist-net"}, "another network"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(other, words, tmp_path):
    make().run(2, checkpoint=tmp_path / "c")
    if "model" in other:
        other = {"model": build(other["model"], generator=generator(0))}
    training = make(**other)
    before = json.dumps({name: value.tolist() for name, value in training.model().state_dict().items()})
    with pytest.raises(FormatError, match=words):
        training.resume(tmp_path / "c")
    assert json.dumps({name: value.tolist() for name, value in training.model().state_dict().items()}) == before


def test_an_interrupt_while_saving_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    training = make()
    training.run(2, checkpoint=tmp_path / "c")
    before = (tmp_path / "c").read_bytes()

    def interrupted(_tensors, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.run(4, checkpoint=tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
