"""Labels from weights that are read off the disk a step at a time: the same as where all are in memory together."""

import weakref

import pytest
import torch
from torch.nn import functional

from helpers.labels import ADAM, KEEPING_UP, SGD, SPACE, head_of, match, observe
from unsplit.attacks.labels import gives_gradient, head_weight_gradients, infer_by_sign, infer_from_handed_weights
from unsplit.attacks.labels.weight_gradient import _gradient_of_each_label
from unsplit.knowledge import ClientLoss, ClientOptimizer, HeadWeightGradient
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, load_transcript, save_transcript
from unsplit.randomness import generator, own_stream
from unsplit.types import Converted, Kind, Transcript

DECAYING = OptimizerSpec(name="adam", lr=0.001, options={"weight_decay": 0.01})
MOMENTUM = OptimizerSpec(name="sgd", lr=0.05, options={"momentum": 0.9})


def all_at_once(view, gradients, layers):
    """The paper's rule on all weight gradients in memory, the clone trained along."""
    clone = head_of(layers).blueprint.instantiate(generator=own_stream(generator(3), "attacker"))
    rows = torch.cat([gradients.gradients[name].flatten(1) for name, _ in clone.named_parameters()], 1)
    features = {message.step: message.tensor for message in view.of(Kind.FEATURES)}
    optimizer = KEEPING_UP.clone_optimizer.build(list(clone.parameters()))
    labels = []
    for row, step in enumerate(gradients.steps):
        errors = (_gradient_of_each_label(clone, features[step], SPACE.classes) - rows[row]).square().mean(1)
        labels.append(errors.argmin())
        optimizer.zero_grad()
        functional.cross_entropy(clone(features[step]), labels[-1][None]).backward()
        optimizer.step()
    return torch.stack(labels), clone.state_dict()


def trimmed(view, spec):
    """Only those numbers of hand-offs to the server that give the gradients."""

    def convert(message):
        if message.kind is not Kind.WEIGHTS:
            return message
        payload = {name: value for name, value in message.tensors.items() if gives_gradient(name, spec)}
        return type(message)(**message.header._asdict(), payload=payload)

    chosen = view.where(lambda header: header.kind is not Kind.WEIGHTS or header.receiver == SERVER)
    return Transcript(observer=view.observer, messages=Converted(chosen, convert))


@pytest.mark.parametrize("spec", [SGD, MOMENTUM, ADAM, DECAYING])
@pytest.mark.parametrize("layers", [1, 2])
def test_labels_and_clone_are_the_same_bit_for_bit(tmp_path, spec, layers):
    _, view = observe(optimizer=spec, head=layers, steps=60)
    known = ClientOptimizer(spec=spec)
    whole = head_weight_gradients(view, known)
    labels, weights = all_at_once(view, whole, layers)
    stored = load_transcript(save_transcript(trimmed(view, spec), tmp_path / "t"))
    found = match(stored, head_weight_gradients(stored, known), architecture=head_of(layers), config=KEEPING_UP)
    assert torch.equal(found.labels, labels)
    for name, value in found.clone.state_dict().items():
        assert torch.equal(value, weights[name]), name
    in_memory = HeadWeightGradient(gradients=dict(whole.gradients), steps=whole.steps)
    by_sign = infer_by_sign(stored, head_weight_gradients(stored, known), SPACE)
    assert torch.equal(by_sign.labels, infer_by_sign(view, in_memory, SPACE).labels)


def test_what_gives_the_gradient_is_little_of_a_hand_off():
    _, view = observe(optimizer=ADAM, steps=4)
    handed = trimmed(view, ADAM).of(Kind.WEIGHTS)
    assert {name for message in handed for name in message.tensors} == {
        "optimizer.head.fc3.weight/exp_avg", "optimizer.head.fc3.bias/exp_avg",
    }  # fmt: skip


class Counted:
    """Counts how often messages of a transcript are read, and how many of those read are there at a time."""

    def __init__(self, view):
        self.reads, self.most, self._there = 0, 0, weakref.WeakSet()
        self.view = Transcript(observer=view.observer, messages=Converted(view, self._read))

    def _read(self, message):
        if message.kind is Kind.WEIGHTS:
            message = type(message)(**message.header._asdict(), payload=message.payload)
            self.reads += 1
            self._there.add(message)
            self.most = max(self.most, len(self._there))
        return message


@pytest.mark.parametrize("attack", ["matching", "sign", "handed"])
def test_hand_offs_are_read_as_they_are_needed_and_not_kept(tmp_path, attack):
    _, view = observe(optimizer=SGD, steps=50)
    counted = Counted(load_transcript(save_transcript(view, tmp_path / "t")))
    if attack == "handed":
        infer_from_handed_weights(counted.view, head_of(), SPACE, ClientLoss())
    else:
        gradients = head_weight_gradients(counted.view, ClientOptimizer(spec=SGD))
        match(counted.view, gradients) if attack == "matching" else infer_by_sign(counted.view, gradients, SPACE)
    # Once by the attack; the checks of types in tests look at some again.
    assert 48 <= counted.reads < 250
    assert counted.most <= 4
