"""Table 5: black-box queries until UnSplit's error."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unsplit.attacks.he2019 import StreamConfig, stream_black_box
from unsplit.experiment.inversion import observe_inference
from unsplit.knowledge import AuxiliaryData, ClientArchitecture, ClientQueries
from unsplit.metrics import mse
from unsplit.models import split
from unsplit.protocol import evaluated
from unsplit.randomness import generator, numbered_seed
from unsplit.studies.grid.cell import Cell, Tensors, Values
from unsplit.studies.grid.markdown import markdown_table
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import select
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.budget import Budget
from unsplit.studies.reproduction.clients import ClientAttackCell
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures, three
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import Selection
from unsplit.studies.reproduction.tables._inversion import InversionCell
from unsplit.studies.reproduction.tables.table import Table
from unsplit.studies.targets import evaluation


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

    def run(self, needed: Mapping[str, Tensor]) -> tuple[Values, Tensors]:
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


def _cells(selection: Selection, chosen: Budget) -> list[Cell]:
    return [
        QueryCell(
            dataset=dataset,
            seed=selection.chosen_seeds[0],
            device=selection.device,
            depth=depth,
            epoch=chosen.clients[dataset].epochs,
            settings=StreamConfig(),
            queries=chosen.queries,
            pictures=chosen.query_pictures,
            runs=chosen.query_runs,
            training=chosen.clients[dataset],
        )
        for dataset in selection.chosen_datasets
        for depth in selection.depths or chosen.depths or range(1, 7)
        if depth in range(1, 7)
    ]


def _rows(reader: StoreReader) -> Iterator[ResultRow]:
    """Queries until the mean error over the pictures is UnSplit's: the paper's printed one, or ours."""
    for dataset in reader.datasets:
        for depth in range(1, 7):
            options = f" --depths {depth}"
            found = reader.find("table5", dataset, QueryCell, options=options, depth=depth)
            thresholds = {"the paper's error": paper.TABLE2.get(dataset, {}).get(depth, (None, None, None))[1]}
            for preset in ("joint", "paper"):
                ours = reader.find("table2", dataset, InversionCell, preset=preset, depth=depth, state="after")
                thresholds[f"our error, {preset}"] = ours.mean("mse")
            for name, threshold in thresholds.items():
                needed, note = _queries(found.parts("curves"), threshold)
                yield found.row(
                    "queries",
                    needed,
                    depth=depth,
                    state="after",
                    preset=f"until {name}",
                    paper=paper.TABLE5[dataset][depth - 1] if dataset in paper.TABLE5 else None,
                    note=note,
                )


def _section(rows: Sequence[ResultRow], _: Pictures) -> str:
    chosen = select(rows, table="table5")
    lines = [
        [title(row.dataset), str(row.depth), row.preset.removeprefix("until "), *three(row), row.note] for row in chosen
    ]
    return (
        "## Table 5: black-box queries until UnSplit's error\n\nIntervals are over runs, each of other pictures and "
        "queries. Fewer queries are better for the black box.\n\n"
        + markdown_table(["data", "depth", "error to reach", "paper", "ours", "verdict", "note"], lines)
    )


def _queries(curves: list[list[float]], threshold: float | None) -> tuple[list[float], str]:
    """For each run the first number of queries whose error is no larger; a run that never gets there counts as the
    most queries it had.
    """
    if threshold is None or not curves:
        return [], "no error to reach" if curves else ""
    limit = len(curves[0]) - 1
    needed = [next((number for number, error in enumerate(curve) if error <= threshold), None) for curve in curves]
    never = sum(number is None for number in needed)
    note = f"{never} of {len(curves)} runs do not reach it and count as {limit}" if never else ""
    return [float(limit if number is None else number) for number in needed], note


TABLE = Table(name="table5", cells=_cells, rows=_rows, section=_section)
