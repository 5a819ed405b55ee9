"""The page of an audit: one HTML file that needs no network."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from unsplit.experiment.traffic.audit import RecordedAudit
from unsplit.metrics import Score
from unsplit.report._findings import findings
from unsplit.report.box import box
from unsplit.report.charts import accuracy_chart, error_chart
from unsplit.report.longer import longer
from unsplit.report.numbers import decimals, error, on_scale, percent
from unsplit.report.pictures import Pictures, inline
from unsplit.results import AuditResult, InversionRow, RecordedInversionRow
from unsplit.verdict import Verdict
from unsplit.verdict import verdict as judged
from unsplit.verdict.scale import network_score

_SETUPS = {
    "a": "setup (a): the client sends smashed data and labels",
    "b": "setup (b): the server has the inputs, the client the labels and the last layers",
    "c": "setup (c), the U-shape: the client has the inputs, the labels, the first and the last layers",
    None: "smashed data only, as when a network is used rather than trained",
}


def render(result: AuditResult, pictures: Pictures, verdict: Verdict | None = None) -> str:
    """The report as HTML; with this verdict, or the result's own."""
    recorded = result.recorded
    parts = {
        **box(result, verdict or judged(result, targets=pictures.targets)),
        "result": result,
        "findings": findings(result),
    }
    if recorded is not None:
        observer = "the server" if recorded.observer == "server" else recorded.observer
        words = [_recorded_words(row, observer) for row in recorded.inversion]
        return template("recorded.html.j2").render(
            **parts,
            recorded=recorded,
            observer=observer,
            scored=[row.scores for row in recorded.inversion if row.scores is not None],
            figures=_figures(recorded.inversion, pictures, words),
            setups=_SETUPS,
        )
    rows, u_shapes = result.inversion, pictures.whole_comparisons or (b"",) * len(result.u_shapes)
    score: Score = "accuracy" if result.training is None else result.training.score
    return template("report.html.j2").render(
        **parts,
        longer=longer(result),
        u_shapes=[{"row": row, "picture": inline(png)} for row, png in zip(result.u_shapes, u_shapes, strict=False)],
        figures=_figures(rows, pictures, [_words(row, pictures.targets) for row in rows]),
        error_chart=_chart(error_chart(rows), _error_words(rows)) if rows else "",
        accuracy_chart=_chart(accuracy_chart(rows, score), _accuracy_words(rows, score)) if rows else "",
    )


def render_recorded(found: RecordedAudit, verdict: Verdict | None = None) -> str:
    """The report of an audit of recorded traffic as HTML; with this verdict, or the result's own."""
    return render(found.result, pictures_of(found), verdict)


def pictures_of(found: RecordedAudit) -> Pictures:
    """The pictures of an audit of recorded traffic."""
    return Pictures(originals=found.originals, reconstructions=found.reconstructions)


def template(name: str) -> Template:
    """A template of this room, with the filters that pages use."""
    environment = Environment(
        loader=PackageLoader("unsplit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, error, decimals, on_scale)
    environment.filters |= {"network": network_score, **{each.__name__: each for each in filters}}
    return environment.get_template(name)


def _figures(
    rows: Sequence[InversionRow | RecordedInversionRow], pictures: Pictures, words: Sequence[str]
) -> list[dict[str, object]]:
    """The picture of each row with its description; none where the inputs are not pictures."""
    if not pictures.drawable:
        return []
    drawn = zip(rows, pictures.comparisons, words, strict=True)
    return [{"row": row, "source": inline(png), "words": text} for row, png, text in drawn]


def _words(row: InversionRow, number: int | None) -> str:
    return (
        f"{number} original inputs above what the server made of them at depth {row.depth}, {row.state} training, "
        f"preset {row.attack}: mean squared error {error(row.mse)}, best blind guess {error(row.mse_best_trivial)}."
    )


def _recorded_words(row: RecordedInversionRow, observer: str) -> str:
    begin = f"{row.samples} inputs of step {row.step} as {observer} redrew them, preset {row.preset}"
    if row.scores is None:
        return f"{begin}: relative residual {error(row.residual)}, the originals are not known."
    return (
        f"{begin}, below the originals: mean squared error {error(row.scores.mse)}, best blind guess "
        f"{error(row.scores.mse_best_trivial)}."
    )


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
