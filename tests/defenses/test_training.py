"""Defences in how a client trains, and in how much of the network it keeps."""

import copy
import math

import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from torch import nn

from helpers.defenses import train, weights
from unsplit.data import load
from unsplit.defenses import DeeperCut, NoPeek, PrivateTraining, distance_correlation
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitConfig, split_training
from unsplit.randomness import generator, seeded
from unsplit.types import Kind


def test_distance_correlation_is_what_its_definition_says():
    one = torch.randn((30, 4), generator=generator(0), dtype=torch.float64)
    other = one[:, :2] ** 2 + 0.1 * torch.randn((30, 2), generator=generator(1), dtype=torch.float64)

    def centred(values):
        distances = squareform(pdist(values.numpy()))
        return distances - distances.mean(0) - distances.mean(1)[:, None] + distances.mean()

    a, b = centred(one), centred(other)
    expected = math.sqrt((a * b).mean() / math.sqrt((a * a).mean() * (b * b).mean()))
    assert float(distance_correlation(one, other)) == pytest.approx(expected, rel=1e-4)
    assert float(distance_correlation(one, 3 * one + 2)) == pytest.approx(1.0, rel=1e-4)


def test_nopeek_lowers_the_distance_correlation_of_what_is_sent():
    digits = load("digits").train.images[:64]

    def left(weight):
        training, _ = train(NoPeek(weight=weight), steps=40)
        return float(distance_correlation(digits, training.infer(digits).tensor(Kind.SMASHED)))

    assert left(20.0) < left(0.0) - 0.03


def test_dp_sgd_clips_each_sample_and_adds_its_noise():
    """A step of plain SGD on one dense layer, whose per-sample gradients are known."""
    with seeded(0):
        model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2))
    inputs, labels = torch.rand((8, 3), generator=generator(0)), torch.arange(8) % 2

    def moved(noise, clip):
        config = SplitConfig(
            cut=0, batch_size=8, client_optimizer=OptimizerSpec(name="sgd", lr=1.0),
            defenses=(PrivateTraining(noise=noise, clip=clip),),
        )  # fmt: skip
        training = split_training(model, inputs, labels, config, generator=generator(1))
        training.run(1)
        return model[0].weight.detach() - training.clients[0].bottom.module[0].weight.detach()

    plain = copy.deepcopy(model)
    total = torch.zeros(2, 3)
    for one, label in zip(inputs, labels, strict=True):
        plain.zero_grad()
        nn.functional.cross_entropy(plain(one[None]), label[None]).backward()
        gradient = plain[0].weight.grad.clone()
        total += gradient * min(1.0, 0.05 / float(gradient.norm()))
    assert torch.allclose(moved(0.0, 0.05), total / 8, atol=1e-6)
    noise = moved(50.0, 0.05) - total / 8
    assert float(noise.std()) == pytest.approx(50 * 0.05 / 8, rel=0.6)


def test_dp_sgd_leaves_no_trace_in_the_layers():
    training, _ = train(PrivateTraining(), steps=2)
    for layer in training.model().modules():
        assert not layer._forward_hooks
        assert not layer._backward_hooks


def test_a_deeper_cut_moves_the_cut():
    training, view = train(DeeperCut(modules=2))
    assert len(training.clients[0].bottom.module) == 4
    plain, _ = train(cut=3)
    assert torch.equal(weights(plain), weights(training))
    assert view.tensor(Kind.SMASHED).shape[1:] == plain.infer(torch.zeros(1, 1, 28, 28)).tensor(Kind.SMASHED).shape[1:]
