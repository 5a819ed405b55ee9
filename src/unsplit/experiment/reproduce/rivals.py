"""The cells of the attacks that the paper compares UnSplit with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unsplit.attacks.collaborative import (
    ShadowConfig,
    StreamConfig,
    WhiteBoxConfig,
    invert_by_shadow,
    invert_by_shadow_without_data,
    invert_white_box,
    stream_black_box,
)
from unsplit.attacks.hijack import HijackConfig, Hijacker, hijack_feature_space
from unsplit.data import Dataset
from unsplit.experiment.inversion import Evaluation, observe_inference, picture_scores
from unsplit.experiment.reproduce.cells import Cell, ClientAttackCell, Row, Tensors, data, evaluation, network
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, ClientQueries, ClientWeights, OwnTop
from unsplit.metrics import accuracy, mse
from unsplit.models import split
from unsplit.optim import OptimizerSpec
from unsplit.protocol import (
    MaliciousServer,
    Recorder,
    SplitConfig,
    SplitTraining,
    evaluated,
    predicted,
    split_training,
)
from unsplit.protocol.segment import load_optimizer_tensors, optimizer_tensors
from unsplit.randomness import generator, numbered_seed

Collaborative = Literal["white box", "query-free, own data", "query-free, no data"]


@dataclass(frozen=True, kw_only=True)
class CollaborativeCell(ClientAttackCell):
    """He et al.'s white-box or query-free inversion of the same targets as UnSplit's.

    The attacker's own data are `own_samples` of the test set, at most half of it; its shadow's accuracy is measured on
    the others.
    """

    kind = "collaborative"
    attack: Collaborative
    settings: WhiteBoxConfig | ShadowConfig
    own_samples: int = 5000

    @property
    def label(self) -> str:
        return f"{self.dataset}, depth {self.depth}, {self.state} training, {self.attack}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Row, Tensors]:
        model, judged = self.attacked(needed), evaluation(self.dataset)
        bottom, top = split(model, self.depth)
        shape, draws = judged.targets.input_shape, generator(self.seed)
        own, others = self._shares(judged)
        view = observe_inference(model, self.depth, judged.targets, torch.device(self.device))
        if isinstance(self.settings, WhiteBoxConfig):
            found = invert_white_box(
                view, ClientWeights(bottom=bottom, input_shape=shape), self.settings, generator=draws
            )
        else:
            architecture = ClientArchitecture.of(bottom, shape)
            served = OwnTop(top=top, classes=len(own.classes))
            if self.attack == "query-free, no data":
                found = invert_by_shadow_without_data(view, architecture, served, self.settings, generator=draws)
            else:
                labelled = AuxiliaryData(inputs=own.images, labels=own.labels)
                found = invert_by_shadow(view, architecture, served, labelled, self.settings, generator=draws)
        pictures = found.inputs.cpu()
        row: Row = {"residual": float(found.residual.mean()), **picture_scores(pictures, judged)}
        if found.clones:
            outputs = predicted(others.images, found.clones[0], top, device=self.device)
            row["clone_accuracy"] = accuracy(outputs, others.labels)
        return row, {"inputs": pictures}

    def _shares(self, judged: Evaluation) -> tuple[Dataset, Dataset]:
        """The attacker's own data, and the rest."""
        kept = without_targets(judged)
        own = min(self.own_samples, len(kept) // 2)
        return kept.subset(torch.arange(own)), kept.subset(torch.arange(own, len(kept)))


@dataclass(frozen=True, kw_only=True)
class QueryCell(ClientAttackCell):
    """He et al.'s black box, one query at a time: its error over many pictures after 0, 1, 2, ... queries.

    The pictures and the queries are drawn from the test set, without overlap, anew in each run.
    """

    kind = "queries"
    settings: StreamConfig
    queries: int
    pictures: int
    runs: int

    @property
    def label(self) -> str:
        return (
            f"{self.dataset}, depth {self.depth}, {self.state} training, {self.runs} runs of {self.queries} queries, "
            f"seed {self.seed}"
        )

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Row, Tensors]:
        model, test = self.attacked(needed), evaluation(self.dataset).test
        bottom, _ = split(model, self.depth)
        architecture = ClientArchitecture.of(bottom, test.input_shape)
        curves = []
        for number in range(self.runs):
            draws = generator(numbered_seed(self.seed, number))
            order = torch.randperm(len(test), generator=draws)
            queries = min(self.queries, len(test) // 2)
            targets = test.subset(order[queries:][: self.pictures])
            found = stream_black_box(
                observe_inference(model, self.depth, targets, torch.device(self.device)),
                architecture,
                ClientQueries(lambda inputs: evaluated(bottom, inputs), queries),
                AuxiliaryData(inputs=test.images[order[:queries]]),
                self.settings,
                generator=draws,
            )
            curves.append([mse(pictures.cpu(), targets.images) for pictures in found])
        return {"curves": curves}, {}


@dataclass(frozen=True, kw_only=True)
class HijackCell(Cell):
    """A stretch of feature-space hijacking on the ResNet client; each goes on where the one before it ended.

    What the client sees is kept for every `view_every`th iteration, as "view/iteration/kind".
    """

    kind = "hijack"
    part: int
    iterations: int
    settings: HijackConfig
    cut: str = "block4"
    client_optimizer: OptimizerSpec
    batch_size: int = 64
    judge_every: int = 50
    view_every: int = 100

    @property
    def label(self) -> str:
        first = self.part * self.iterations
        return f"hijacking {self.dataset}, iterations {first} to {first + self.iterations}, seed {self.seed}"

    @property
    def needs(self) -> "HijackCell | None":
        if self.part == 0:
            return None
        return replace(self, part=self.part - 1)

    def select(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: value for name, value in tensors.items() if name.startswith("state/")}

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Row, Tensors]:
        splits, judged = data(self.dataset), evaluation(self.dataset)
        name = "resnet" if splits.train.input_shape[0] == 1 else "resnet-rgb"
        config = SplitConfig(cut=self.cut, batch_size=self.batch_size, client_optimizer=self.client_optimizer)
        training = split_training(
            network(splits, self.seed, name),
            splits.train.images,
            splits.train.labels,
            config,
            generator=generator(self.seed),
            device=self.device,
        )
        own = without_targets(judged)
        hijacker = hijack_feature_space(
            training.infer(own.images[:1].to(self.device)),
            AuxiliaryData(inputs=own.images),
            self.settings,
            generator=generator(numbered_seed(self.seed, self.part)),
        )
        training.server = MaliciousServer(body=training.server.body, answer=hijacker.answer, loss=config.loss)
        first = self.part * self.iterations
        last = first + self.iterations
        if needed:
            _resume(training, hijacker, needed, first)
        recorder = training.record(Recorder(observer="client0", steps=range(first, last, self.view_every)))
        curve = [] if self.part else [self._judge(training, hijacker)]
        while training.steps_done < last:
            training.run(min(training.steps_done + self.judge_every, last))
            curve.append(self._judge(training, hijacker))
        pictures = self._harvest(training, hijacker, judged.targets)
        row: Row = {"iterations": last, "curve": curve, **picture_scores(pictures, judged)}
        view = {f"view/{message.step}/{message.kind.value}": message.tensor for message in recorder.transcript()}
        return row, {"inputs": pictures, **_state(training, hijacker), **view}

    def _harvest(self, training: SplitTraining, hijacker: Hijacker, targets: Dataset) -> Tensor:
        view = training.infer(targets.images.to(self.device), batch_size=len(targets))
        return hijacker.invert(next(iter(view)).tensor).cpu()

    def _judge(self, training: SplitTraining, hijacker: Hijacker) -> dict[str, float]:
        targets = evaluation(self.dataset).targets
        error = mse(self._harvest(training, hijacker, targets), targets.images)
        return {"iteration": training.steps_done, "mse": error, **hijacker.losses}


