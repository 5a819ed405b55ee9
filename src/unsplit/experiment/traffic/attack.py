"""Attacks on a stored transcript by somebody who has nothing else: no truth, so no scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from unsplit.attacks import Progress, readable, silent
from unsplit.attacks.labels import LABEL_ATTACKS
from unsplit.devices import decoder_arithmetic
from unsplit.devices import device as checked_device
from unsplit.errors import unknown_name
from unsplit.experiment.known_weights import sent_in_training
from unsplit.experiment.label_attacker import LabelAttacker
from unsplit.experiment.traffic.attacker import DIGITS, Attacker
from unsplit.experiment.traffic.inversion import inversions
from unsplit.experiment.traffic.labels import answered, read_known
from unsplit.files import writable_folder, write_tensors, write_text
from unsplit.models import split_head
from unsplit.optim import OptimizerSpec
from unsplit.protocol import load_transcript
from unsplit.ranges import UNIT
from unsplit.results import Row
from unsplit.types import Kind, Transcript

GOALS = ("inputs", "labels")


@dataclass(frozen=True, kw_only=True)
class AttackConfig(Attacker):
    """One attack on recorded traffic, by who knows what an `Attacker` says.

    Args:
        goal: "inputs" for the inputs and the client's first layers, or "labels".
        model: the network's architecture, by name or "module:function".
        preset: the preset of the inversion; with known weights the white box is run in its place.
        last: invert the smashed data of the last so many steps that had samples; they should have seen the same
            weights, so 1 for a transcript of training.
        label_attack: a name in `LABEL_ATTACKS`.
        classes: the number of classes.
        optimizer: the client's optimiser; read by attacks on weight gradients.
        known: a CSV file of positions (among the judged samples, from 0) and labels that are known, or None.

    Raises:
        InputError: an unknown goal, attack or preset.
    """

    goal: str = "inputs"
    model: str | None = "mnist-net"
    preset: str = "joint"
    last: int = 1
    label_attack: str = "surrogate"
    classes: int = 10
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    known: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.goal not in GOALS:
            raise unknown_name("goal", self.goal, GOALS)
        if self.label_attack not in LABEL_ATTACKS:
            raise unknown_name("label attack", self.label_attack, LABEL_ATTACKS)


class InversionFindings(Row):
    """The contents of `attack.json` after an inversion; the tensors are in `reconstruction.safetensors`."""

    goal: Literal["inputs"] = "inputs"
    inputs: int
    residual: float
    sign: str
    decided_by: str | None = None
    sure: bool | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    seconds: float
    tensors: str


class LabelFindings(Row):
    """The contents of `attack.json` after label inference; -1 stands for "undecided"."""

    goal: Literal["labels"] = "labels"
    attack: str
    named: bool
    known: int
    steps: tuple[int, ...]
    undecided: int
    margin: float | None
    head: str | None
    labels: tuple[int, ...]


Findings = InversionFindings | LabelFindings


def attack_recorded(
    transcript: Path | Transcript,
    config: AttackConfig,
    folder: Path,
    *,
    training: bool | None = None,
    progress: Progress = silent,
) -> Findings:
    """Attack a transcript, or one that is stored in a folder; leaves `attack.json` in `folder`, the inputs and the
    clones' weights in `reconstruction.safetensors`, or the clone head's weights in `head.safetensors` where the attack
    has one.

    Args:
        transcript: the recording, which is only read.
        config: the attack, and what is known.
        folder: the folder for the results, which is made if it does not exist.
        training: whether the recording is of a training; None for what its messages tell.
        progress: called while the attack runs.

    Raises:
        UnsplitError: a transcript that cannot be read or lacks what the attack needs, or an architecture that does not
            fit it.
    """
    stored = load_transcript(transcript) if isinstance(transcript, Path) else transcript
    found: Findings
    if config.goal == "inputs":
        found, tensors = _inputs(stored, config, training, progress)
        name: str | None = found.tensors
    else:
        found, tensors = _labels(stored, config, progress)
        name = found.head
    if name is not None:
        write_tensors(writable_folder(folder) / name, tensors)
    write_text(writable_folder(folder) / "attack.json", found.model_dump_json(indent=1) + "\n")
    return found


def _inputs(
    stored: Transcript, config: AttackConfig, training: bool | None, progress: Progress
) -> tuple[InversionFindings, Mapping[str, Tensor]]:
    device = checked_device(config.device)
    shape = config.input_shape or DIGITS
    view = readable(stored.of(Kind.SMASHED)).last(config.last)
    (attack,) = inversions(
        view,
        config.network(shape),
        (shape, config.input_range or UNIT),
        config,
        (config.preset,) if config.known_weights is None else (),
        device=device,
        training=sent_in_training(stored) if training is None else training,
    )
    found, seconds = attack(view, seed=config.seed, device=device, progress=progress)
    tensors = {"inputs": found.inputs}
    for number, clone in enumerate(found.clones):
        tensors |= {f"clone{number}/{name}": value for name, value in clone.state_dict().items()}
    findings = InversionFindings(
        inputs=len(found.inputs),
        residual=float(found.residual.mean()),
        sign=found.sign.value,
        decided_by=None if found.decided_by is None else found.decided_by.value,
        sure=found.sure,
        precision=decoder_arithmetic(config.reduced_precision, device),
        seconds=seconds,
        tensors="reconstruction.safetensors",
    )
    return findings, tensors


def _labels(stored: Transcript, config: AttackConfig, progress: Progress) -> tuple[LabelFindings, Mapping[str, Tensor]]:
    known = None if config.known is None else read_known(config.known)
    attacker = LabelAttacker(
        view=readable(answered(stored)).to(checked_device(config.device)),
        head=lambda: split_head(config.network(config.input_shape), config.head)[1],
        classes=config.classes,
        optimizer=config.optimizer,
        loss=config.loss,
        known=known,
        seed=config.seed,
    )
    found = attacker.infer(config.label_attack, progress=progress)
    if known is not None and not found.named:
        found = attacker.named(found, known)
    findings = LabelFindings(
        attack=config.label_attack,
        named=found.named,
        known=0 if known is None else len(known.indices),
        steps=attacker.steps(config.label_attack),
        undecided=int((found.labels < 0).sum()),
        margin=None if found.margin is None else float(found.margin[found.labels >= 0].mean()),
        head=None if found.clone is None else "head.safetensors",
        labels=tuple(found.labels.tolist()),
    )
    return findings, {} if found.clone is None else dict(found.clone.state_dict())
