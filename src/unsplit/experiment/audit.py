"""The audit: train split, record what the server sees, attack it, infer labels, and score it all."""

import copy
import functools
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.labels import (
    group_by_cut_gradient,
    infer_by_surrogate,
    infer_from_known_samples,
    infer_from_weight_gradients,
)
from unsplit.attacks.unsplit import attack_of, preset
from unsplit.data import Dataset, Scaling, Splits, load
from unsplit.devices import device as checked_device
from unsplit.devices import resolved_precision
from unsplit.experiment.auxiliary import ATTACKS as AUXILIARY_ATTACKS
from unsplit.experiment.auxiliary import auxiliary_data, run_with_auxiliary
from unsplit.experiment.cells import Cells, fingerprint
from unsplit.experiment.config import STATES, AuditConfig
from unsplit.experiment.fitting import fitting, loss_for, named_inputs, network_for, targets_of
from unsplit.experiment.inversion import Evaluation, more_inputs, run_inversion
from unsplit.experiment.labels import run_labels
from unsplit.experiment.provenance import provenance, versions
from unsplit.experiment.results import (
    AuditResult,
    InversionRow,
    LabelRow,
    ThreatModelRow,
    TrainingRow,
)
from unsplit.experiment.threats import described
from unsplit.experiment.whole import run_whole
from unsplit.files import writable_folder
from unsplit.knowledge import KnownSamples
from unsplit.metrics import performance, score_of
from unsplit.models import batch_norm_note, depth_of, split
from unsplit.protocol import SplitConfig, SplitTraining, load_network, split_training
from unsplit.randomness import draw_seed, generator

Stages = Callable[[str], Progress]
"""Called with the name of each part of the work; gives what to tell its progress to."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What an audit gives.

    Args:
        result: the numbers.
        originals: the targets, shape [n, *input shape].
        reconstructions: what each row of `result.inversion` made of them, in the same order and shape.
        whole: what the attack on the U-shape made of them, if it was run.
        scaling: what takes inputs and reconstructions to the units that the data came in; None where they came so.
    """

    result: AuditResult
    originals: Tensor
    reconstructions: tuple[Tensor, ...]
    whole: Tensor | None = None
    scaling: Scaling | None = None


def audit(
    config: AuditConfig,
    *,
    folder: Path | None = None,
    checkpoint: Path | None = None,
    command: str | None = None,
    stages: Stages = lambda _: silent,
    splits: Splits | None = None,
) -> Audit:
    """Run an audit.

    Every cut is attacked on the same trained network: split training gives the same weights wherever the network is
    cut, bit for bit, so training it again for each cut would change nothing.

    Args:
        config: what to do.
        folder: every finished attack is kept there, so that an interrupted audit goes on where it stopped when it is
            run again; None keeps nothing.
        checkpoint: of `unsplit train`; its network is attacked instead of training one.
        command: what the report names as the command that makes it again.
        stages: follows the progress.
        splits: the data, where they are not to be loaded by `config.data`.

    Raises:
        UnsplitError: anything in the configuration or the data that cannot be used.
    """
    started = time.perf_counter()
    device = checked_device(config.device)
    if splits is None:
        splits = load(config.data, image_size=config.image_size, label=config.label, input_range=config.input_range)
    if folder is not None:
        writable_folder(folder)
    untrained, name, splits = network_for(config, splits, device)
    config, notes = fitting(config, splits)
    training, trained = _train(untrained, name, config, splits, checkpoint, stages("training"))
    trained = trained.model_copy(update={"notes": (*notes, *_about_the_client(untrained, config))})
    source = generator(config.seed + 1)
    networks = {"before": untrained, "after": training.model()}
    evaluation = Evaluation(
        targets=targets_of(splits.test, config),
        test=splits.test,
        mean_input=splits.train.images.mean(0),
        others=more_inputs(splits.train),
    )
    own = None
    if config.auxiliary is not None:
        own = auxiliary_data(config.auxiliary, splits, evaluation.targets, config.image_size)
    rows, pictures = _invert(config, networks, evaluation, own, draw_seed(source), device, folder, stages)
    labels = _infer_labels(config, untrained, splits, draw_seed(source), device, stages)
    whole, redrawn = None, None
    if config.u_shape is not None:
        progress = stages("taking everything from the U-shape")
        whole, redrawn = run_whole(
            untrained, splits, evaluation, config, seed=draw_seed(source), device=device, progress=progress
        )
    result = AuditResult(
        training=trained,
        inversion=tuple(rows),
        labels=tuple(labels),
        whole=whole,
        threat_models=_threat_models(config),
        provenance=provenance(
            command or f"unsplit.audit({config!r})",
            seed=config.seed,
            device=device,
            precision=config.reduced_precision,
            started=started,
        ),
    )
    return Audit(
        result=result,
        originals=evaluation.targets.images,
        reconstructions=tuple(pictures),
        whole=redrawn,
        scaling=splits.train.scaling,
    )


