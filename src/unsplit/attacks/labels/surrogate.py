"""Labels from cut gradients alone, at any batch size and depth of the head: a clone head that explains them."""

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unsplit.attacks._threat_model import attack
from unsplit.attacks.labels._observed import UNDECIDED, checked_head, features_with_gradients
from unsplit.attacks.labels._simulated import directions, distinct, nearest_labels, simulated
from unsplit.attacks.labels.cut_gradient import GroupingConfig, grouped
from unsplit.attacks.progress import Progress, silent
from unsplit.errors import check_at_least_one, check_not_negative
from unsplit.knowledge import ClientLoss, HeadArchitecture, LabelSpace
from unsplit.losses import LossSpec
from unsplit.optim import OptimizerSpec
from unsplit.types import InferredLabels, Kind, Transcript

_STEEPEST = 1.0
"""Length to which the gradient of the clone's weights is clipped: so one unusual batch does not spoil the clone."""


@dataclass(frozen=True, kw_only=True)
class SurrogateConfig:
    """Settings of the surrogate.

    Args:
        window: number of samples, from the first step on, that are labelled together before the clone follows the
            rest; at least 1.
        window_steps: number of steps after which the window ends if it has `window_least` samples, at least 1: in
            small batches the client's head moves on meanwhile.
        window_least: smallest number of samples in a window that ends early, at least 1.
        starts: number of first labellings of the window that are tried, at least 1: its groups, and every other time
            those of the gradients less their mean, since outputs judged one by one (bce, mse) share a part that says
            nothing. The one counts whose clone explains the window best.
        rounds: number of rounds in which the clone is fitted and the window is labelled anew, at least 1.
        passes: number of passes over the window in the first round, at least 1; the other rounds have a third of them.
        block: number of samples that are labelled together after the window; smaller steps are joined. At least 1.
        steps: number of steps of the clone's optimiser after each block, at least 1.
        look_back: number of blocks after which the clone goes back to the first samples once, to label them anew by
            what it has learned since; 0 for never.
        memory: number of newest blocks from which these steps draw, every other time the newest one; at least 1.
        prior: weight of the client's loss at the clone's outputs, 0 or more: the clone should not only explain the
            gradients but have learned the labels, as the client's head has.
        optimizer: optimiser of the clone head's weights.
        grouping: settings of the grouping that gives the window its first labels.

    Raises:
        InputError: a number out of its range.
    """

    window: int = 768
    window_steps: int = 12
    window_least: int = 256
    starts: int = 2
    rounds: int = 6
    passes: int = 30
    block: int = 64
    steps: int = 20
    look_back: int = 48
    memory: int = 8
    prior: float = 0.03
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    grouping: GroupingConfig = field(default_factory=GroupingConfig)

    def __post_init__(self) -> None:
        check_at_least_one(
            self, "window", "window_steps", "window_least", "starts", "rounds", "passes", "block", "steps", "memory"
        )
        check_not_negative(self, "look_back", "prior")


