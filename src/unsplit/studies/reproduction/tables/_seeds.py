"""The strongest attack of Table 2 seed by seed, and whether it knows how well it went."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from unsplit.attacks.inversion import AGREEMENT
from unsplit.report.numbers import error, percent
from unsplit.studies.grid.markdown import image, markdown_table
from unsplit.studies.grid.rows import Metric, ResultRow, began_as_the_client
from unsplit.studies.grid.select import distinct, only, select
from unsplit.studies.reproduction.reader import StoreReader
from unsplit.studies.reproduction.sections import Pictures
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.selection import depths_of
from unsplit.studies.reproduction.tables._inversion import find_inversion
from unsplit.studies.reproduction.tables._sure import reliability, sure, sureness

SEEDS = "strong"
"""The table of these rows."""
RELIABILITY = "table2.png"
"""The picture of how right the attack is by how sure it is."""

GUESSED: tuple[Metric, ...] = ("mse", "mse_best_of_eight")
METRICS: tuple[Metric, ...] = (*GUESSED, "mse_scale_free", "clone_accuracy", "residual", "agreement", "sure")


def seed_rows(reader: StoreReader) -> Iterator[ResultRow]:
    """The strongest attack seed by seed, with what it can tell of itself without the truth."""
    for dataset, state in itertools.product(reader.datasets, ("before", "after")):
        for depth in depths_of(dataset):
            for seed, found in find_inversion(reader, dataset, "strong", depth, state).each_seed().items():
                names: dict[str, Any] = {"table": SEEDS, "depth": depth, "state": state}
                for metric in METRICS:
                    if found.rows[0].get(metric) is not None:
                        trivial = found.mean(f"{metric}_best_trivial") if metric in GUESSED else None
                        preset = f"strong, seed {seed}"
                        yield found.row(metric, found.values(metric), trivial=trivial, preset=preset, **names)


_Seed = dict[str, float]

_BEST_OF_EIGHT = (
    "Behind a dense layer no data tell the eight flips and quarter turns of all pictures apart. *Best of eight* is the "
    "error under the best of them, one for the whole set; the guess beside it is scored in the same way.\n"
)


def seeds_section(rows: Sequence[ResultRow], pictures: Pictures = ()) -> str:
    """Markdown, or nothing where the attack was not run."""
    chosen = select(rows, table=SEEDS)
    if not chosen:
        return ""
    cells, turned = [], bool(select(chosen, metric="mse_best_of_eight"))
    on_gpus = any(row.device is not None for row in chosen)
    lines = []
    for here in _each(chosen):
        cell = _cell(here)
        cells.append(cell)
        dataset, state, depth, preset = here[0].dataset, here[0].state, here[0].depth, here[0].preset
        lines.append(
            [
                *(title(dataset), state, str(depth), preset.rpartition(" ")[2]),
                error(cell["mse"]) + (" †" if _wrong(cell) else "") + _start(here),
                error(cell["mse_scale_free"]),
                *([_turned(cell)] if turned else []),
                percent(cell["clone_accuracy"]),
                f"{cell['residual']:.4f}",
                _agreement(cell),
                "yes" if sure(cell) else "",
                *([_computed_by(here)] if on_gpus else []),
            ]
        )
    errors = ["MSE", "scale-free", *(["best of eight"] if turned else [])]
    header = ["data", "client", "depth", "seed", *errors, "clone", "residual", "agreement", "sure"]
    header += ["computed by"] if on_gpus else []
    parts = ["## The strongest attack, seed by seed\n", _judged(cells), sureness(cells)]
    parts += [image("Right attacks by agreement", RELIABILITY)] if RELIABILITY in pictures else []
    parts += [_BEST_OF_EIGHT] if turned else []
    return "\n".join([*parts, markdown_table(header, lines)])


def reliability_plot(rows: Sequence[ResultRow]) -> bytes | None:
    """A PNG of how many attacks are right, by how well their restarts agree; None where none was run."""
    return reliability([_cell(here) for here in _each(select(rows, table=SEEDS))])


def _each(rows: Sequence[ResultRow]) -> Iterator[Sequence[ResultRow]]:
    """The rows of each attack."""
    for dataset in distinct(rows, "dataset"):
        for state in distinct(select(rows, dataset=dataset), "state"):
            for depth in distinct(select(rows, dataset=dataset, state=state), "depth"):
                here = select(rows, dataset=dataset, state=state, depth=depth)
                for preset in distinct(here, "preset"):
                    yield select(here, preset=preset)


def _judged(cells: Sequence[_Seed]) -> str:
    """What the agreement of the two best restarts says about the error, over all cells that have it."""
    told = [cell for cell in cells if "agreement" in cell]
    wrong = [cell for cell in cells if _wrong(cell)]
    right = [cell for cell in told if not _wrong(cell)]
    warned = sum(_doubts(cell) for cell in wrong)
    needless = sum(_doubts(cell) for cell in right)
    text = (
        "Residual and agreement are what the attacker sees of its own success, without the truth: how well the clone "
        "explains the smashed data, and the correlation of the pictures of the two best restarts. "
        f"Of {len(cells)} attacks, {len(wrong)} ended no better than the best guess (†: a negative, a collapse, "
        f"scrambled places); an agreement below {AGREEMENT:g} gave warning in {warned} of them, and in {needless} of "
        f"the {len(right)} others."
    )
    if len(told) > 2:
        errors = [cell["mse"] for cell in told]
        for name in ("agreement", "residual"):
            from scipy.stats import spearmanr

            found = spearmanr([cell[name] for cell in told], errors)
            text += f" Spearman's rank correlation of {name} and error: {found.statistic:.2f}."
    return text + "\n"


def _cell(rows: Sequence[ResultRow]) -> _Seed:
    found: _Seed = {str(row.metric): row.value for row in rows if row.value is not None}
    mse = only(rows, metric="mse")
    guess = mse.trivial if mse is not None and mse.trivial is not None else float("inf")
    turned = only(rows, metric="mse_best_of_eight")
    guess_turned = turned.trivial if turned is not None and turned.trivial is not None else float("inf")
    return {**found, "guess": guess, "guess_best_of_eight": guess_turned}


def _computed_by(rows: Sequence[ResultRow]) -> str:
    mse = only(rows, metric="mse")
    return "processor" if mse is None or mse.device is None else mse.device


def _start(rows: Sequence[ResultRow]) -> str:
    """The mark of an attack whose first restart may have begun as the client."""
    return " ‡" if any(map(began_as_the_client, rows)) else ""


def _wrong(cell: _Seed) -> bool:
    return cell["mse"] >= cell["guess"]


def _turned(cell: _Seed) -> str:
    """The error under the best of eight flips and turns and that of the best guess, where they are one answer."""
    value = cell.get("mse_best_of_eight")
    return "" if value is None else f"{error(value)} (guess {error(cell['guess_best_of_eight'])})"


def _doubts(cell: _Seed) -> bool:
    return cell.get("agreement", 0.0) < AGREEMENT


def _agreement(cell: _Seed) -> str:
    return f"{cell['agreement']:.2f}" if "agreement" in cell else ""
