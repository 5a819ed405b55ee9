"""A network trained split and whole."""

import copy

import torch

from helpers.checks import noise
from unsplit.protocol import split_training
from unsplit.randomness import generator, numbered_seed, seeded

STEPS = 13


def split_and_whole(model, config, *, steps=STEPS, samples=40, labels=None, shape=(1, 28, 28)):
    """The same training twice: split, and of the whole model on the same batches with one optimiser."""
    inputs, classes = noise(samples, shape)
    training = split_training(model, inputs, classes if labels is None else labels, config, generator=generator(1))
    training.run(steps)
    whole = copy.deepcopy(model)
    seeds = {name.partition(".")[2]: segment.seed for name, segment in training.segments().items()}
    optimizer = config.client_optimizer.build(whole.parameters())
    for step in range(steps):
        batch = training.truth(step)
        optimizer.zero_grad()
        outputs = batch.inputs
        for role, part in vars(config.parts(whole)).items():
            if part is not None:
                with seeded(numbered_seed(seeds[role], step)):
                    outputs = part(outputs)
        config.loss(outputs, batch.labels).backward()
        optimizer.step()
    return training.model().state_dict(), whole.state_dict()


def assert_identical(ours, reference):
    assert ours.keys() == reference.keys()
    different = [name for name in reference if not torch.equal(ours[name], reference[name])]
    assert different == []