@attack(goal="the client's labels up to their names, and its head", reads=(Kind.FEATURES, Kind.FEATURE_GRAD))
def infer_by_surrogate(
    view: Transcript,
    architecture: HeadArchitecture,
    space: LabelSpace,
    loss: ClientLoss,
    config: SurrogateConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> InferredLabels:
    """Fit a clone head and the labels to the observed cut gradients, and follow the client's head as it trains.

    The first samples are grouped by the direction of their gradients; then the clone is fitted to these labels and the
    labels to the clone, in turns. After that every block of samples gets the labels whose gradients on the clone are
    the nearest, and the clone takes some steps towards them, as the client did.

    Threat model:
        An honest-but-curious server of setup (b) or (c) that knows the head's architecture, the number of classes and
        the loss, and sees what it needs for its own step. It knows no label and no weight, so the classes' names stay
        unknown: `name_groups` finds them where a few labels are known.

    Objective:
        min over the clone's weights w and labels y of
        mean(1 - cos(dL(f_w(h), y)/dh, observed dL/dh)) + prior * L(f_w(h), y).

    Args:
        view: transcript with the features and the cut gradients [batch, ...] of every step, of any batch size.
        architecture: layers of the client's head.
        space: number of classes of the labels.
        loss: loss that the client minimises; neither its averaging nor its class weights matter, since only directions
            are compared.
        config: settings of the surrogate.
        generator: draws the clone's first weights, the groups' first centres and the order of the samples.
        progress: is called with the number of steps done, of all steps, and the mean of 1 - cos.

    Returns:
        Groups, unnamed, of all samples in transcript order (`UNDECIDED` where a gradient is zero, and everywhere where
        all gradients are the same or zero), their margins, and the clone head as it is after the last step.

    Raises:
        InputError: features or cut gradients that are missing, do not fit together or are not finite, fewer samples
            than classes, or a head that does not take the features or has other outputs than the classes need.

    Reference:
        Kariyappa and Qureshi, "ExPLoit: extracting private labels in split learning", 2023.

    Departures:
        ExPLoit learns label logits for every sample beside one surrogate head, with a prior on how often each label
        occurs. Here labels are the nearest, the surrogate follows the client's head over the steps, and the prior is
        that the head has learned the labels.
    """
    blocks, total = _blocks(view, config), len(view.of(Kind.FEATURES).steps)
    window = next(blocks)
    follower = _best_start(window, architecture, space, loss.spec, config, generator)
    for number, block in enumerate(blocks, start=1):
        follower.follow(block)
        if number == config.look_back:
            follower.look_back()
        progress(block.steps, total, follower.misfit)
    follower.look_back()
    return InferredLabels(
        labels=torch.cat(follower.labels).cpu(),
        named=False,
        clone=follower.clone if follower.decided else None,
        margin=torch.cat(follower.margins).cpu(),
    )


class _Block(NamedTuple):
    """Samples of one or more steps; `steps` have been read up to their end."""

    features: Tensor
    observed: Tensor
    usable: Tensor
    steps: int


def _blocks(view: Transcript, config: SurrogateConfig) -> Iterator[_Block]:
    """The window, and then the blocks, each of at least so many samples with a gradient (the last of fewer)."""
    parts: list[tuple[Tensor, Tensor]] = []
    wanted, count, total = config.window, 0, len(view.of(Kind.FEATURES).steps)
    least = min(config.window, config.window_least)
    for step, (features, gradients) in enumerate(features_with_gradients(view), start=1):
        parts.append((features, directions(gradients)))
        count += int(parts[-1][1].any(1).sum())
        long = wanted == config.window and step >= config.window_steps and count >= least
        if count >= wanted or long or step == total:
            features, observed = (torch.cat(values) for values in zip(*parts, strict=True))
            yield _Block(features, observed, observed.any(1), step)
            parts, wanted, count = [], config.block, 0


def _best_start(
    window: _Block,
    architecture: HeadArchitecture,
    space: LabelSpace,
    loss: LossSpec,
    config: SurrogateConfig,
    generator: torch.Generator,
) -> "_Follower":
    """The clone that explains the window best, of several that began with other weights and other groups."""
    best = None
    for number in range(config.starts):
        clone = checked_head(architecture, space, window.features[:1], generator, loss=loss).eval()
        follower = _Follower(clone, space, loss, config, generator)
        follower.begin(window, centred=number % 2 == 1)
        if best is None or follower.misfit < best.misfit:
            best = follower
    assert best is not None
    return best


_NOTHING = (torch.empty(0, dtype=torch.int64), torch.empty(0))
"""Labels and margins of no sample."""


class _Follower:
    """A clone head that follows the client's head, and the labels that it has explained so far."""

    def __init__(
        self, clone: nn.Module, space: LabelSpace, loss: LossSpec, config: SurrogateConfig, generator: torch.Generator
    ) -> None:
        self.clone, self._classes, self._loss, self._config = clone, space.classes, loss, config
        self._generator = generator
        self._parameters = list(clone.parameters())
        self._optimizer = config.optimizer.build(self._parameters)
        self._memory: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=config.memory)
        self._first: list[_Block] = []
        self.decided = False
        self.misfit = float("nan")
        self.labels: list[Tensor] = []
        self.margins: list[Tensor] = []

    def begin(self, window: _Block, *, centred: bool) -> None:
        """Label the window: groups at first, and then the clone fitted to the labels and the labels to the clone."""
        features, observed = window.features[window.usable], window.observed[window.usable]
        self.decided = len(observed) >= self._classes and distinct(observed)
        if not self.decided:
            self._keep(window, *_NOTHING)
            return
        config = self._config
        apart = directions(observed - observed.mean(0)) if centred else observed
        labels = grouped(apart, self._classes, config.grouping, self._generator)
        for number in range(config.rounds):
            for _ in range(config.passes if number == 0 else max(config.passes // 3, 1)):
                order = torch.randperm(len(labels), generator=self._generator)
                for batch in torch.split(order, config.block):
                    self._step(features[batch], observed[batch], labels[batch])
            labels, margins = self._nearest(features, observed)
        self._keep(window, labels, margins)
        self._first.append(window)

    def follow(self, block: _Block) -> None:
        """Label the next samples, and take the clone where they have taken the client's head."""
        if not self.decided or not bool(block.usable.any()):
            self._keep(block, *_NOTHING)
            return
        self._keep(block, *self._nearest(block.features[block.usable], block.observed[block.usable]))
        if len(self.labels) <= self._config.look_back + 1:
            self._first.append(block)
        self._learn()

    def look_back(self) -> None:
        """Follow the first blocks back to the window, once, and label them anew; the clone stays where it is."""
        if not self._first or not self._config.look_back:
            return
        first, self._first = self._first, []
        rest, kept, memory = self.labels[len(first) :], self.margins[len(first) :], list(self._memory)
        state = copy.deepcopy((self.clone.state_dict(), self._optimizer.state_dict()))
        self.labels, self.margins = [], []
        for block in reversed(first):
            self._keep(block, *self._nearest(block.features[block.usable], block.observed[block.usable]))
            self._learn()
        self.labels, self.margins = [*reversed(self.labels), *rest], [*reversed(self.margins), *kept]
        self.clone.load_state_dict(state[0])
        self._optimizer.load_state_dict(state[1])
        self._memory.extend(memory)

    def _learn(self) -> None:
        """Steps towards the labels of the newest block, and of those before it."""
        for number in range(self._config.steps):
            newest = number % 2 == 0
            drawn = -1 if newest else int(torch.randint(len(self._memory), (), generator=self._generator))
            chosen = self._memory[drawn]
            batch = torch.randperm(len(chosen[2]), generator=self._generator)[: self._config.block]
            self._step(*(values[batch] for values in chosen))

    def _step(self, features: Tensor, observed: Tensor, labels: Tensor) -> None:
        made, outputs = simulated(self.clone, features, labels, self._loss)
        misfit = (1 - (made * observed).sum(1)).mean()
        self._optimizer.zero_grad()
        torch.autograd.backward(misfit + self._config.prior * self._loss(outputs, labels))
        nn.utils.clip_grad_norm_(self._parameters, _STEEPEST)
        self._optimizer.step()

    def _nearest(self, features: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Each sample's best label, and by how much its cosine is above the next best's."""
        size = self._config.block
        parts = zip(torch.split(features, size), torch.split(observed, size), strict=True)
        found = [nearest_labels(self.clone, h, g, self._classes, self._loss) for h, g in parts]
        labels, cosines, margins = (torch.cat(each) for each in zip(*found, strict=True))
        self.misfit = 1 - float(cosines.mean())
        return labels, margins

    def _keep(self, block: _Block, labels: Tensor, margins: Tensor) -> None:
        every = torch.full((len(block.usable),), UNDECIDED, device=block.usable.device)
        sure = torch.zeros(len(every), device=every.device)
        if len(labels):
            every[block.usable], sure[block.usable] = labels, margins
            self._memory.append((block.features[block.usable], block.observed[block.usable], labels))
        self.labels.append(every)
        self.margins.append(sure)
