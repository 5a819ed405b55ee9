"""An audit of recorded traffic: what attacks make of a transcript that a real server kept. Nothing is trained.

Attacks get the recording and the architecture. The truth, where a client left it, goes to metrics only; it also says
which step is attacked, so that there is something to compare with, and stands for the few labels that a server may
know, where groups are named.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, readable, silent
from unsplit.attacks.inversion import PRESETS, preset
from unsplit.choices import WHITE_BOX
from unsplit.devices import Precision, check_precision
from unsplit.devices import device as checked_device
from unsplit.errors import InputError, unknown_name
from unsplit.experiment.inversion import presets_for
from unsplit.experiment.known_weights import client_weights, known_network, sent_in_training, white_box_settings
from unsplit.experiment.provenance import provenance
from unsplit.experiment.traffic.labels import answered
from unsplit.experiment.traffic.recorded_inputs import about_the_range, range_of, shape_of
from unsplit.experiment.traffic.recorded_inversion import Inversion, invert_recorded, on_device
from unsplit.experiment.traffic.recorded_labels import classes_of, infer_recorded, sent_labels
from unsplit.experiment.traffic.truth import RecordedTruth, read_truth
from unsplit.knowledge import ClientArchitecture
from unsplit.losses import LossSpec
from unsplit.models import build, check_crossing, default_for, dense_note, depth_of, split, split_head
from unsplit.protocol import load_transcript
from unsplit.protocol.store import read_manifest
from unsplit.randomness import generator
from unsplit.ranges import UNIT, InputRange
from unsplit.results import (
    AuditResult,
    RecordedInversionRow,
    RecordedLabelRow,
    RecordedRow,
    ThreatModelRow,
)
from unsplit.types import Kind, Transcript

_DIGITS = (1, 28, 28)


@dataclass(frozen=True, kw_only=True)
class RecordedConfig:
    """Settings of an audit of recorded traffic.

    Args:
        model: the network's architecture: name, "module:function", or None for the paper's net for such inputs.
        cut: where it was cut, by depth or module name; setups (a) and (c).
        head: layers with weights in the client's head; setups (b) and (c).
        presets: of the inversion attack.
        input_shape: shape of one input; None for that of the truth, or of the paper's digits.
        input_range: the range in which the clients' network takes its inputs; None for that of the truth, or 0 to 1.
        loss: the client's; read by label inference.
        known_weights: file of weights (safetensors, or a torch state dict) that the client's first layers are known to
            have; the white box is run beside the presets. None for none.
        white_box: preset of that attack, "white-box" or "white-box-quick".
        seed: of the attacks.
        device: where they compute.
        reduced_precision: whether decoders compute their convolutions in bfloat16 (`devices.Precision`).

    Raises:
        InputError: an unknown preset, or a setting of the precision that there is not.
    """

    model: str | None = None
    cut: int | str = 1
    head: int = 1
    presets: tuple[str, ...] = ("strong-quick", "joint")
    input_shape: tuple[int, ...] | None = None
    input_range: InputRange | None = None
    loss: LossSpec = field(default_factory=LossSpec)
    known_weights: str | None = None
    white_box: str = "white-box-quick"
    seed: int = 0
    device: str = "cpu"
    reduced_precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_precision(self.reduced_precision)
        if self.white_box not in WHITE_BOX:
            raise unknown_name("preset of the white box", self.white_box, WHITE_BOX)
        for name in self.presets:
            if name not in PRESETS:
                raise unknown_name("preset", name, PRESETS)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedAudit:
    """What an audit of recorded traffic gives.

    Args:
        result: the numbers, in `result.recorded`.
        originals: the inputs of the attacked batch, shape [n, *input shape], from 0 to 1; None without the truth.
        reconstructions: what each row of `result.recorded.inversion` made of them, in the same order, shape and range.
        input_range: what 0 and 1 stand for in the client's units.
    """

    result: AuditResult
    originals: Tensor | None
    reconstructions: tuple[Tensor, ...]
    input_range: InputRange = UNIT


def audit_recorded(
    transcript: Path,
    config: RecordedConfig,
    *,
    truth: Path | None = None,
    command: str | None = None,
    stages: Callable[[str], Progress] = lambda _: silent,
) -> RecordedAudit:
    """Attack all that a recording holds: smashed data (setups a and c) by inverting its last batch, cut gradients
    (setups b and c) by label inference.

    Args:
        transcript: its folder, which is only read; the training may still be going on.
        config: what the attacker knows, and how it attacks.
        truth: a file that a client wrote; without it nothing is scored.
        command: what the report names as the command that makes it again.
        stages: follows the progress.

    Raises:
        UnsplitError: a recording or a truth that cannot be read or used, or an architecture that does not fit them.
    """
    started = time.perf_counter()
    device = checked_device(config.device)
    recording = answered(load_transcript(transcript))
    view = readable(recording)
    true = None if truth is None else read_truth(truth)
    if not len(view.of(Kind.SMASHED, Kind.FEATURE_GRAD)):
        raise InputError(
            f"{transcript} holds neither smashed data nor cut gradients, so there is nothing to attack; record a "
            "training until its first step is stored."
        )
    shape = shape_of(config.input_shape, true) or _DIGITS
    name = config.model or default_for(shape)
    model = build(name, generator=generator(0), input_shape=shape)
    head = None
    if len(view.of(Kind.FEATURE_GRAD)):
        head = split_head(model, config.head)[1]
        classes_of(view, head)  # a head that does not fit is better found now than after the inversion
    units = range_of(config.input_range, true, shape)
    presets, notes = presets_for(config.presets, shape)
    config, notes = replace(config, presets=presets), (*notes, *about_the_range(true, units))
    inversion = _invert(view, true, model, (shape, units), config, device, stages)
    notes = (*notes, *_notes(transcript, model, config, inverted=bool(inversion.rows)))
    labels, threats = _infer_labels(view, true, head, config, device, stages)
    result = AuditResult(
        inversion=(),
        labels=(),
        recorded=_recorded(recording, transcript, name, true is not None, inversion.rows, labels, units, notes),
        threat_models=tuple(dict.fromkeys([*inversion.threats, *threats])),
        provenance=provenance(
            command or f"audit_recorded({str(transcript)!r}, {config!r})",
            seed=config.seed,
            device=device,
            precision=config.reduced_precision,
            started=started,
        ),
    )
    return RecordedAudit(
        result=result, originals=inversion.originals, reconstructions=inversion.pictures, input_range=units
    )


def _notes(transcript: Path, model: nn.Sequential, config: RecordedConfig, *, inverted: bool) -> tuple[str, ...]:
    """What whoever recorded has to say, and what there is to say of the client's layers."""
    told = read_manifest(transcript).notes
    note = dense_note(split(model, config.cut)[0]) if inverted else None
    return told if note is None else (*told, note)


