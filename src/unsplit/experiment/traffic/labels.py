"""Label attacks on a stored transcript, by name."""

import csv
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from unsplit.attacks import Progress, readable, silent
from unsplit.attacks.labels import (
    GroupingConfig,
    MatchingConfig,
    SurrogateConfig,
    group_by_cut_gradient,
    group_by_features,
    head_weight_gradients,
    infer_by_sign,
    infer_by_surrogate,
    infer_from_batch_gradients,
    infer_from_gradient_direction,
    infer_from_gradient_norm,
    infer_from_handed_weights,
    infer_from_known_samples,
    infer_from_weight_gradients,
    name_groups,
)
from unsplit.devices import device as checked_device
from unsplit.errors import InputError, unknown_name
from unsplit.files import explained, writable_folder, write_tensors, write_text
from unsplit.knowledge import (
    ClientLoss,
    ClientOptimizer,
    HeadArchitecture,
    HeadWeightGradient,
    KnownSamples,
    LabelSpace,
)
from unsplit.losses import LossSpec
from unsplit.models import build, split_head
from unsplit.optim import OptimizerSpec
from unsplit.protocol import load_transcript
from unsplit.randomness import generator
from unsplit.results import Row
from unsplit.types import InferredLabels, Kind, Transcript


@dataclass(frozen=True, kw_only=True)
class LabelRequest:
    """Infer labels.

    Args:
        attack: a name in `LABEL_ATTACKS`.
        model: the network's architecture, by name or "module:function".
        head: weighted layers of the client's head.
        classes: how many there are.
        loss: the client's.
        optimizer: the client's; read by attacks on weight gradients.
        known: a CSV file of positions (among the judged samples, from 0) and labels that are known, or None.
        seed: of the attack.
        device: where it computes.

    Raises:
        InputError: an unknown attack.
    """

    attack: str = "surrogate"
    model: str = "mnist-net"
    head: int = 1
    classes: int = 10
    loss: LossSpec = field(default_factory=LossSpec)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    known: Path | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.attack not in LABEL_ATTACKS:
            raise unknown_name("label attack", self.attack, LABEL_ATTACKS)


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


class _Attacker:
    """A transcript, and what the request says that the attacker knows; models are built when they are asked for."""

    def __init__(self, view: Transcript, request: LabelRequest, progress: Progress) -> None:
        self.view, self.request, self.progress = view, request, progress
        self.space = LabelSpace(classes=request.classes)
        self.loss = ClientLoss(spec=request.loss)
        self.known = None if request.known is None else read_known(request.known)

    @property
    def generator(self) -> torch.Generator:
        return generator(self.request.seed)

    @property
    def architecture(self) -> HeadArchitecture:
        return HeadArchitecture.of(split_head(build(self.request.model, generator=generator(0)), self.request.head)[1])

    @functools.cached_property
    def gradients(self) -> HeadWeightGradient:
        return head_weight_gradients(self.view, ClientOptimizer(spec=self.request.optimizer))

    def groups(self, method: str) -> InferredLabels:
        config = GroupingConfig(method=method)
        return group_by_cut_gradient(self.view, self.space, config, generator=self.generator)

    def nearest(self) -> InferredLabels:
        if self.known is None:
            raise InputError("The attack 'nearest' compares with known samples; name a file of them with --known.")
        return infer_from_known_samples(self.view, self.known)

    def surrogate(self) -> InferredLabels:
        return infer_by_surrogate(
            self.view,
            self.architecture,
            self.space,
            self.loss,
            SurrogateConfig(),
            generator=self.generator,
            progress=self.progress,
        )

    def matching(self) -> InferredLabels:
        config = MatchingConfig(clone_optimizer=self.request.optimizer)
        return infer_from_weight_gradients(
            self.view, self.gradients, self.architecture, self.space, config, generator=self.generator
        )


LABEL_ATTACKS: dict[str, Callable[[_Attacker], InferredLabels]] = {
    "surrogate": _Attacker.surrogate,
    "k-means": lambda attacker: attacker.groups("k-means"),
    "spectral": lambda attacker: attacker.groups("spectral"),
    "features": lambda attacker: group_by_features(
        attacker.view, attacker.space, GroupingConfig(), generator=attacker.generator
    ),
    "nearest": _Attacker.nearest,
    "norm": lambda attacker: infer_from_gradient_norm(attacker.view, attacker.space),
    "direction": lambda attacker: infer_from_gradient_direction(attacker.view, attacker.space),
    "sign": lambda attacker: infer_by_sign(attacker.view, attacker.gradients, attacker.space),
    "matching": _Attacker.matching,
    "least-squares": lambda attacker: infer_from_batch_gradients(attacker.view, attacker.gradients, attacker.space),
    "handed-weights": lambda attacker: infer_from_handed_weights(
        attacker.view, attacker.architecture, attacker.space, attacker.loss
    ),
}
"""The label attacks by the name that the command line has for them."""

_FROM_WEIGHT_GRADIENTS = ("sign", "matching", "least-squares")


def attack_labels(
    transcript: Path | Transcript, request: LabelRequest, folder: Path, *, progress: Progress = silent
) -> LabelFindings:
    """Infer the labels of a transcript, or of one stored in a folder; leaves `attack.json` in `folder`, and the clone
    head's weights where the attack has one.

    Raises:
        UnsplitError: a transcript that cannot be read or lacks what the attack needs.
    """
    stored = load_transcript(transcript) if isinstance(transcript, Path) else transcript
    view = readable(answered(stored)).to(checked_device(request.device))
    attacker = _Attacker(view, request, progress)
    found = LABEL_ATTACKS[request.attack](attacker)
    if attacker.known is not None and not found.named:
        found = name_groups(found, attacker.known, attacker.space)
    if request.attack in _FROM_WEIGHT_GRADIENTS:
        steps = attacker.gradients.steps
    else:
        steps = view.of(Kind.FEATURES if request.attack == "features" else Kind.FEATURE_GRAD).steps
    head = None
    if found.clone is not None:
        head = "head.safetensors"
        write_tensors(writable_folder(folder) / head, dict(found.clone.state_dict()))
    findings = LabelFindings(
        attack=request.attack,
        named=found.named,
        known=0 if attacker.known is None else len(attacker.known.indices),
        steps=steps,
        undecided=int((found.labels < 0).sum()),
        margin=None if found.margin is None else float(found.margin[found.labels >= 0].mean()),
        head=head,
        labels=tuple(found.labels.tolist()),
    )
    write_text(writable_folder(folder) / "attack.json", findings.model_dump_json(indent=1) + "\n")
    return findings


def answered(view: Transcript) -> Transcript:
    """A view without features that wait for their cut gradients: one that is still being recorded, or was cut off, may
    end within a step.
    """
    answers = view.of(Kind.FEATURE_GRAD).steps
    return view.where(lambda header: header.kind is not Kind.FEATURES or not answers or header.step <= answers[-1])


def read_known(path: Path) -> KnownSamples:
    """Known samples from a CSV file with a position and a label on each line; a first line of words is skipped.

    Raises:
        InputError: a line that is not two whole numbers.
        StorageError: it cannot be read.
    """
    try:
        with explained(path), path.open(newline="", encoding="utf-8-sig") as stream:
            lines = [line for line in csv.reader(stream) if line]
        if lines and not any(letter.isdigit() for letter in "".join(lines[0])):
            lines = lines[1:]
        pairs = [(int(index), int(label)) for index, label in lines]
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path} is not a list of known samples; write a position and a label on each line, for example 12,3."
        ) from error
    return KnownSamples(indices=tuple(index for index, _ in pairs), labels=tuple(label for _, label in pairs))
