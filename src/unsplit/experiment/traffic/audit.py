"""An audit of recorded traffic: what attacks make of a transcript that a real server kept. Nothing is trained.

Attacks get the recording and the architecture. The truth, where a client left it, goes to metrics only; it also says
which step is attacked, so that there is something to compare with, and stands for the few labels that a server may
know, where groups are named.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unsplit.attacks import Progress, class_numbers, readable, silent
from unsplit.attacks.inversion import PRESETS
from unsplit.attacks.labels import LABEL_ATTACKS
from unsplit.devices import device as checked_device
from unsplit.errors import InputError, unknown_name
from unsplit.experiment.inversion import cut_name, presets_for, scores_against
from unsplit.experiment.label_attacker import LabelAttacker
from unsplit.experiment.provenance import provenance
from unsplit.experiment.threats import described
from unsplit.experiment.traffic.attacker import DIGITS, Attacker
from unsplit.experiment.traffic.inversion import Inversion, inversions, near
from unsplit.experiment.traffic.labels import answered, classes_of
from unsplit.experiment.traffic.scores import label_scores
from unsplit.experiment.traffic.truth import RecordedTruth, about_the_range, range_of, read_truth, shape_of
from unsplit.knowledge import KnownSamples
from unsplit.models import default_for, dense_note, depth_of, split, split_head
from unsplit.protocol import load_transcript
from unsplit.protocol.store import read_manifest
from unsplit.ranges import UNIT, InputRange
from unsplit.results import (
    AuditResult,
    PictureScores,
    RecordedInversionRow,
    RecordedLabelRow,
    RecordedRow,
    ThreatModelRow,
)
from unsplit.types import InferredLabels, Kind, Transcript

SENT = "sent"
"""What stands for an attack where the client sends its labels."""


@dataclass(frozen=True, kw_only=True)
class RecordedConfig(Attacker):
    """Settings of an audit of recorded traffic, attacked by who knows what an `Attacker` says.

    Args:
        presets: the presets of the inversion attacks; with known weights the white box is run beside them.

    Raises:
        InputError: an unknown preset, or a setting of the precision that there is not.
    """

    presets: tuple[str, ...] = ("strong-quick", "joint")

    def __post_init__(self) -> None:
        super().__post_init__()
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
        transcript: the recording's folder, which is only read; the training may still be going on.
        config: what the attacker knows, and how it attacks.
        truth: a file that a client wrote; without it nothing is scored.
        command: what the report names as the command that makes it again.
        stages: gives a progress bar for a stage of the work, by its title.

    Raises:
        UnsplitError: a recording or a truth that cannot be read or used, or an architecture that does not fit them.
    """
    started = time.perf_counter()
    audit = _Audit(transcript, config, None if truth is None else read_truth(truth), stages)
    audit.invert()
    audit.infer_labels()
    result = AuditResult(
        inversion=(),
        labels=(),
        recorded=audit.row(),
        threat_models=tuple(dict.fromkeys(audit.threats)),
        provenance=provenance(
            command or f"audit_recorded({str(transcript)!r}, {config!r})",
            seed=config.seed,
            device=audit.device,
            precision=config.reduced_precision,
            started=started,
        ),
    )
    return RecordedAudit(
        result=result, originals=audit.originals, reconstructions=tuple(audit.pictures), input_range=audit.units
    )


