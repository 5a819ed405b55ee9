"""The table on the README's front, between two marks."""

from collections.abc import Sequence

from unsplit.errors import FormatError
from unsplit.experiment.reproduce.rows import ResultRow, no_better_than_a_guess
from unsplit.report.numbers import error, percent
from unsplit.report.reproduction.select import distinct, only, select, title

FRONT_BEGIN = "<!-- results: begin -->"
FRONT_END = "<!-- results: end -->"


def front_table(rows: Sequence[ResultRow]) -> str:
    """Errors and clones of trained clients: the paper's, `joint`'s, and the best guess's."""
    chosen = [row for row in select(rows, table="table2", state="after", preset="joint") if row.value is not None]
    lines = ["| data, depth | paper: MSE, clone | `joint`: MSE, clone | best guess |", "|---|---|---|---|"]
    for dataset in distinct(chosen, "dataset"):
        for depth in distinct(select(chosen, dataset=dataset), "depth"):
            mse = only(chosen, dataset=dataset, depth=depth, metric="mse")
            clone = only(chosen, dataset=dataset, depth=depth, metric="clone_accuracy")
            if mse is None or clone is None or mse.value is None:
                continue
            printed = "" if mse.paper is None else f"{mse.paper:g}, {100 * (clone.paper or 0):g}%"
            ours = error(mse.value) + (" †" if no_better_than_a_guess(mse) else "") + f", {percent(clone.value)}"
            guess = "" if mse.trivial is None else error(mse.trivial)
            lines.append(f"| {title(str(dataset))}, {depth} | {printed} | {ours} | {guess} |")
    return "\n".join(lines) + "\n"


def with_front_table(text: str, rows: Sequence[ResultRow]) -> str:
    """A README with the table between its marks.

    Raises:
        FormatError: the text lacks the marks.
    """
    before, begin, rest = text.partition(FRONT_BEGIN)
    _, end, after = rest.partition(FRONT_END)
    if not begin or not end:
        raise FormatError(f"There is no place for the table; put {FRONT_BEGIN} and {FRONT_END} on lines of their own.")
    return f"{before}{FRONT_BEGIN}\n{front_table(rows)}{FRONT_END}{after}"