def _invert(
    view: Transcript,
    truth: RecordedTruth | None,
    model: nn.Sequential,
    inputs: tuple[tuple[int, ...], InputRange],
    config: RecordedConfig,
    device: torch.device,
    stages: Callable[[str], Progress],
) -> Inversion:
    """The inversion of smashed data, if there are any, to inputs of this shape and range."""
    smashed = view.of(Kind.SMASHED)
    if not len(smashed):
        return Inversion()
    depth, bottom = depth_of(model, config.cut), split(model, config.cut)[0]
    for message in smashed.last(1):
        check_crossing(model, depth, inputs[0], tuple(message.tensor.shape[1:]), option="--cuts")
    weights = None
    if config.known_weights is not None:
        known_network(model, (depth,), config.known_weights)
        known = client_weights(bottom.to(device), *inputs, training=sent_in_training(view))
        weights = config.white_box, known, white_box_settings(config.white_box, bottom, inputs[0])
    return invert_recorded(
        smashed,
        truth,
        ClientArchitecture.of(bottom, *inputs),
        (depth, [name for name, _ in model.named_children()][depth]),
        {name: preset(name, depth, precision=config.reduced_precision) for name in config.presets},
        weights,
        seed=config.seed,
        device=device,
        stages=stages,
    )


def _infer_labels(
    view: Transcript,
    truth: RecordedTruth | None,
    head: nn.Module | None,
    config: RecordedConfig,
    device: torch.device,
    stages: Callable[[str], Progress],
) -> tuple[list[RecordedLabelRow], list[ThreatModelRow]]:
    """The labels that were sent, or those that cut gradients give away."""
    if head is None:
        sent = sent_labels(view, truth)
        return ([] if sent is None else [sent]), []
    seen = on_device(view.of(Kind.FEATURES, Kind.FEATURE_GRAD, Kind.WEIGHTS), device)
    return infer_recorded(seen, truth, head, config.head, config.loss, seed=config.seed, stages=stages)


def _recorded(
    view: Transcript,
    transcript: Path,
    model: str,
    truth: bool,
    inversion: Sequence[RecordedInversionRow],
    labels: Sequence[RecordedLabelRow],
    units: InputRange,
    notes: tuple[str, ...],
) -> RecordedRow:
    parties = {name for header in view.headers for name in (header.sender, header.receiver)}
    return RecordedRow(
        transcript=str(transcript),
        observer=view.observer,
        model=model,
        setup=_setup({header.kind for header in view.headers}),
        others=len(parties - {view.observer}),
        messages=len(view),
        steps=len(view.steps),
        first_step=view.steps[0],
        last_step=view.steps[-1],
        truth=truth,
        input_range=units.bounds,
        notes=notes,
        inversion=tuple(inversion),
        labels=tuple(labels),
    )


def _setup(kinds: Collection[Kind]) -> Literal["a", "b", "c"] | None:
    if Kind.LABELS in kinds:
        return "a"
    if Kind.FEATURES in kinds:
        return "c" if Kind.SMASHED in kinds else "b"
    return None
