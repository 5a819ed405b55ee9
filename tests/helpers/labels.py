"""Small trainings whose labels are inferred, and transcripts made by hand."""

import math
from collections import OrderedDict

import torch
from torch import nn

from unsplit import metrics
from unsplit.knowledge import (
    HeadArchitecture,
    HeadWeightGradient,
    LabelSpace,
)
from unsplit.models import build, split_head
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Setup, Transcript

CLASSES = 4


SPACE = LabelSpace(classes=CLASSES)


SGD = OptimizerSpec(name="sgd", lr=0.05)


ADAM = OptimizerSpec(name="adam", lr=0.001)


def dense_net():
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(12, 16), relu1=nn.ReLU(), fc2=nn.Linear(16, 8), relu2=nn.ReLU(), fc3=nn.Linear(8, CLASSES)
        )
    )


def heaps(samples=600, seed=0):
    """Inputs in four heaps and the number of each one's heap."""
    source = generator(seed)
    labels = torch.randint(CLASSES, (samples,), generator=source)
    centres = torch.randn(CLASSES, 12, generator=source)
    return centres[labels] + 0.5 * torch.randn(samples, 12, generator=source), labels


def observe(*, steps=40, optimizer=SGD, labels=None, **changes):
    """A training in turns of one step, and what the server saw of it."""
    settings = {
        "setup": Setup.B, "cut": 0, "clients": 2, "batch_size": 1, "turn": 1, "client_optimizer": optimizer,
        "server_optimizer": optimizer, "hand_off_optimizer": optimizer is not SGD,
    }  # fmt: skip
    inputs, true = heaps()
    model = build(dense_net, generator=generator(0))
    training = split_training(
        model, inputs, true if labels is None else labels, SplitConfig(**settings | changes), generator=generator(1)
    )
    recorder = training.record(Recorder(observer=SERVER))
    training.run(steps)
    return training, recorder.transcript()


def head_of(layers=1):
    return HeadArchitecture.of(split_head(build(dense_net, generator=generator(7)), layers)[1])


def at_chance(labels, truth):
    """Within four standard deviations of guessing one of four classes."""
    share = metrics.label_accuracy(labels, truth).value
    return abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(truth))


def view_of(payload, kind, step=0):
    message = Message(step=step, sender="client0", receiver=SERVER, kind=kind, payload=payload)
    return Transcript(observer=SERVER, messages=(message,))


ZERO_AMONG = view_of(torch.cat([torch.eye(CLASSES), torch.zeros(1, CLASSES)]), Kind.FEATURE_GRAD)


EMPTY = Transcript(observer=SERVER, messages=())


def observed(value=0.1, rows=1, steps=(0,), **changes):
    gradients = {"fc3.weight": torch.full((rows, CLASSES, 8), value), "fc3.bias": torch.full((rows, CLASSES), value)}
    return HeadWeightGradient(gradients=gradients | changes, steps=steps)


def train_dense(inputs, labels, *layers, steps, **settings):
    """A net of these layers in setup (b), what the server saw, and the architecture of its last layer."""
    model = build(lambda: nn.Sequential(*(make() for make in layers)), generator=generator(0)).to(inputs.dtype)
    config = SplitConfig(setup=Setup.B, **{"client_optimizer": ADAM, "server_optimizer": ADAM} | settings)
    training = split_training(model, inputs, labels, config, generator=generator(0))
    recorder = training.record(Recorder(observer=SERVER))
    training.run(steps)
    return training, recorder.transcript(), HeadArchitecture.of(split_head(model, 1)[1])


def dense(inputs, outputs):
    return lambda: nn.Linear(inputs, outputs)


def pairs(features, gradients, steps=None):
    """Features and cut gradients of these steps."""
    kinds = ((Kind.FEATURES, features, SERVER, "client0"), (Kind.FEATURE_GRAD, gradients, "client0", SERVER))
    return Transcript(
        observer=SERVER,
        messages=tuple(
            Message(step=step, sender=sender, receiver=receiver, kind=kind, payload=payload)
            for step in steps or (0,)
            for kind, payload, sender, receiver in kinds
        ),
    )
