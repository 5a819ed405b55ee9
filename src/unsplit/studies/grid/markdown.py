"""Pieces of Markdown that several sections are made of."""

from collections.abc import Callable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from unsplit.report.numbers import error, percent
from unsplit.studies.grid.rows import ResultRow, no_better_than_a_guess

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


def page_html(markdown: str) -> str:
    """The page as an HTML file that needs no network but for its pictures beside it."""
    environment = Environment(loader=PackageLoader("unsplit.report"), autoescape=True, undefined=StrictUndefined)
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    return environment.get_template("results.html.j2").render(body=Markup(body))