def _state(training: SplitTraining, hijacker: Hijacker) -> Tensors:
    client = training.clients[0].segments()
    found = {f"client/{name}": value for name, value in client["bottom"].module.state_dict().items()}
    found |= {f"client/{name}": value for name, value in optimizer_tensors(client).items()}
    found |= {f"server/{name}": value for name, value in hijacker.state().items()}
    return {f"state/{name}": value.detach().cpu().clone() for name, value in found.items()}


def _resume(training: SplitTraining, hijacker: Hijacker, state: Mapping[str, Tensor], step: int) -> None:
    client = {name.removeprefix("state/client/"): value for name, value in state.items()}
    bottom = training.clients[0].segments()["bottom"]
    bottom.module.load_state_dict({name: client[name] for name in bottom.module.state_dict()})
    load_optimizer_tensors(bottom, "bottom", client)
    prefix = "state/server/"
    hijacker.load({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
    training.steps_done = step


def without_targets(judged: Evaluation) -> Dataset:
    """The test set but for the targets: what an attacker with data of its own has."""
    flat = judged.targets.images.flatten(1)
    images = judged.test.images.flatten(1)
    kept = [number for number, image in enumerate(images) if not bool((flat == image).all(1).any())]
    return judged.test.subset(torch.tensor(kept))
