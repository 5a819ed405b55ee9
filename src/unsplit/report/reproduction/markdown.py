"""Pieces of Markdown that several sections are made of."""

from collections.abc import Callable, Sequence

from unsplit.experiment.reproduce.rows import ResultRow, no_better_than_a_guess
from unsplit.report.numbers import error, percent

_SHARES = ("accuracy", "agreement", "names")


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    parts = [header, ["---"] * len(header), *lines]
    return "".join("| " + " | ".join(part) + " |\n" for part in parts)


def image(words: str, name: str) -> str:
    """One of the report's pictures."""
    return f"![{words}](pictures/{name})\n"


def number(row: ResultRow) -> str:
    """The value, its interval, and the mark of a guess."""
    if row.value is None:
        return "—"
    form: Callable[[float], str] = error
    if row.metric.endswith(_SHARES):
        form = percent
    elif row.metric in ("queries", "ssim"):
        form = "{:.2f}".format
    text = form(row.value)
    if row.low is not None and row.high is not None:
        text += f" [{form(row.low)}, {form(row.high)}]"
    return text + (" †" if no_better_than_a_guess(row) else "")
