"""Label inference from recorded traffic: the table of the attacks, and what an attacker knows for them."""

import csv
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import nn

from unsplit.attacks import Progress, silent, threat_model
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
)
from unsplit.errors import InputError
from unsplit.experiment.traffic.attacker import Attacker
from unsplit.files import explained
from unsplit.knowledge import (
    ClientLoss,
    ClientOptimizer,
    HeadArchitecture,
    HeadWeightGradient,
    Knowledge,
    KnownSamples,
    LabelSpace,
)
from unsplit.optim import OptimizerSpec
from unsplit.protocol import evaluated
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Transcript


class LabelAttack(NamedTuple):
    """A label attack, and the settings that suit a client with this optimiser; None for an attack without settings."""

    run: Callable[..., InferredLabels]
    settings: Callable[[OptimizerSpec], object] | None = None


LABEL_ATTACKS = {
    "surrogate": LabelAttack(infer_by_surrogate, lambda _: SurrogateConfig()),
    "k-means": LabelAttack(group_by_cut_gradient, lambda _: GroupingConfig(method="k-means")),
    "spectral": LabelAttack(group_by_cut_gradient, lambda _: GroupingConfig(method="spectral")),
    "features": LabelAttack(group_by_features, lambda _: GroupingConfig()),
    "nearest": LabelAttack(infer_from_known_samples),
    "norm": LabelAttack(infer_from_gradient_norm),
    "direction": LabelAttack(infer_from_gradient_direction),
    "sign": LabelAttack(infer_by_sign),
    "matching": LabelAttack(infer_from_weight_gradients, lambda optimizer: MatchingConfig(clone_optimizer=optimizer)),
    "least-squares": LabelAttack(infer_from_batch_gradients),
    "handed-weights": LabelAttack(infer_from_handed_weights),
}
"""The label attacks by the name that the command line has for them."""


class LabelView:
    """Recorded features and cut gradients, and what their attacker knows; models are built when an attack needs them.

    Args:
        view: the recording, of which no step waits for its cut gradients, on the device on which attacks compute.
        attacker: the knowledge and the settings of all attacks.
        head: gives the client's head, whose weights are not used.
        classes: the number of classes.
        optimizer: the client's optimiser; read by attacks on weight gradients.
        known: samples whose labels are known, or None.
    """

    def __init__(
        self,
        view: Transcript,
        attacker: Attacker,
        head: Callable[[], nn.Module],
        *,
        classes: int,
        optimizer: OptimizerSpec | None = None,
        known: KnownSamples | None = None,
    ) -> None:
        self._view, self._seed = view, attacker.seed
        self._optimizer = optimizer or OptimizerSpec()
        self._known: dict[type[Knowledge], Callable[[], Knowledge]] = {
            ClientLoss: lambda: ClientLoss(spec=attacker.loss),
            HeadArchitecture: lambda: HeadArchitecture.of(head()),
            HeadWeightGradient: lambda: self._gradients,
            KnownSamples: lambda: _needed(known),
            LabelSpace: lambda: LabelSpace(classes=classes),
        }

    @functools.cached_property
    def _gradients(self) -> HeadWeightGradient:
        return head_weight_gradients(self._view, ClientOptimizer(spec=self._optimizer))

    def infer(self, name: str, progress: Progress = silent) -> InferredLabels:
        """What the attack of this name in `LABEL_ATTACKS` reads, from the knowledge in its signature.

        Raises:
            InputError: a recording that lacks messages, or knowledge that there is not.
        """
        run, settings = LABEL_ATTACKS[name]
        known = [self._known[kind]() for kind in threat_model(run).knows]
        config = [] if settings is None else [settings(self._optimizer)]
        offered = {"generator": generator(self._seed), "progress": progress}
        taken = inspect.signature(run).parameters
        return run(self._view, *known, *config, **{key: value for key, value in offered.items() if key in taken})

    def steps(self, name: str) -> tuple[int, ...]:
        """The steps whose samples the attack of this name judges."""
        model = threat_model(LABEL_ATTACKS[name].run)
        if HeadWeightGradient in model.knows:
            return self._gradients.steps
        return self._view.of(Kind.FEATURE_GRAD if Kind.FEATURE_GRAD in model.reads else Kind.FEATURES).steps


def _needed(known: KnownSamples | None) -> KnownSamples:
    if known is None:
        raise InputError("The attack 'nearest' compares with known samples; name a file of them with `known`.")
    return known


def classes_of(view: Transcript, head: nn.Module) -> int:
    """How many classes a head tells apart that takes the recorded features; one output tells two.

    Raises:
        InputError: no features, or the head does not take them.
    """
    features = view.of(Kind.FEATURES)
    if not len(features):
        raise InputError("The recording holds cut gradients but no features; record a server, which has both.")
    seen = features.messages[0].tensor
    try:
        outputs = evaluated(head, seen[:1].cpu())
    except RuntimeError as error:
        raise InputError(
            f"The head does not take features of shape {tuple(seen.shape[1:])} ({str(error).splitlines()[0]}); name "
            "the model and the layers of the head (`head`) that the clients have."
        ) from error
    return max(2, outputs.shape[-1])


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