def _about_the_client(model: nn.Sequential, config: AuditConfig) -> tuple[str, ...]:
    """What there is to say of the client's layers, for the deepest cut."""
    depths = [depth_of(model, cut) for cut in config.cuts]
    note = batch_norm_note(split(model, max(depths))[0]) if depths else None
    return () if note is None else (note,)


def _train(
    untrained: nn.Sequential,
    name: str,
    config: AuditConfig,
    splits: Splits,
    checkpoint: Path | None,
    progress: Progress,
) -> tuple[SplitTraining, TrainingRow]:
    """The training in setup (a), done or loaded, and its row."""
    started = time.perf_counter()
    train, test = splits.train, splits.test
    split = SplitConfig(
        cut=min((depth_of(untrained, cut) for cut in config.cuts), default=0),
        batch_size=config.batch_size,
        client_optimizer=config.optimizer,
        server_optimizer=config.optimizer,
        loss=loss_for(config, splits),
    )
    network, steps = untrained, 0
    if checkpoint is not None:
        network = copy.deepcopy(untrained)
        steps = load_network(checkpoint, network)
    source = generator(config.seed)
    training = split_training(network, train.images, train.labels, split, generator=source, device=config.device)
    epoch = -(-len(train) // config.batch_size)
    total = epoch * config.epochs
    losses = [
        training.run(epoch * (number + 1), progress=lambda done, _, loss: progress(done, total, loss))
        for number in range(0 if checkpoint else config.epochs)
    ]
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


def _invert(
    config: AuditConfig,
    networks: Mapping[str, nn.Sequential],
    evaluation: Evaluation,
    own: Dataset | None,
    seed: int,
    device: torch.device,
    folder: Path | None,
    stages: Stages,
) -> tuple[list[InversionRow], list[Tensor]]:
    cells = Cells(folder / "cells" if folder is not None else None)
    depths = sorted({depth_of(networks["before"], cut) for cut in config.cuts})
    targets, version = fingerprint({"images": evaluation.targets.images}), versions()["unsplit"]
    found = []
    for state in STATES:
        if state not in config.states:
            continue
        weights = fingerprint(networks[state].state_dict())
        for name, depth in itertools.product(config.presets, depths):
            settings = preset(name, depth, precision=resolved_precision(config.reduced_precision, device))
            key = {
                "weights": weights,
                "targets": targets,
                "attack": [state, depth, name, repr(settings), seed, config.device],
                "version": version,
            }
            run = functools.partial(
                run_inversion,
                networks[state],
                depth,
                name,
                evaluation,
                state=state,
                seed=seed,
                device=device,
                settings=settings,
                progress=stages(f"inverting depth {depth}, {state} training, {name}"),
            )
            found.append(cells.get_or_run(key, run))
        if own is not None:
            for name, depth in itertools.product(AUXILIARY_ATTACKS, depths):
                progress = stages(f"inverting depth {depth}, {state} training, {name}")
                found.append(
                    run_with_auxiliary(
                        networks[state],
                        depth,
                        name,
                        own,
                        evaluation,
                        state=state,
                        seed=seed,
                        device=device,
                        precision=config.reduced_precision,
                        progress=progress,
                    )
                )
    return [row for row, _ in found], [inputs for _, inputs in found]


def _infer_labels(
    config: AuditConfig, model: nn.Sequential, splits: Splits, seed: int, device: torch.device, stages: Stages
) -> list[LabelRow]:
    runs = list(itertools.product(config.label_setups, config.label_heads, config.label_optimizers))
    progress = stages("inferring labels") if runs else silent
    rows: list[LabelRow] = []
    for number, (setup, head, optimizer) in enumerate(runs):
        progress(number, len(runs), float("nan"))
        rows += run_labels(
            model,
            splits,
            setup=setup,
            head=head,
            steps=config.label_steps,
            optimizer=optimizer,
            seed=seed,
            device=device,
        )
    progress(len(runs), len(runs), float("nan"))
    return rows


def _threat_models(config: AuditConfig) -> tuple[ThreatModelRow, ...]:
    """The threat model of every attack that the configuration runs."""
    attacks: list[Callable[..., object]] = []
    if config.cuts and config.states:
        attacks += dict.fromkeys(attack_of(preset(name, 1)) for name in config.presets)
        attacks += [] if config.auxiliary is None else AUXILIARY_ATTACKS.values()
    if config.label_setups and config.label_heads and config.label_optimizers:
        attacks += [infer_from_weight_gradients, group_by_cut_gradient, infer_from_known_samples]
    rows = [described(function) for function in attacks]
    if config.u_shape is not None:
        rows.append(described(attack_of(preset(config.presets[0], 1))))
        # One label of each class is known there, for the names.
        rows.append(described(infer_by_surrogate, KnownSamples))
    return tuple(dict.fromkeys(rows))
