"""Pieces of Markdown that several sections are made of."""

import textwrap
from collections.abc import Callable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from unsplit.report.numbers import error, percent
from unsplit.studies.grid.rows import OWN_STREAMS, ResultRow, began_as_the_client, no_better_than_a_guess

_SHARES = ("accuracy", "agreement", "names")
_FORMS: dict[str, Callable[[float], str]] = {
    "queries": "{:.2f}".format,
    "ssim": "{:.2f}".format,
    "skill": "{:.2f}".format,
    "seconds": "{:.3f}".format,
    "bytes": "{:.0f}".format,
}


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    parts = [header, ["---"] * len(header), *lines]
    return "".join("| " + " | ".join(part) + " |\n" for part in parts)


def image(words: str, name: str) -> str:
    """One of the report's pictures."""
    return f"![{words}](pictures/{name})\n"


def number(row: ResultRow) -> str:
    """The value, its interval, and the marks of a guess and of a client's own start."""
    if row.value is None:
        return "—"
    form = form_of(row.metric)
    text = form(row.value)
    if row.low is not None and row.high is not None:
        text += f" [{form(row.low)}, {form(row.high)}]"
    return text + (" †" if no_better_than_a_guess(row) else "") + (" ‡" if began_as_the_client(row) else "")


def form_of(metric: str) -> Callable[[float], str]:
    """How a metric's numbers are written: shares in percent, errors with four digits."""
    return percent if metric.endswith(_SHARES) else _FORMS.get(metric, error)


def notice_of_starts(rows: Sequence[ResultRow]) -> str:
    """What the mark ‡ means, where any of these rows has it; else nothing."""
    if not any(map(began_as_the_client, rows)):
        return ""
    text = (
        f"**‡**: measured before revision {OWN_STREAMS} of this program, and perhaps too good. The attack had the "
        "client's seed, so the first network that it tried began with the client's own first weights, which no "
        "attacker knows: all of an attack that tries one network, the first restart of `strong`, the first picture of "
        "`paper` and `released`. Since then every attack draws from a stream of its own; numbers measured again lose "
        "the mark. Verdicts, means and claims that rest on marked numbers are as uncertain as these."
    )
    return textwrap.fill(text, width=120) + "\n"


def page_html(markdown: str) -> str:
    """The page as an HTML file that needs no network but for its pictures beside it."""
    environment = Environment(loader=PackageLoader("unsplit.report"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("results.html.j2").render(body=as_html(markdown))


def as_html(markdown: str) -> Markup:
    """Markdown as HTML. Tags in its text, such as the name of a device may have, are shown and not obeyed."""
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))
