"""Who infers labels: what was seen of a training or is recorded, and what is known, as a label attack asks for it."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from unsplit.attacks import Progress, silent
from unsplit.attacks.labels import LABEL_ATTACKS, CloneHeadConfig, head_weight_gradients, name_groups, train_clone_head
from unsplit.errors import InputError
from unsplit.knowledge import (
    ClientLoss,
    ClientOptimizer,
    HeadArchitecture,
    HeadWeightGradient,
    Knowledge,
    KnownSamples,
    LabelSpace,
)
from unsplit.losses import LossSpec
from unsplit.optim import OptimizerSpec
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Transcript

_LAST = 300
"""Steps at the end whose features train a stolen head: those of earlier ones come from a body of the past."""
_BRIEFLY = CloneHeadConfig(epochs=5)
"""Training of a head that shall learn what noisy labels have in common, and not each of them by heart."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelAttacker:
    """What an attacker sees and knows for the attacks of `LABEL_ATTACKS`, each of which gets what it asks for.

    Args:
        view: the features, cut gradients and weights that were seen; no step's features wait for their cut gradients.
        head: gives the client's head, whose weights are not used; called when an attack asks for its architecture.
        classes: the number of classes.
        optimizer: the client's optimiser; read by attacks on weight gradients.
        loss: the client's loss.
        known: samples whose labels are known, or None.
        seed: the seed of all that attacks draw, each from the start.
    """

    view: Transcript
    head: Callable[[], nn.Module]
    classes: int
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    known: KnownSamples | None = None
    seed: int = 0

    @property
    def _space(self) -> LabelSpace:
        return LabelSpace(classes=self.classes)

    @functools.cached_property
    def _architecture(self) -> HeadArchitecture:
        return HeadArchitecture.of(self.head())

    @functools.cached_property
    def _gradients(self) -> HeadWeightGradient:
        return head_weight_gradients(self.view, ClientOptimizer(spec=self.optimizer))

    def _samples(self) -> KnownSamples:
        if self.known is None:
            raise InputError("The attack 'nearest' compares with known samples; name a file of them with `known`.")
        return self.known

    def infer(self, name: str, settings: object = None, *, progress: Progress = silent) -> InferredLabels:
        """What the attack of this name in `LABEL_ATTACKS` reads, from the knowledge in its signature.

        Args:
            name: name of the attack.
            settings: settings of the attack; None for those of its name.
            progress: called while the attack runs.

        Raises:
            InputError: a transcript that lacks messages, or knowledge that there is not.
        """
        made: dict[type[Knowledge], Callable[[], Knowledge]] = {
            ClientLoss: lambda: ClientLoss(spec=self.loss),
            ClientOptimizer: lambda: ClientOptimizer(spec=self.optimizer),
            HeadArchitecture: lambda: self._architecture,
            HeadWeightGradient: lambda: self._gradients,
            KnownSamples: self._samples,
            LabelSpace: lambda: self._space,
        }
        one = LABEL_ATTACKS[name]
        for kind in one.threat_model.knows:
            if kind not in made:
                raise InputError(f"The attack '{name}' wants {kind.means}, which attackers of labels are not given.")
        config = [] if one.settings is None else [settings or one.settings(self.optimizer)]
        offered = {"generator": generator(self.seed), "progress": progress}
        taken = {key: value for key, value in offered.items() if key in inspect.signature(one.attack).parameters}
        return one.attack(self.view, *(made[kind]() for kind in one.threat_model.knows), *config, **taken)

    def steps(self, name: str) -> tuple[int, ...]:
        """The steps whose samples the attack of this name judges."""
        model = LABEL_ATTACKS[name].threat_model
        if HeadWeightGradient in model.knows:
            return self._gradients.steps
        return self.view.of(Kind.FEATURE_GRAD if Kind.FEATURE_GRAD in model.reads else Kind.FEATURES).steps

    def named(self, found: InferredLabels, known: KnownSamples) -> InferredLabels:
        """Groups of samples with the names that some known samples give them."""
        return name_groups(found, known, self._space)

    def trained_head(self, labels: Tensor, config: CloneHeadConfig = _BRIEFLY) -> nn.Module:
        """A head trained on the observed features and the labels inferred for them, shape [samples]."""
        return train_clone_head(
            self.view, labels, self._architecture, self._space, config, generator=generator(self.seed)
        )

    def stolen_head(self, labels: Tensor) -> nn.Module:
        """A head trained on the last steps alone, whose features are the least out of date."""
        last = self.view.of(Kind.FEATURES).last(_LAST)
        return replace(self, view=last).trained_head(labels[-len(last.tensor(Kind.FEATURES)) :])
