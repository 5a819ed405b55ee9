"""The page of an audit: one HTML file that needs no network."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from unsplit.experiment.traffic.audit import RecordedAudit
from unsplit.metrics import Score
from unsplit.report._findings import findings
from unsplit.report.box import box, figure, tone, words
from unsplit.report.charts import accuracy_chart, error_chart
from unsplit.report.longer import longer
from unsplit.report.numbers import decimals, error, on_scale, percent
from unsplit.report.pictures import Pictures, inline
from unsplit.results import AuditResult, InversionRow, RecordedInversionRow
from unsplit.verdict import Verdict
from unsplit.verdict import verdict as judged
from unsplit.verdict.scale import network_score


def render(result: AuditResult, pictures: Pictures, verdict: Verdict | None = None) -> str:
    """The report as HTML; with this verdict, or the result's own."""
    recorded = result.recorded
    parts = {
        **box(result, verdict or judged(result, targets=pictures.targets)),
        "result": result,
        "findings": findings(result),
    }
    if recorded is not None:
        return template("recorded.html.j2").render(
            **parts, recorded=recorded, figures=_figures(recorded.inversion, pictures)
        )
    rows, u_shapes = result.inversion, pictures.whole_comparisons or (b"",) * len(result.u_shapes)
    score: Score = "accuracy" if result.training is None else result.training.score
    return template("report.html.j2").render(
        **parts,
        longer=longer(result),
        u_shapes=[{"row": row, "picture": inline(png)} for row, png in zip(result.u_shapes, u_shapes, strict=False)],
        targets=pictures.targets,
        figures=_figures(rows, pictures),
        error_chart=within_page(error_chart(rows)) if rows else "",
        accuracy_chart=within_page(accuracy_chart(rows, score)) if rows else "",
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
    filters = (percent, error, decimals, on_scale, figure, tone, words)
    environment.filters |= {"network": network_score, **{each.__name__: each for each in filters}}
    return environment.get_template(name)


def _figures(rows: Sequence[InversionRow | RecordedInversionRow], pictures: Pictures) -> list[dict[str, object]]:
    """Each row with its picture; none where the inputs are not pictures."""
    drawn = zip(rows, pictures.comparisons, strict=True) if pictures.drawable else ()
    return [{"row": row, "source": inline(png)} for row, png in drawn]


def within_page(svg: str) -> Markup:
    """A chart without the start of its first tag, which a template writes, to say there what the chart shows."""
    return Markup(svg.removeprefix("<svg"))
