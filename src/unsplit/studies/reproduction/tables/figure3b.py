"""Figure 3b: UnSplit and feature-space hijacking."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from unsplit.attacks.auxiliary import HijackConfig, Hijacker, hijack_feature_space
from unsplit.data import Dataset
from unsplit.experiment.inversion import picture_scores, without
from unsplit.knowledge import AuxiliaryData
from unsplit.metrics import mse
from unsplit.optim import OptimizerSpec
from unsplit.protocol import MaliciousServer, Recorder, SplitConfig, SplitTraining, split_training
from unsplit.protocol.segment import load_optimizer_tensors, optimizer_tensors
from unsplit.randomness import generator, numbered_seed
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.grid.markdown import markdown_table, number
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import select
from unsplit.studies.reproduction.budget import RESNET_CLIENT, Budget
from unsplit.studies.reproduction.drawing import COLOURS, axes_of, png
from unsplit.studies.reproduction.paper import PAPER_SETS
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures, figure_section
from unsplit.studies.reproduction.select import HIJACKING, epoch_of, title
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables._inversion import InversionCell, inversion_rows
from unsplit.studies.reproduction.tables.table import Table
from unsplit.studies.targets import data, evaluation, network
from unsplit.tensors import under

RESNET_CUTS = (4, 5, 6, 7)
"""After each of the client's residual blocks; the hijacking attack's authors cut after the last."""


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

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:
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
        own = without(judged.test, judged.targets)
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
        row: Values = {"iterations": last, "curve": curve, **picture_scores(pictures, judged)}
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
    hijacker.load(under("state/server/", state))
    training.steps_done = step


def _cells(selection: Selection, chosen: Budget) -> Iterator[Cell]:
    """The hijacking attack as it goes on, and UnSplit's joint attack on the same network, trained as usual.

    On MNIST, as in the paper, unless data sets are named.
    """
    seed = selection.chosen_seeds[0]
    for dataset in selection.datasets or chosen.datasets[:1]:
        yield from [
            HijackCell(
                dataset=dataset,
                seed=seed,
                device=selection.device,
                part=part,
                iterations=chosen.hijack_iterations,
                settings=HijackConfig(width=chosen.hijack_width),
                client_optimizer=OptimizerSpec(lr=1e-5),
            )
            for part in range(chosen.hijack_parts)
        ]
        training = replace(
            RESNET_CLIENT,
            samples=chosen.clients[dataset].samples,
            model="resnet-rgb" if dataset == "cifar-10" else "resnet",
        )
        yield from [
            InversionCell(
                dataset=dataset,
                seed=seed,
                device=selection.device,
                depth=depth,
                epoch=training.epochs,
                preset="joint",
                settings=chosen.settings("joint", depth),
                training=training,
            )
            for depth in (RESNET_CUTS if chosen.depths is None else RESNET_CUTS[:1])
        ]


def _rows(reader: StoreReader) -> Iterator[ResultRow]:
    for dataset in reader.datasets:
        hijack = reader.find("figure3b", dataset, HijackCell)
        if not hijack and dataset in PAPER_SETS[1:]:
            continue  # The paper has MNIST only.
        names: dict[str, Any] = {"depth": RESNET_CUTS[-1], "preset": HIJACKING}
        guess, points = hijack.mean("mse_best_trivial"), hijack.parts("curve")
        for point in sorted(points, key=lambda point: int(point["iteration"])):
            state = f"iteration {point['iteration']}"
            yield hijack.row("mse", [point["mse"]], state=state, seeds=1, trivial=guess, **names)
        if not points:
            yield hijack.row("mse", [], state="iteration 0", **names)
        for depth in RESNET_CUTS:
            found = reader.find("figure3b", dataset, InversionCell, depth=depth, state="after")
            yield from inversion_rows(found, depth, "after", "joint", printed=False)


def _section(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    chosen = [row for row in select(rows, table="figure3b", metric="mse") if row.preset == "joint"]
    lines = [[title(row.dataset), str(row.depth), number(row), row.note] for row in chosen]
    table = markdown_table(["data", "depth in the ResNet", "UnSplit, joint", "note"], lines) if lines else ""
    return figure_section("Figure 3b: UnSplit and feature-space hijacking", rows, "figure3b", pictures, table)


def _plot(rows: Sequence[ResultRow]) -> bytes | None:
    chosen = [row for row in select(rows, table="figure3b", metric="mse") if row.value is not None]
    chosen = select(chosen, dataset=chosen[0].dataset) if chosen else []
    curve = sorted((epoch_of(row), row.value or 0) for row in select(chosen, preset=HIJACKING))
    if not curve:
        return None
    figure, axes = axes_of("iterations of the hijacking attack", "mean squared error")
    axes.plot(*zip(*curve, strict=True), color=COLOURS[0], label="feature-space hijacking")
    for which, row in enumerate(select(chosen, preset="joint")):
        block = (row.depth or 0) - RESNET_CUTS[0] + 1
        axes.axhline(row.value or 0, color=COLOURS[which + 1], label=f"UnSplit, joint, cut after block {block}")
    if chosen[0].trivial is not None:
        axes.axhline(chosen[0].trivial, color="#1d2126", linewidth=0.9, linestyle=":", label="best guess")
    axes.set_ylim(bottom=0)
    return png(figure, axes)


TABLE = Table(name="figure3b", cells=_cells, rows=_rows, section=_section, plot=_plot)
