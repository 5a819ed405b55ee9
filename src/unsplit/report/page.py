"""The page: one HTML file that needs no network."""

import base64
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from unsplit.metrics import Score
from unsplit.report._findings import findings
from unsplit.report.box import box
from unsplit.report.charts import accuracy_chart, error_chart
from unsplit.report.longer import longer
from unsplit.report.numbers import decimals, error, on_scale, percent
from unsplit.report.pictures import Pictures
from unsplit.results import AuditResult, InversionRow
from unsplit.verdict import Verdict
from unsplit.verdict import verdict as judged
from unsplit.verdict.scale import network_score


def render(result: AuditResult, pictures: Pictures, verdict: Verdict | None = None) -> str:
    """The report as HTML; with this verdict, or the result's own."""
    score: Score = "accuracy" if result.training is None else result.training.score
    return template("report.html.j2").render(
        **box(result, verdict or judged(result, targets=len(pictures.originals))),
        result=result,
        findings=findings(result),
        longer=longer(result),
        u_shapes=_wholes(result, pictures),
        figures=_figures(result.inversion, pictures),
        error_chart=_chart(error_chart(result.inversion), _error_words(result.inversion)) if result.inversion else "",
        accuracy_chart=_chart(accuracy_chart(result.inversion, score), _accuracy_words(result.inversion, score))
        if result.inversion
        else "",
    )


def template(name: str) -> Template:
    """A template of this room, with the filters that pages use."""
    environment = Environment(
        loader=PackageLoader("unsplit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "error": error,
        "decimals": decimals,
        "on_scale": on_scale,
        "network": network_score,
    }
    return environment.get_template(name)


def _figures(rows: Sequence[InversionRow], pictures: Pictures) -> list[dict[str, object]]:
    if not pictures.drawable:
        return []
    figures = []
    for row, drawn in zip(rows, pictures.comparisons, strict=True):
        encoded = base64.b64encode(drawn).decode()
        words = (
            f"{len(pictures.originals)} original inputs above what the server made of them at depth {row.depth}, "
            f"{row.state} training, preset {row.attack}: mean squared error {error(row.mse)}, best blind guess "
            f"{error(row.mse_best_trivial)}."
        )
        figures.append({"row": row, "source": f"data:image/png;base64,{encoded}", "words": words})
    return figures


def _wholes(result: AuditResult, pictures: Pictures) -> list[dict[str, object]]:
    """The attacks on the U-shape, each with its picture (none where the inputs are not pictures)."""
    drawn = pictures.whole_comparisons or [b""] * len(result.u_shapes)
    return [
        {"row": row, "picture": base64.b64encode(png).decode()}
        for row, png in zip(result.u_shapes, drawn, strict=False)
    ]


def _chart(svg: str, words: str) -> Markup:
    """The SVG with its description, for readers who cannot see it."""
    opening = Markup('<svg role="img" aria-label="{}"').format(words)
    return opening + Markup(svg.removeprefix("<svg"))


def _error_words(rows: Sequence[InversionRow]) -> str:
    points = "; ".join(f"{error(row.mse)} at depth {row.depth}, {row.state} training, {row.attack}" for row in rows)
    guesses = ", ".join(f"{name} {error(value)}" for name, value in rows[0].guesses.items())
    return f"Chart of mean squared error against depth: {points}. Trivial guesses: {guesses}."


def _accuracy_words(rows: Sequence[InversionRow], score: Score) -> str:
    points = "; ".join(
        f"{network_score(row.clone_accuracy, score)} of {network_score(row.reference_accuracy, score)} at depth "
        f"{row.depth}, {row.state} training, {row.attack}"
        for row in rows
    )
    what, chance = ("R²", "The mean") if score == "r2" else ("accuracy", "Chance")
    guess = network_score(rows[0].clone_chance, score)
    return f"Chart of the clone's test {what} against depth: {points}. {chance}: {guess}."
