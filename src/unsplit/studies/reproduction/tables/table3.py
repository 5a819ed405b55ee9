"""Table 3: label inference by the paper's rule."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unsplit.experiment.auditing.label_watch import HandOffs
from unsplit.experiment.auditing.labels import run_labels
from unsplit.optim import OptimizerSpec
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.grid.markdown import markdown_table
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import select
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures, percent_of, three
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables.table import Table
from unsplit.studies.targets import data, network

HEADS = (1, 2)
"""Layers with weights in the client's head."""
OPTIMIZERS = (OptimizerSpec(name="sgd", lr=0.01), OptimizerSpec(name="adam"))


@dataclass(frozen=True, kw_only=True)
class LabelCell(Cell):
    """Label inference in setup (b), from a first step on untrained weights."""

    kind = "labels"
    depth: int
    steps: int
    optimizer: OptimizerSpec

    @property
    def label(self) -> str:
        return f"labels of {self.dataset}, head of {self.depth}, seed {self.seed}"

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:  # noqa: ARG002
        splits = data(self.dataset)
        how = HandOffs(
            head=self.depth,
            samples=self.steps,
            optimizer=self.optimizer,
            seed=self.seed,
            device=torch.device(self.device),
        )
        rows = run_labels(network(splits, self.seed), splits, how)
        return {"attacks": [row.model_dump() for row in rows]}, {}


def _cells(selection: Selection, chosen: Budget) -> list[Cell]:
    return [
        LabelCell(
            dataset=dataset,
            seed=seed,
            device=selection.device,
            depth=depth,
            steps=chosen.label_steps,
            optimizer=optimizer,
        )
        for dataset in selection.chosen_datasets
        for seed in selection.chosen_seeds
        for depth in selection.depths or HEADS
        if depth in HEADS
        for optimizer in OPTIMIZERS
    ]


def _rows(reader: StoreReader) -> Iterator[ResultRow]:
    """The paper's attack: gradient matching on the weight gradient, by a clone head that is trained or not."""
    for dataset, depth, optimizer in itertools.product(reader.datasets, HEADS, OPTIMIZERS):
        found = reader.find(
            "table3", dataset, LabelCell, options=f" --depths {depth}", depth=depth, optimizer=optimizer
        )
        for head in ("trained", "untrained"):
            attacks = [
                attack
                for attack in found.parts("attacks")
                if (attack["observed"], attack["clone_head"]) == ("weight_grad", head)
            ]
            yield found.row(
                "label_accuracy",
                [attack["accuracy"] for attack in attacks],
                depth=depth,
                state="before",
                preset=f"{optimizer.name}, clone head {head}",
                paper=paper.TABLE3.get(dataset, {}).get(depth),
                trivial=attacks[0]["chance"] if attacks else None,
            )


def _section(rows: Sequence[ResultRow], _: Pictures) -> str:
    chosen = select(rows, table="table3")
    lines = [
        [title(row.dataset), str(row.depth), row.preset, *three(row), percent_of(row.trivial), row.note]
        for row in chosen
    ]
    return "## Table 3: label inference\n\n" + markdown_table(
        ["data", "head", "client's optimiser, clone head", "paper", "ours", "verdict", "commonest class", "note"], lines
    )


TABLE = Table(name="table3", cells=_cells, rows=_rows, section=_section)
