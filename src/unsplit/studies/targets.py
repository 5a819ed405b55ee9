"""The data sets, networks and targets that the cells of every study work on."""

import functools

from torch import nn

from unsplit.data import Splits, load
from unsplit.experiment.inversion import Evaluation
from unsplit.models import build_for
from unsplit.randomness import generator


@functools.lru_cache(maxsize=1)
def data(name: str) -> Splits:
    """The data set, kept while a process works on cells of it."""
    return load(name)


@functools.lru_cache(maxsize=1)
def evaluation(name: str) -> Evaluation:
    """The ten targets, one of each class of the test set, and what scores an attack on them."""
    splits = data(name)
    return Evaluation.of(splits, splits.test.one_per_class())


def network(splits: Splits, seed: int, model: str | None = None) -> nn.Sequential:
    """A network for these data before training: the paper's, or another of the registry."""
    return build_for(model, splits.train.input_shape, len(splits.train.classes), generator=generator(seed))[0]
