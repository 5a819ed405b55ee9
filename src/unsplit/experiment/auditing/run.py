"""The audit: train split, record what the server sees, attack it, infer labels, and score it all."""

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.labels import infer_by_surrogate
from unsplit.data import Scaling, Splits, load
from unsplit.devices import device as checked_device
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.experiment.auditing.defended import (
    check_defenses,
    corrects_labels,
    defended_row,
    defense_notes,
    known_defense,
    label_batch,
)
from unsplit.experiment.auditing.fitting import auxiliary_data, cut_depths, fitting, network_for, targets_of
from unsplit.experiment.auditing.inversions import attacks_beside, invert_networks
from unsplit.experiment.auditing.label_watch import HandOffs
from unsplit.experiment.auditing.labels import run_labels
from unsplit.experiment.auditing.trainings import train_networks
from unsplit.experiment.auditing.u_shape import attack_u_shape
from unsplit.experiment.inversion import Evaluation
from unsplit.experiment.known_weights import known_network
from unsplit.experiment.provenance import provenance
from unsplit.experiment.threats import described, taken_for_granted, threats_of_inversion, threats_of_labels
from unsplit.files import writable_folder
from unsplit.knowledge import KnownDefense, KnownSamples
from unsplit.models import batch_norm_note, dense_note, split
from unsplit.randomness import draw_seed, generator
from unsplit.results import AuditResult, InversionRow, LabelRow, ThreatModelRow

Stages = Callable[[str], Progress]
"""Called with the name of each part of the work; gives what to tell its progress to."""
Tell = Callable[[InversionRow, Tensor, Tensor], None]
"""Called with the row of an inversion, the targets and what it made of them, both of shape [n, *input shape]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What an audit gives.

    Args:
        result: the numbers.
        originals: the targets, shape [n, *input shape].
        reconstructions: what each row of `result.inversion` made of them, in the same order and shape.
        whole: what the attack on the U-shape made of them, if it was run.
        whole_aware: what the attack on the U-shape made of them that knows the client's defences, if it was run.
        scaling: what takes inputs and reconstructions to the units that the data came in; None where they came so.
    """

    result: AuditResult
    originals: Tensor
    reconstructions: tuple[Tensor, ...]
    whole: Tensor | None = None
    whole_aware: Tensor | None = None
    scaling: Scaling | None = None


def audit(
    config: AuditConfig,
    *,
    folder: Path | None = None,
    checkpoint: Path | None = None,
    command: str | None = None,
    stages: Stages = lambda _: silent,
    tell: Tell = lambda *_: None,
    splits: Splits | None = None,
) -> Audit:
    """Run an audit.

    Every cut is attacked on the same trained network: split training gives the same weights wherever the network is
    cut, bit for bit, so training it again for each cut would change nothing. Where a defence acts at the cut, each has
    a training of its own.

    Args:
        config: settings of the audit.
        folder: every finished attack is kept there, so that an interrupted audit goes on where it stopped when it is
            run again; None keeps nothing.
        checkpoint: file that `unsplit train` wrote, whose network is attacked; None to train one.
        command: what the report names as the command that makes it again.
        stages: receives the progress of each part of the audit.
        tell: function that is called with each inversion's row, targets and reconstructions as it ends.
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
    config, notes = fitting(config, splits, untrained)
    check_defenses(config, trains=checkpoint is None)
    depths = cut_depths(untrained, config)
    if config.known_weights is not None:
        notes = (*notes, known_network(untrained, depths, config.known_weights))
    trained = train_networks(untrained, name, depths, config, splits, checkpoint, stages)
    notes = (*notes, *_about_the_client(untrained, depths), *defense_notes(config))
    source = generator(config.seed + 1)
    evaluation = Evaluation.of(splits, targets_of(splits.test, config))
    own = None
    if config.auxiliary is not None:
        own = auxiliary_data(config.auxiliary, splits, evaluation.targets, config.image_size)
    networks = {"before": dict.fromkeys(depths, untrained), "after": {at: trained.networks[at] for at in depths}}
    rows, pictures = invert_networks(config, networks, evaluation, own, draw_seed(source), device, folder, stages, tell)
    labels = _infer_labels(config, untrained, splits, draw_seed(source), device, stages)
    whole = None
    if config.u_shape is not None:
        progress = stages("taking everything from the U-shape")
        whole = attack_u_shape(
            untrained, splits, evaluation, config, seed=draw_seed(source), device=device, progress=progress
        )
    result = AuditResult(
        training=trained.row.model_copy(update={"notes": notes}),
        defended=defended_row(
            config, [*trained.costs, *([] if whole is None else whole.costs)], trains=checkpoint is None
        ),
        inversion=tuple(rows),
        labels=tuple(labels),
        whole=None if whole is None else whole.row,
        whole_aware=None if whole is None else whole.row_aware,
        threat_models=_threat_models(config, splits.train.input_shape),
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
        whole=None if whole is None else whole.pictures,
        whole_aware=None if whole is None else whole.pictures_aware,
        scaling=splits.train.scaling,
    )


def _about_the_client(model: nn.Sequential, depths: Sequence[int]) -> tuple[str, ...]:
    """What there is to say of the client's layers, for the deepest cut."""
    if not depths:
        return ()
    bottom, _ = split(model, max(depths))
    return tuple(note for note in (batch_norm_note(bottom), dense_note(bottom)) if note is not None)


def _infer_labels(
    config: AuditConfig, model: nn.Sequential, splits: Splits, seed: int, device: torch.device, stages: Stages
) -> list[LabelRow]:
    runs = list(itertools.product(config.label_setups, config.label_heads, config.label_optimizers))
    progress = stages("inferring labels") if runs else silent
    rows: list[LabelRow] = []
    for number, (setup, head, optimizer) in enumerate(runs):
        progress(number, len(runs), float("nan"))
        how = HandOffs(
            setup=setup,
            head=head,
            samples=config.label_steps,
            batch_size=label_batch(config),
            optimizer=optimizer,
            defenses=config.defenses,
            seed=seed,
            device=device,
        )
        rows += run_labels(model, splits, how, aware=corrects_labels(config))
    progress(len(runs), len(runs), float("nan"))
    return rows


def _threat_models(config: AuditConfig, input_shape: tuple[int, ...]) -> tuple[ThreatModelRow, ...]:
    """The threat model of every attack that the configuration runs."""
    rows: list[ThreatModelRow] = []
    defended = known_defense(config) is not None
    of_inputs = functools.partial(threats_of_inversion, assumptions=taken_for_granted(config))
    if config.cuts and config.states:
        rows += of_inputs(config.presets, input_shape, aware=defended)
        rows += of_inputs(attacks_beside(config), input_shape, aware=False)
    if config.label_setups and config.label_heads and config.label_optimizers:
        rows += threats_of_labels(single=label_batch(config) == 1, aware=corrects_labels(config))
    if config.u_shape is not None:
        rows += of_inputs(config.presets[:1], input_shape, aware=defended)
        # One label of each class is known there, for the names.
        rows.append(described(infer_by_surrogate, KnownSamples))
        rows += [described(infer_by_surrogate, KnownDefense, KnownSamples)] if corrects_labels(config) else []
    return tuple(dict.fromkeys(rows))