class _Audit:
    """The attacks on one recording, their truth kept apart."""

    def __init__(
        self, transcript: Path, config: RecordedConfig, truth: RecordedTruth | None, stages: Callable[[str], Progress]
    ) -> None:
        self._transcript, self._config, self._truth, self._stages = transcript, config, truth, stages
        self.device = checked_device(config.device)
        self._recording = answered(load_transcript(transcript))
        self._view = readable(self._recording)
        if not len(self._view.of(Kind.SMASHED, Kind.FEATURE_GRAD)):
            raise InputError(
                f"{transcript} holds neither smashed data nor cut gradients, so there is nothing to attack; record a "
                "training until its first step is stored."
            )
        self._shape = shape_of(config.input_shape, truth) or DIGITS
        self._model = config.network(self._shape)
        self._head: nn.Module | None = None
        if len(self._view.of(Kind.FEATURE_GRAD)):
            self._head = split_head(self._model, config.head)[1]
            # A head that does not fit is better found now than after the inversion.
            self._classes = classes_of(self._view, self._head)
        self.units = range_of(config.input_range, truth, self._shape)
        self._presets, self._left_out = presets_for(config.presets, self._shape)
        self.originals: Tensor | None = None
        self.pictures: list[Tensor] = []
        self.threats: list[ThreatModelRow] = []
        self._inversions: list[RecordedInversionRow] = []
        self._labels: list[RecordedLabelRow] = []

    def invert(self) -> None:
        """Invert the last batch of smashed data, if there are any, or the last of which the truth is known; the mean of
        the truth's inputs stands for that of the training inputs in the trivial guesses.
        """
        smashed, truth, inputs = self._view.of(Kind.SMASHED), self._truth, (self._shape, self.units)
        if not len(smashed):
            return
        attacks = inversions(self._view, self._model, inputs, self._config, self._presets, device=self.device)
        step = smashed.steps[-1] if truth is None else truth.last_step(smashed)
        samples, mean_input = len(smashed.between(step, step).tensor(Kind.SMASHED)), None
        if truth is not None and truth.inputs is not None:
            true = self.units.to_unit(truth.inputs)
            self.originals, mean_input = true[truth.of_step(step, samples)], true.mean(0)
        for attack in attacks:
            row, pictures = self._inverted(
                attack, near(smashed, step, attack.settings.samples_wanted), samples, mean_input
            )
            self._inversions.append(row)
            self.pictures.append(pictures)
            self.threats.append(described(attack.attack, assumes=attack.settings.assumes(inputs[0])))

    def _inverted(
        self, attack: Inversion, seen: Transcript, samples: int, mean_input: Tensor | None
    ) -> tuple[RecordedInversionRow, Tensor]:
        """What one attack makes of the batch, which is the last `samples` samples that it sees."""
        depth, step, scores = depth_of(self._model, self._config.cut), seen.steps[-1], None
        progress = self._stages(f"inverting step {step}, {attack.name}")
        found, seconds = attack(seen, seed=self._config.seed, device=self.device, progress=progress)
        pictures = self.units.to_unit(found.inputs[-samples:].cpu())
        if self.originals is not None and mean_input is not None:
            scores = PictureScores(**scores_against(pictures, self.originals, mean_input))
        row = RecordedInversionRow(
            depth=depth,
            cut=cut_name(self._model, depth),
            preset=attack.name,
            step=step,
            samples=samples,
            steps=len(seen.steps),
            smashed=len(found.inputs),
            residual=float(found.residual[-samples:].mean()),
            sign=found.sign.value,
            agreement=found.agreement,
            decided_by=None if found.decided_by is None else found.decided_by.value,
            sure=found.sure,
            seconds=seconds,
            pictures=f"pictures/step{step}-depth{depth}-{attack.name}.png",
            scores=scores,
        )
        return row, pictures

    def infer_labels(self) -> None:
        """The labels that were sent (setup a), or those that cut gradients give away (setups b and c): from these
        alone, and where heads were handed over through the observer, from their weights too.
        """
        head = self._head
        if head is None:
            self._read_sent_labels()
            return
        seen = self._view.of(Kind.FEATURES, Kind.FEATURE_GRAD, Kind.WEIGHTS).to(self.device)
        attacker = LabelAttacker(
            view=seen, head=lambda: head, classes=self._classes, loss=self._config.loss, seed=self._config.seed
        )
        tried = ["surrogate"]
        handed = seen.of(Kind.WEIGHTS)
        if len(handed) and any(name.startswith("head.") for name in handed.messages[0].tensors):
            tried.append("handed-weights")
        for name in tried:
            run, started = LABEL_ATTACKS[name].attack, time.perf_counter()
            found = attacker.infer(name, progress=self._stages(f"inferring labels, {name}"))
            seconds = time.perf_counter() - started
            self._add_labels(run.__name__, found, seen.of(Kind.FEATURES), self._classes, self._config.head, seconds)
            # Where there is a truth, groups get their names from one known sample of each class.
            named = found.named or self._truth is None
            self.threats.append(described(run, *([] if named else [KnownSamples])))

    def _read_sent_labels(self) -> None:
        sent = self._view.of(Kind.LABELS)
        labels = class_numbers(sent.tensor(Kind.LABELS)) if len(sent) else None
        if labels is not None and not labels.is_floating_point() and labels.ndim == 1:
            found = InferredLabels(labels=labels, named=True)
            self._add_labels(SENT, found, sent, int(labels.max()) + 1, None, 0.0)

    def _add_labels(
        self, attack: str, found: InferredLabels, judged: Transcript, classes: int, head: int | None, seconds: float
    ) -> None:
        decided, truth = found.labels >= 0, self._truth
        row = RecordedLabelRow(
            attack=attack,
            head=head,
            steps=len(judged.steps),
            samples=len(found.labels),
            undecided=int((~decided).sum()),
            named=found.named,
            counts=tuple(torch.bincount(found.labels[decided].cpu(), minlength=classes).tolist()),
            margin=None if found.margin is None or not bool(decided.any()) else float(found.margin[decided].mean()),
            seconds=seconds,
            scores=() if truth is None else label_scores(found, judged, truth, classes),
        )
        self._labels.append(row)

    def row(self) -> RecordedRow:
        """The recording, and what the attacks made of it."""
        recording, kinds = self._recording, {header.kind for header in self._recording.headers}
        parties = {name for header in recording.headers for name in (header.sender, header.receiver)}
        dense = dense_note(split(self._model, self._config.cut)[0]) if self._inversions else None
        notes = (
            *self._left_out,
            *about_the_range(self._truth, self.units),
            *read_manifest(self._transcript).notes,
            *([] if dense is None else [dense]),
        )
        behind: Literal["b", "c"] = "c" if Kind.SMASHED in kinds else "b"
        return RecordedRow(
            transcript=str(self._transcript),
            observer=recording.observer,
            model=self._config.model or default_for(self._shape),
            setup="a" if Kind.LABELS in kinds else behind if Kind.FEATURES in kinds else None,
            others=len(parties - {recording.observer}),
            messages=len(recording),
            steps=len(recording.steps),
            first_step=recording.steps[0],
            last_step=recording.steps[-1],
            truth=self._truth is not None,
            input_range=self.units.bounds,
            notes=notes,
            inversion=tuple(self._inversions),
            labels=tuple(self._labels),
        )
