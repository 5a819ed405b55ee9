"""`results.md`: nothing here but what the rows say."""

from collections.abc import Sequence

from unsplit.studies.grid.markdown import markdown_table, notice_of_starts
from unsplit.studies.grid.rows import ResultRow, no_better_than_a_guess, paper_verdict, smaller_budget
from unsplit.studies.grid.select import distinct, select
from unsplit.studies.reproduction._claims import claims
from unsplit.studies.reproduction.sections import Pictures
from unsplit.studies.reproduction.select import title
from unsplit.studies.reproduction.tables import TABLES

HOW_TO_READ = """\
**How to read it.** Errors are mean squared errors over ten targets, one a class, on pixels from 0 to 1; brackets are
95 % intervals over seeds (Student's t). *Reproduced*: our mean lies within 10 % of the paper's value (accuracies: two
points), or within 25 % (five points) with the paper's value in our interval. *Undecided*: the paper's value is in our
interval, and our mean is farther off. *Better* and *not reproduced*: the interval (of one seed: the value) lies wholly
on the side that is better or worse for the attacker. Numbers of a smaller budget than the paper's settings get no
verdict. **†**: not shown to be better than a guess that has seen no message, whose value our interval reaches: for
errors the best of half grey, black, the best constant and the mean training picture, for accuracies the commonest
class. *Scale-free* is the error after the best single a·x + b, which uses the truth: a diagnostic, no attack result;
*of each picture*, with an a and a b for every picture.
"""

INTRODUCTION = f"""# The paper's tables and figures, rerun

Rendered from `results.json` by `unsplit reproduce report`; do not edit. How each was measured, and what the paper
leaves open, is in [reproduction.md](reproduction.md). [browse.html](browse.html) has every row of `results.json`, to
sort, to filter and to look at.

{HOW_TO_READ}"""


def page_markdown(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    """The page as Markdown.

    Args:
        rows: the rows of `results.json`.
        pictures: names of the files in `pictures/` that there are.
    """
    # Defences have a page of their own.
    rows = [row for row in rows if row.defense is None]
    made = [
        *overview(rows),
        *(table.section(rows, pictures) for table in TABLES.values()),
        _commands(rows),
    ]
    return "\n".join([INTRODUCTION, *(text for text in made if text)])


def overview(rows: Sequence[ResultRow]) -> list[str]:
    """What stands before the tables, in Markdown: who computed what, what ‡ means, and what came out; parts that there
    is no need for are empty.
    """
    return [_devices(rows), notice_of_starts(rows), _overview(rows)]


def _devices(rows: Sequence[ResultRow]) -> str:
    """Which tables GPUs computed, in whole or in part; nothing where none did."""
    seen: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.device is not None and row.value is not None:
            seen.setdefault(row.device, {}).setdefault(f"`{row.table}`")
    if not seen:
        return ""
    told = "; ".join(f"{device}: rows of {', '.join(tables)}" for device, tables in seen.items())
    return f"**Computed by a GPU.** {told}. All other rows were computed by a processor.\n"


def _overview(rows: Sequence[ResultRow]) -> str:
    judged = [row for row in rows if row.table == "table2" and row.metric in ("mse", "clone_accuracy")]
    lines = []
    for dataset in distinct(judged, "dataset"):
        for preset in distinct(judged, "preset"):
            chosen = select(judged, dataset=dataset, preset=preset)
            if not chosen:
                continue
            verdicts = [paper_verdict(row) for row in chosen]
            guesses = sum(no_better_than_a_guess(row) for row in chosen)
            counts = [verdicts.count(word) for word in ("reproduced", "better", "undecided", "not reproduced")]
            counts += [sum(map(smaller_budget, chosen)), sum(row.value is None for row in chosen), guesses]
            lines.append([title(dataset), preset, *map(str, counts)])
    verdicts_shown = ["reproduced", "better", "undecided", "not reproduced"]
    header = ["data", "preset", *verdicts_shown, "smaller budget", "not run", "no better than a guess †"]
    made = claims(rows)
    held = [claim.outcome for claim in made]
    return (
        "## At a glance\n\nCells of Table 2 (errors before and after training, accuracies of the clone):\n\n"
        + markdown_table(header, lines)
        + _paper_against_guesses(judged)
        + f"\nClaims in words, over data sets and presets: {held.count('held')} held, {held.count('did not hold')} did "
        f"not hold, {held.count('cannot be told')} cannot be told from what was run.\n"
    )


def _paper_against_guesses(judged: Sequence[ResultRow]) -> str:
    """How many of the paper's own errors are not below the best guess's on the same targets."""
    cells = {
        (row.dataset, row.depth, row.state): row.paper >= row.trivial
        for row in judged
        if row.metric == "mse" and row.paper is not None and row.trivial is not None
    }
    if not cells:
        return ""
    return (
        f"\nOf the {len(cells)} errors that the paper prints for these cells, {sum(cells.values())} are not below the "
        "best guess on our targets.\n"
    )


def _commands(rows: Sequence[ResultRow]) -> str:
    """One command for each table, data set, preset and budget; those of single cells are in `results.json`."""
    seen: dict[str, None] = {}
    for row in rows:
        if row.value is not None:
            words = row.command.split(" ")
            for option in ("--depths", "--states"):
                if option in words:
                    at = words.index(option)
                    words = words[:at] + words[at + 2 :]
            seen.setdefault(" ".join(words))
    commands = "".join(f"    {command}\n" for command in sorted(seen))
    return (
        f"## Commands\n\nEach row of `results.json` names the command that measures it again. Together:\n\n{commands}"
    )
