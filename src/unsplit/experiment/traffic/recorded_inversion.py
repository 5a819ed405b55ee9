"""Inversion of the last batch in recorded traffic, and its scores where the truth is known."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from unsplit.attacks import Progress
from unsplit.attacks.he2019 import WhiteBoxConfig, invert_white_box
from unsplit.attacks.inversion import InversionConfig, attack_of, invert
from unsplit.experiment.inversion import scores_against
from unsplit.experiment.threats import described
from unsplit.experiment.traffic.truth import RecordedTruth
from unsplit.knowledge import ClientArchitecture, ClientWeights
from unsplit.randomness import generator
from unsplit.ranges import InputRange
from unsplit.results import PictureScores, RecordedInversionRow, ThreatModelRow
from unsplit.types import Kind, Message, Reconstruction, Transcript

NEAR_SAMPLES = 16
"""Smashed samples for which attacks that learn from many are given earlier steps, where the batch has fewer."""
NEAR_STEPS = 16
"""The most steps that they are given, the attacked one among them."""


class Inversion(NamedTuple):
    """The inversions of one batch."""

    rows: tuple[RecordedInversionRow, ...] = ()
    pictures: tuple[Tensor, ...] = ()
    originals: Tensor | None = None
    threats: tuple[ThreatModelRow, ...] = ()


class _Batch(NamedTuple):
    """The batch that is attacked, and what its pictures are compared with."""

    step: int
    samples: int
    originals: Tensor | None
    mean_input: Tensor | None

    @classmethod
    def of(cls, smashed: Transcript, truth: RecordedTruth | None, units: InputRange) -> "_Batch":
        """The last batch, or the last of which the truth is known, its inputs from 0 to 1."""
        step = smashed.steps[-1] if truth is None else truth.last_step(smashed)
        samples = len(smashed.between(step, step).tensor(Kind.SMASHED))
        if truth is None or truth.inputs is None:
            return cls(step, samples, None, None)
        inputs = units.to_unit(truth.inputs)
        return cls(step, samples, inputs[truth.of_step(step, samples)], inputs.mean(0))

    def scores(self, pictures: Tensor) -> PictureScores | None:
        """The scores, where the truth is known."""
        if self.originals is None or self.mean_input is None:
            return None
        return PictureScores(**scores_against(pictures, self.originals, self.mean_input))


def invert_recorded(
    smashed: Transcript,
    truth: RecordedTruth | None,
    architecture: ClientArchitecture,
    cut: tuple[int, str],
    presets: Mapping[str, InversionConfig],
    weights: tuple[str, ClientWeights, WhiteBoxConfig] | None = None,
    *,
    seed: int,
    device: torch.device,
    stages: Callable[[str], Progress],
) -> Inversion:
    """Invert the last batch of a recording, or the last of which the truth is known.

    Args:
        smashed: the recorded smashed data.
        truth: scores the pictures; their mean stands for that of the training inputs in the trivial guesses.
        architecture: of the client's part, all that attacks get beside the smashed data.
        cut: depth and name of its last module.
        presets: settings of the attack, by their names.
        weights: name of the white box's preset, the weights that it knows, and its settings; None to leave it out.
        seed: of it.
        device: where it computes.
        stages: follows the progress.

    Raises:
        InputError: smashed data that the architecture cannot have made, or a truth of another training.
    """
    units = architecture.input_range
    batch, rows, pictures = _Batch.of(smashed, truth, units), [], []
    alone = smashed.between(batch.step, batch.step)
    tried = [
        (
            name,
            near(smashed, batch.step, settings),
            functools.partial(invert, architecture=architecture, config=settings),
        )
        for name, settings in presets.items()
    ]
    if weights is not None:
        tried.append((weights[0], alone, functools.partial(invert_white_box, weights=weights[1], config=weights[2])))
    for name, seen, run in tried:
        progress = stages(f"inverting step {batch.step}, {name}")
        started = time.perf_counter()
        found = run(on_device(seen, device), generator=generator(seed), progress=progress)
        seconds = time.perf_counter() - started
        pictures.append(units.to_unit(found.inputs[-batch.samples :].cpu()))
        rows.append(_row(found, batch, seen, cut, name, seconds, batch.scores(pictures[-1])))
    threats = tuple(described(attack_of(settings)) for settings in presets.values())
    threats += () if weights is None else (described(invert_white_box),)
    return Inversion(tuple(rows), tuple(pictures), batch.originals, threats)


def _row(
    found: Reconstruction,
    batch: _Batch,
    seen: Transcript,
    cut: tuple[int, str],
    name: str,
    seconds: float,
    scores: PictureScores | None,
) -> RecordedInversionRow:
    return RecordedInversionRow(
        depth=cut[0],
        cut=cut[1],
        preset=name,
        step=batch.step,
        samples=batch.samples,
        steps=len(seen.steps),
        smashed=len(found.inputs),
        residual=float(found.residual[-batch.samples :].mean()),
        sign=found.sign.value,
        agreement=found.agreement,
        seconds=seconds,
        pictures=f"pictures/step{batch.step}-depth{cut[0]}-{name}.png",
        scores=scores,
    )


def near(smashed: Transcript, step: int, settings: InversionConfig) -> Transcript:
    """What an attack with these settings is given to invert the batch of `step`, which comes last in it.

    `joint` and the paper's presets explain all that they see by one clone, so they get this batch alone: no other was
    made by the same weights. The amortised presets share a decoder as well and want more samples. In an audit that
    trains, thousands pass through the same weights; here the weights move with every step. What helps is enough of the
    steps just before to have a handful of samples, and no more: on the digits `strong-quick` ends at an error of .016
    for a batch of 2 alone, .005 with 4 steps and .006 with 64; of .0081 for a batch of 8 alone, .0097 with 4 steps and
    .016 with 32, the weights having moved by 4 %; a batch of 64 alone is as good as with 16 steps, and better than with
    32 (.021 against .030, 7 %).
    """
    if not settings.samples_wanted:
        return smashed.between(step, step)
    taken: list[Message] = []
    for earlier in reversed(smashed.between(0, step).last(NEAR_STEPS).messages[:]):
        taken.insert(0, earlier)
        if sum(len(message.tensor) for message in taken) >= NEAR_SAMPLES:
            break
    return Transcript(observer=smashed.observer, messages=taken)


def on_device(view: Transcript, device: torch.device) -> Transcript:
    """The view on a device; on the processor it stays on disk until it is read."""
    return view if device.type == "cpu" else view.to(device)
