"""The trainings of an audit whose networks are inverted: one for every cut, or one each where the cut matters."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from unsplit.attacks import Progress
from unsplit.data import Splits
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.experiment.auditing.defended import cost_row, per_cut
from unsplit.experiment.auditing.fitting import loss_for, named_inputs
from unsplit.experiment.inversion import observe_inference
from unsplit.metrics import performance, score_of
from unsplit.models import split as split_at
from unsplit.protocol import SplitConfig, SplitTraining, load_network, split_training
from unsplit.randomness import generator
from unsplit.results import CostRow, TrainingRow
from unsplit.types import Kind

_WEIGHED = 64
"""Test inputs whose smashed data are weighed, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What the trainings left.

    Args:
        networks: by the depth of the cut.
        row: the row of the training with the shallowest cut.
        costs: what the defences cost each training; none without defences.
    """

    networks: Mapping[int, nn.Sequential]
    row: TrainingRow
    costs: tuple[CostRow, ...] = ()


def train_networks(
    untrained: nn.Sequential,
    name: str,
    depths: Sequence[int],
    config: AuditConfig,
    splits: Splits,
    checkpoint: Path | None,
    stages: Callable[[str], Progress],
) -> Trained:
    """Train in setup (a), or take a checkpoint's network.

    Split training gives the same weights wherever the network is cut, bit for bit, so one training serves every cut,
    unless the client has a defence that acts there, or its layers are frozen.

    Args:
        untrained: the network with its first weights, which are left as they are.
        name: the network's name.
        depths: depths of the cuts, ascending; empty for the shallowest possible cut.
        config: settings of the audit.
        splits: training and test data.
        checkpoint: a checkpoint of `unsplit train`, whose network is taken; None to train one.
        stages: receives the progress of each training.
    """
    deeper = config.deeper
    depths = depths or [deeper]
    apart = (per_cut(config.defense) or config.freeze_client) and len(depths) > 1
    networks: dict[int, nn.Sequential] = {}
    rows, costs = [], []
    for depth in depths if apart else depths[:1]:
        progress = stages(f"training, cut at depth {depth}" if apart else "training")
        training, row = _train(untrained, name, depth - deeper, config, splits, checkpoint, progress)
        rows.append(row)
        for served in [depth] if apart else depths:
            networks[served] = training.model()
            if config.defenses:
                seconds = row.seconds if served == depth else 0.0
                costs.append(_cost(training.model(), served, row.accuracy, seconds, config, splits))
    return Trained(networks=networks, row=rows[0], costs=tuple(costs))


def _train(
    untrained: nn.Sequential,
    name: str,
    cut: int,
    config: AuditConfig,
    splits: Splits,
    checkpoint: Path | None,
    progress: Progress,
) -> tuple[SplitTraining, TrainingRow]:
    """The training in setup (a), done or loaded, and its row."""
    started = time.perf_counter()
    train, test = splits.train, splits.test
    split = SplitConfig(
        cut=cut,
        batch_size=config.batch_size,
        client_optimizer=config.optimizer,
        server_optimizer=config.optimizer,
        loss=loss_for(config, splits),
        defenses=config.defenses,
    )
    network, steps = untrained, 0
    if checkpoint is not None:
        network = copy.deepcopy(untrained)
        steps = load_network(checkpoint, network)
    if config.freeze_client:
        network = copy.deepcopy(network)
        split_at(network, cut + config.deeper)[0].requires_grad_(requires_grad=False)
    source = generator(config.seed)
    training = split_training(network, train.images, train.labels, split, generator=source, device=config.device)
    epoch = -(-len(train) // config.batch_size)
    total = epoch * config.epochs
    losses = [
        training.run(epoch * (number + 1), progress=lambda done, _, loss: progress(done, total, loss))
        for number in range(0 if checkpoint else config.epochs)
    ]
    training.model().requires_grad_()  # attacks read from the layers what a clone of theirs has to learn
    return training, TrainingRow(
        dataset=train.name,
        model=name,
        setup="a",
        classes=len(train.classes),
        input_shape=train.input_shape,
        inputs=named_inputs(train),
        training_samples=len(train),
        test_samples=len(test),
        clients=len(training.clients),
        batch_size=config.batch_size,
        epochs=config.epochs if checkpoint is None else steps / epoch,
        steps=steps or total,
        optimizer=str(config.optimizer) if checkpoint is None else f"as in {checkpoint.name}",
        loss=str(loss_for(config, splits)),
        score=score_of(train.labels),
        losses=tuple(losses),
        accuracy=performance(training.predict(test.images.to(config.device)).cpu(), test.labels),
        seconds=time.perf_counter() - started,
    )


def _cost(
    network: nn.Sequential, depth: int, accuracy: float, seconds: float, config: AuditConfig, splits: Splits
) -> CostRow:
    """What the defences cost where the network is cut at `depth`."""
    defense, test = config.defense, splits.test
    seen = test.subset(torch.arange(min(_WEIGHED, len(test))))
    view = observe_inference(
        network, depth, seen, torch.device(config.device), defenses=config.defenses, seed=config.seed
    )
    sent = view.tensor(Kind.SMASHED)
    return cost_row("a", network, depth, accuracy, sent, defense, seconds)
