"""From the store to rows: what was measured of each table and figure, and what was not."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from unsplit.experiment.reproduce import paper
from unsplit.experiment.reproduce.budget import BUDGETS
from unsplit.experiment.reproduce.cells import InversionCell, LabelCell
from unsplit.experiment.reproduce.collect_labels import label_rows
from unsplit.experiment.reproduce.plan import RESNET_CUTS, depths_of, white_box_depths
from unsplit.experiment.reproduce.reader import Found, Reader, is_collaborative, is_inversion
from unsplit.experiment.reproduce.rivals import HijackCell, QueryCell
from unsplit.experiment.reproduce.rows import HIJACKING, PAPER_SETS, SEEDS, ResultRow
from unsplit.experiment.reproduce.store import Store, Stored

PRESETS_SHOWN = ("strong", "joint", "paper", "released")


def collect(store: Store) -> list[ResultRow]:
    """All rows of a store, table by table; what was not run has a row that says so."""
    reader = Reader(store)
    return [
        row
        for table in (_table2, _strong_seeds, _table3, _figure2, _figure3a, _table5, _figure3b, _white_box, label_rows)
        for row in table(reader)
    ]


def _table2(reader: Reader) -> list[ResultRow]:
    rows = []
    for dataset in reader.datasets:
        for preset in PRESETS_SHOWN:
            for state in ("before", "after"):
                for depth in depths_of(dataset):
                    options = f" --states {state} --depths {depth}"
                    found = reader.find(
                        "table2", dataset, is_inversion(preset, depth, state), preset=preset, options=options
                    )
                    # Of the released settings a sample is enough; where there is none, that is not worth a row.
                    if found.results or preset not in ("released", "strong"):
                        rows += _inversion_rows(found, "table2", dataset, depth, state, preset)
                        row = found.row(
                            "mse_scale_free_each",
                            reader.scale_free_each(found, dataset),
                            table="table2",
                            dataset=dataset,
                            depth=depth,
                            state=state,
                            preset=preset,
                        )
                        rows += [row] if row.value is not None else []
    return rows


def _strong_seeds(reader: Reader) -> list[ResultRow]:
    """The strongest attack seed by seed, with what it can tell of itself without the truth."""
    rows = []
    for dataset, state in itertools.product(reader.datasets, ("before", "after")):
        for depth in depths_of(dataset):
            options = f" --states {state} --depths {depth}"
            whole = reader.find(
                "table2", dataset, is_inversion("strong", depth, state), preset="strong", options=options
            )
            for seed, found in whole.each_seed().items():
                result = found.results[0].row
                names: dict[str, Any] = {"table": SEEDS, "dataset": dataset, "depth": depth, "state": state}
                for metric in ("mse", "mse_scale_free", "clone_accuracy", "residual", "agreement"):
                    if result.get(metric) is not None:
                        trivial = float(str(result["mse_best_trivial"])) if metric == "mse" else None
                        value = float(str(result[metric]))
                        rows.append(found.row(metric, [value], trivial=trivial, preset=f"strong, seed {seed}", **names))
    return rows


def _inversion_rows(
    found: Found, table: str, dataset: str, depth: int, state: str, preset: str, *, printed: bool = True
) -> list[ResultRow]:
    before, after, clone = paper.TABLE2.get(dataset, {}).get(depth, (None, None, None)) if printed else (None,) * 3
    results = [result.row for result in found.results]
    guess = _mean(results, "mse_best_trivial")
    constant = math.fsum(_guesses(row)["best constant"] for row in results) / len(results) if results else None
    names: dict[str, Any] = {"table": table, "dataset": dataset, "depth": depth, "state": state, "preset": preset}
    rows = [
        found.row("mse", _values(results, "mse"), paper=before if state == "before" else after, trivial=guess, **names),
        found.row("mse_scale_free", _values(results, "mse_scale_free"), trivial=constant, **names),
        found.row("ssim", _values(results, "ssim"), **names),
    ]
    if state == "after" and (not results or "clone_accuracy" in results[0]):
        chance = _mean(results, "clone_chance") if results and "clone_chance" in results[0] else None
        values = _values(results, "clone_accuracy")
        rows.append(found.row("clone_accuracy", values, paper=clone, trivial=chance, **names))
    return rows


def _table3(reader: Reader) -> list[ResultRow]:
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


def _figure2(reader: Reader) -> list[ResultRow]:
    rows = []
    for dataset in reader.datasets:
        for preset in ("joint", "paper"):
            for epoch in range(BUDGETS["full"].clients[dataset].epochs + 1):
                found = reader.find(
                    "figure2",
                    dataset,
                    lambda cell, preset=preset, epoch=epoch: (  # type: ignore[misc]
                        isinstance(cell, InversionCell) and (cell.preset, cell.epoch) == (preset, epoch)
                    ),
                    preset=preset,
                )
                if not found.results and preset != "joint":
                    continue
                first = found.results[:1] and found.results[0].config["seed"]
                results = [result for result in found.results if result.config["seed"] == first]
                depths = sorted({int(str(result.config["depth"])) for result in results})
                errors = [float(str(result.row["mse"])) for result in results]
                note = "" if depths == [*depths_of(dataset)] else "depths " + ", ".join(map(str, depths))
                row = found.row(
                    "mse",
                    [math.fsum(errors) / len(errors)] if errors else [],
                    table="figure2",
                    dataset=dataset,
                    depth=None,
                    state=f"epoch {epoch}",
                    preset=preset,
                    trivial=_mean([result.row for result in results], "mse_best_trivial"),
                    note=note,
                )
                rows.append(row.model_copy(update={"seeds": 1 if errors else 0}))
    return rows


def _figure3a(reader: Reader) -> list[ResultRow]:
    """Every depth of every attack; page and figure take the means."""
    rows = []
    for dataset in reader.datasets:
        for attack in ("white box", "query-free, own data", "query-free, no data"):
            for depth in depths_of(dataset):
                found = reader.find(
                    "figure3a",
                    dataset,
                    is_collaborative(attack, depth),
                    options=f" --depths {depth}",
                )
                of_attack = _inversion_rows(found, "figure3a", dataset, depth, "after", attack, printed=False)
                # The white box clones nothing: it has the client's own weights.
                rows += [row for row in of_attack if (attack, row.metric) != ("white box", "clone_accuracy")]
    return rows


def _table5(reader: Reader) -> list[ResultRow]:
    """Queries until the mean error over the pictures is UnSplit's: the paper's printed one, or ours."""
    rows = []
    for dataset in reader.datasets:
        for depth in range(1, 7):
            found = reader.find(
                "table5",
                dataset,
                lambda cell, depth=depth: isinstance(cell, QueryCell) and cell.depth == depth,  # type: ignore[misc]
                options=f" --depths {depth}",
            )
            printed = paper.TABLE2.get(dataset, {}).get(depth, (None, None, None))[1]
            thresholds = {"the paper's error": printed}
            for preset in ("joint", "paper"):
                ours = reader.find("table2", dataset, is_inversion(preset, depth, "after"), preset=preset)
                thresholds[f"our error, {preset}"] = _mean([result.row for result in ours.results], "mse")
            curves: list[list[float]] = [curve for result in found.results for curve in _curves(result)]
            for name, threshold in thresholds.items():
                needed, note = _queries(curves, threshold)
                rows.append(
                    found.row(
                        "queries",
                        needed,
                        table="table5",
                        dataset=dataset,
                        depth=depth,
                        state="after",
                        preset=f"until {name}",
                        paper=paper.TABLE5[dataset][depth - 1] if dataset in paper.TABLE5 else None,
                        note=note,
                    )
                )
    return rows


def _white_box(reader: Reader) -> list[ResultRow]:
    """Beside what its own authors print."""
    return [
        found.row(
            "psnr",
            _values([result.row for result in found.results], "psnr"),
            table="white-box",
            dataset=dataset,
            depth=depth,
            state="after",
            preset="white box",
            paper=paper.HE_PSNR.get(dataset, {}).get(depth),
        )
        for dataset in reader.datasets
        for depth in white_box_depths(dataset)
        for found in [reader.find("white-box", dataset, is_collaborative("white box", depth))]
    ]


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


def _figure3b(reader: Reader) -> list[ResultRow]:
    rows = []
    for dataset in reader.datasets:
        names: dict[str, Any] = {"table": "figure3b", "dataset": dataset, "depth": RESNET_CUTS[-1]}
        hijack = reader.find("figure3b", dataset, lambda cell: isinstance(cell, HijackCell))
        if not hijack.results and dataset in PAPER_SETS[1:]:
            continue  # The paper has MNIST only.
        guess = _mean([result.row for result in hijack.results], "mse_best_trivial")
        points = sorted(
            (int(point["iteration"]), float(point["mse"])) for result in hijack.results for point in _curve(result)
        )
        for iteration, error in points:
            row = hijack.row("mse", [error], state=f"iteration {iteration}", preset=HIJACKING, trivial=guess, **names)
            rows.append(row.model_copy(update={"seeds": 1}))
        if not points:
            rows.append(hijack.row("mse", [], state="iteration 0", preset=HIJACKING, **names))
        for depth in RESNET_CUTS:
            found = reader.find("figure3b", dataset, is_inversion("joint", depth, "after"))
            rows += _inversion_rows(found, "figure3b", dataset, depth, "after", "joint", printed=False)
    return rows


def _values(results: Sequence[dict[str, object]], name: str) -> list[float]:
    return [float(str(row[name])) for row in results]


def _mean(results: Sequence[dict[str, object]], name: str) -> float | None:
    values = _values(results, name)
    return math.fsum(values) / len(values) if values else None


def _guesses(row: dict[str, object]) -> dict[str, float]:
    guesses: Any = row["guesses"]
    return dict(guesses)


def _attacks(result: Stored) -> list[dict[str, Any]]:
    attacks: Any = result.row["attacks"]
    return list(attacks)


def _curves(result: Stored) -> list[list[float]]:
    curves: Any = result.row["curves"]
    return list(curves)


def _curve(result: Stored) -> list[dict[str, float]]:
    curve: Any = result.row["curve"]
    return list(curve)
