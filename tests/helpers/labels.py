"""Small trainings whose labels are inferred, and transcripts made by hand."""

import math
from collections import OrderedDict

import torch
from torch import nn

from unsplit import metrics
from unsplit.attacks.labels import (
    CloneHeadConfig,
    GroupingConfig,
    MatchingConfig,
    SurrogateConfig,
    group_by_cut_gradient,
    infer_by_surrogate,
    infer_from_weight_gradients,
    train_clone_head,
)
from unsplit.knowledge import ClientLoss, HeadArchitecture, HeadWeightGradient, KnownSamples, LabelSpace
from unsplit.losses import LossSpec
from unsplit.models import build, split_head
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Setup, Transcript

CLASSES = 4
SPACE, TEN, TWO = (LabelSpace(classes=number) for number in (CLASSES, 10, 2))
SGD = OptimizerSpec(name="sgd", lr=0.05)
ADAM = OptimizerSpec(name="adam", lr=0.001)
BATCHES = {"clients": 1, "turn": None, "optimizer": ADAM}
KEEPING_UP = MatchingConfig(clone_optimizer=OptimizerSpec(lr=0.01))
"""A clone that learns no slower than the clients of `observe` do."""
QUICK = {"rounds": 3, "passes": 12, "steps": 10}
"""Less of everything than the surrogate's own settings, which on these data changes nothing but the time."""
DIGITS_SGD = OptimizerSpec(name="sgd", lr=0.01)


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


def match(view, gradients, *, config=KEEPING_UP, architecture=None, space=SPACE, seed=3):
    return infer_from_weight_gradients(
        view, gradients, architecture or head_of(), space, config, generator=generator(seed)
    )


def group(view, classes=CLASSES):
    return group_by_cut_gradient(view, LabelSpace(classes=classes), GroupingConfig(), generator=generator(0))


def known(*indices, labels=None):
    return KnownSamples(indices=indices, labels=tuple(0 for _ in indices) if labels is None else labels)


def train_head(view, labels, **changes):
    return train_clone_head(view, labels, head_of(), SPACE, CloneHeadConfig(**changes), generator=generator(0))


def surrogate(view, *, head=1, space=SPACE, loss=None, architecture=None, seed=3, **changes):
    return infer_by_surrogate(
        view, architecture or head_of(head), space, ClientLoss(spec=loss or LossSpec()), SurrogateConfig(**changes),
        generator=generator(seed),
    )  # fmt: skip


def up_to_names(found, truth, classes=CLASSES):
    return metrics.accuracy_up_to_names(found.labels, truth, classes).value


def on_digits(digits, *, head, steps, labels=None, seed=0, **changes):
    """The paper's net on the digits in setup (b), what the server saw, and the head's architecture."""
    model = build("mnist-net", generator=generator(0))
    settings = {"setup": Setup.B, "head": head, "batch_size": 64, "client_optimizer": ADAM, "server_optimizer": ADAM}
    images, true = digits.train.images, digits.train.labels
    training = split_training(
        model, images, true if labels is None else labels, SplitConfig(**settings | changes), generator=generator(seed)
    )
    recorder = training.record(Recorder(observer=SERVER))
    training.run(steps)
    return training, recorder.transcript(), HeadArchitecture.of(split_head(model, head)[1])


def hand_offs_on_digits(digits, *, setup=Setup.B, optimizer=DIGITS_SGD, steps=40, labels=None, head=1, **changes):
    """The paper's net on the digits in turns of one step of one sample, and what the server saw."""
    settings = {
        "setup": setup, "cut": 1, "clients": 2, "batch_size": 1, "turn": 1,
        "hand_off_optimizer": optimizer is not DIGITS_SGD, "client_optimizer": optimizer, "server_optimizer": optimizer,
    }  # fmt: skip
    return on_digits(digits, head=head, steps=steps, labels=labels, seed=1, **settings | changes)[:2]


def digits_head(layers=1):
    return HeadArchitecture.of(split_head(build("mnist-net", generator=generator(7)), layers)[1])


def at_chance(labels, truth):
    """Within four standard deviations of guessing one of four classes."""
    share = metrics.label_accuracy(labels, truth).value
    return abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(truth))


def view_of(payload, kind, step=0):
    message = Message(step=step, sender="client0", receiver=SERVER, kind=kind, payload=payload)
    return Transcript(observer=SERVER, messages=(message,))


ZERO_AMONG = view_of(torch.cat([torch.eye(CLASSES), torch.zeros(1, CLASSES)]), Kind.FEATURE_GRAD)
ONE = view_of(torch.rand(1, 8, generator=generator(0)), Kind.FEATURES)
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
