"""The table on the README's front, between two marks."""

from collections.abc import Sequence

from unsplit.errors import FormatError
from unsplit.report.numbers import error, percent
from unsplit.studies.grid.markdown import notice_of_starts
from unsplit.studies.grid.rows import ResultRow, began_as_the_client, no_better_than_a_guess
from unsplit.studies.grid.select import distinct, only, select
from unsplit.studies.reproduction.select import title

FRONT_BEGIN = "<!-- results: begin -->"
FRONT_END = "<!-- results: end -->"

_OURS = ("strong", "joint")


def front_table(rows: Sequence[ResultRow]) -> str:
    """Errors and clones of trained clients: the paper's, ours of those presets that were run, and the best guess's."""
    chosen = [row for row in select(rows, table="table2", state="after") if row.value is not None]
    presets = [name for name in _OURS if select(chosen, preset=name)]
    header = ["data, depth", "paper: MSE, clone", *(f"`{name}`: MSE, clone" for name in presets), "best guess"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for dataset in distinct(chosen, "dataset"):
        for depth in sorted({row.depth or 0 for row in select(chosen, dataset=dataset) if row.preset in presets}):
            here = select(chosen, dataset=dataset, depth=depth)
            errors = [row for row in select(here, metric="mse") if row.preset in presets]
            clones = select(here, metric="clone_accuracy")
            if not errors:
                continue
            mse, clone = errors[0], clones[0] if clones else None
            printed = "" if mse.paper is None else f"{mse.paper:g}, {100 * ((clone and clone.paper) or 0):g}%"
            guess = "" if mse.trivial is None else error(mse.trivial)
            ours = [_ours(here, name) for name in presets]
            lines.append(f"| {' | '.join([f'{title(dataset)}, {depth}', printed, *ours, guess])} |")
    notice = notice_of_starts([row for row in chosen if row.preset in presets])
    return "\n".join([*lines, ""]) + (f"\n{notice}" if notice else "")


def _ours(rows: Sequence[ResultRow], preset: str) -> str:
    mse, clone = only(rows, preset=preset, metric="mse"), only(rows, preset=preset, metric="clone_accuracy")
    if mse is None or mse.value is None or clone is None:
        return ""
    marks = (" †" if no_better_than_a_guess(mse) else "") + (" ‡" if began_as_the_client(mse) else "")
    return f"{error(mse.value)}{marks}, {percent(clone.value)}"


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
