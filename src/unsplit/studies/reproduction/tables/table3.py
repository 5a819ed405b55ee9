"""Table 3: label inference by the paper's rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unsplit.experiment.auditing.label_watch import HandOffs
from unsplit.experiment.auditing.labels import run_labels
from unsplit.optim import OptimizerSpec
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.grid.markdown import markdown_table
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import select
from unsplit.studies.grid.store import Stored
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.reader import Reader
from unsplit.studies.reproduction.sections import Pictures, percent_of, three
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables.table import Table
from unsplit.studies.targets import data, network


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
        for depth in (selection.depths or (1, 2))
        if depth in (1, 2)
        for optimizer in (OptimizerSpec(name="sgd", lr=0.01), OptimizerSpec(name="adam"))
    ]


def _rows(reader: Reader) -> list[ResultRow]:
    """The paper's attack: gradient matching on the weight gradient, by a clone head that is trained or not."""
    rows = []
    for dataset in reader.datasets:
        for depth in (1, 2):
            for optimizer in ("sgd", "adam"):
                found = reader.find(
                    "table3",
                    dataset,
                    lambda cell, depth=depth, optimizer=optimizer: (  # type: ignore[misc]
                        isinstance(cell, LabelCell) and (cell.depth, cell.optimizer.name) == (depth, optimizer)
                    ),
                    options=f" --depths {depth}",
                )
                for head in ("trained", "untrained"):
                    attacks = [
                        attack
                        for result in found.results
                        for attack in _attacks(result)
                        if (attack["observed"], attack["clone_head"]) == ("weight_grad", head)
                    ]
                    rows.append(
                        found.row(
                            "label_accuracy",
                            [float(attack["accuracy"]) for attack in attacks],
                            table="table3",
                            dataset=dataset,
                            depth=depth,
                            state="before",
                            preset=f"{optimizer}, clone head {head}",
                            paper=paper.TABLE3.get(dataset, {}).get(depth),
                            trivial=attacks[0]["chance"] if attacks else None,
                        )
                    )
    return rows


def _section(rows: Sequence[ResultRow], _: Pictures) -> str:
    chosen = select(rows, table="table3")
    lines = [
        [title(row.dataset), str(row.depth), row.preset, *three(row), percent_of(row.trivial), row.note]
        for row in chosen
    ]
    return "## Table 3: label inference\n\n" + markdown_table(
        ["data", "head", "client's optimiser, clone head", "paper", "ours", "verdict", "commonest class", "note"], lines
    )


def _attacks(result: Stored) -> list[dict[str, Any]]:
    attacks: Any = result.row["attacks"]
    return list(attacks)


TABLE = Table(name="table3", cells=_cells, rows=_rows, section=_section)
