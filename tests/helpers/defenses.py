"""Trainings under defences, and smashed data to put through one."""

import torch

from unsplit.data import load
from unsplit.models import build
from unsplit.protocol import SERVER, Recorder, SplitConfig, split_training
from unsplit.randomness import generator
from unsplit.types import Setup

VALUES = torch.randn((400, 6, 5, 5), generator=generator(0))


def train(*defenses, setup=Setup.C, steps=3, **changes):
    """A few steps on the digits, and the server's transcript."""
    digits = load("digits").train
    settings = {"setup": setup, "cut": 1, "head": 1, "batch_size": 16, "defenses": tuple(defenses)} | changes
    training = split_training(
        build("mnist-net", generator=generator(0)), digits.images[:64], digits.labels[:64], SplitConfig(**settings),
        generator=generator(1),
    )  # fmt: skip
    recorder = training.record(Recorder(observer=SERVER))
    training.run(steps)
    return training, recorder.transcript()


def weights(training):
    return torch.cat([value.flatten() for value in training.model().state_dict().values()])
