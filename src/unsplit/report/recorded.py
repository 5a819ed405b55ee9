"""The page of an audit of recorded traffic; without the truth it says so, and scores nothing."""

import base64
from pathlib import Path

from unsplit.experiment.traffic.audit import RecordedAudit
from unsplit.files import replacing, writable_folder, write_text
from unsplit.report._findings import GRADES, Finding, Level, grade, level
from unsplit.report.box import box
from unsplit.report.numbers import error
from unsplit.report.page import template
from unsplit.report.pictures import drawable, drawn
from unsplit.results import RecordedInversionRow, RecordedLabelRow, RecordedRow
from unsplit.verdict import Verdict
from unsplit.verdict import verdict as judged
from unsplit.verdict.scale import SHAPE_ONLY, taken

_SETUPS = {
    "a": "setup (a): the client sends smashed data and labels",
    "b": "setup (b): the server has the inputs, the client the labels and the last layers",
    "c": "setup (c), the U-shape: the client has the inputs, the labels, the first and the last layers",
    None: "smashed data only, as when a network is used rather than trained",
}


def write_recorded_report(folder: Path, found: RecordedAudit, verdict: Verdict | None = None) -> Path:
    """Write `report.json`, `verdict.json`, `pictures/*.png` and `report.html`; returns the page's path.

    Everything is made before anything is written, so a failure leaves an older report as it was.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    recorded, pictures = _recorded(found), _pictures(found)
    verdict = verdict or judged(found.result)
    page = render_recorded(found, verdict)
    writable_folder(folder)
    for row, png in zip(recorded.inversion, pictures, strict=bool(pictures)):
        with replacing(folder / row.pictures) as temporary:
            temporary.write_bytes(png)
    write_text(folder / "report.json", found.result.model_dump_json(indent=1) + "\n")
    write_text(folder / "verdict.json", verdict.model_dump_json(indent=1) + "\n")
    write_text(folder / "report.html", page)
    return folder / "report.html"


def render_recorded(found: RecordedAudit, verdict: Verdict | None = None) -> str:
    """The report as HTML; with this verdict, or the result's own."""
    recorded = _recorded(found)
    figures = [
        {
            "row": row,
            "source": f"data:image/png;base64,{base64.b64encode(png).decode()}",
            "words": _words(row, _observer(recorded)),
        }
        for row, png in zip(recorded.inversion, _pictures(found), strict=False)
    ]
    return template("recorded.html.j2").render(
        **box(found.result, verdict or judged(found.result)),
        result=found.result,
        recorded=recorded,
        observer=_observer(recorded),
        findings=recorded_findings(recorded),
        scored=[row.scores for row in recorded.inversion if row.scores is not None],
        figures=figures,
        setups=_SETUPS,
    )


def recorded_findings(recorded: RecordedRow) -> tuple[Finding, ...]:
    """What leaked, the inputs first, then the labels."""
    inputs = _inputs(recorded) if recorded.inversion else []
    return (*inputs, *(finding for row in recorded.labels for finding in _labels(row)))


def _inputs(recorded: RecordedRow) -> list[Finding]:
    first = recorded.inversion[0]
    begin = f"From what was sent in step {first.step}, these attacks redrew the {first.samples} inputs of its batch"
    scored = [(row, row.scores) for row in recorded.inversion if row.scores is not None]
    if not scored:
        own = "; ".join(f"preset {row.preset} {_own_words(row)}" for row in recorded.inversion)
        text = f"{begin}. How close they come needs the truth to be said. The attacks' own estimates: {own}."
        return [Finding(level="unknown", about="Inputs", text=text)]
    row, scores = max(scored, key=lambda pair: (taken(pair[1]), pair[1].skill))
    word = grade(scores)
    forgiven = f"; {error(scores.mse_scale_free)} if these are forgiven" if word == SHAPE_ONLY else ""
    text = (
        f"{begin}: {word} (error {error(scores.mse)}{forgiven}, preset {row.preset}). The best guess that has seen no "
        f"message makes an error of {error(scores.mse_best_trivial)}."
    )
    if row.sign == "ambiguous":
        text += " Whether pictures or their negatives were found could not be told."
    place = GRADES.index(word)
    return [Finding(level="high" if place <= 1 else "some" if place <= 3 else "none", about="Inputs", text=text)]


def _own_words(row: RecordedInversionRow) -> str:
    agreement = "" if row.agreement is None else f", restarts agree by {row.agreement:.2f}"
    return f"has a relative residual of {error(row.residual)}, sign {row.sign}{agreement}"


_SEEN = {
    "sent": "The client sends its labels, so that no attack is needed",
    "infer_by_surrogate": "From cut gradients alone",
    "infer_from_handed_weights": "From cut gradients and the weights of heads that were handed over",
}


def _labels(row: RecordedLabelRow) -> list[Finding]:
    """One finding without scores, or one for each score."""
    what = "labels were read" if row.named else "samples were grouped by class, the classes' names unknown"
    text = f"{_SEEN[row.attack]}: {row.samples - row.undecided:,} of {row.samples:,} {what}."
    about = "Labels" if row.named else "Labels, unnamed"
    if not row.scores:
        certain = row.attack == "sent"
        more = "" if certain else " How many are right needs the truth to be said."
        return [Finding(level="high" if certain else "unknown", about=about, text=text + more)]
    found = []
    for score in row.scores:
        value = score.accuracy_up_to_names if score.accuracy is None else score.accuracy
        known = f", with {score.known_samples} known sample of each class" if score.known_samples else ""
        names = " up to the classes' names" if score.accuracy is None else ""
        said = (
            f" Of {score.samples:,} whose truth is known, {value:.1%} are right{names}{known} (always naming the "
            f"commonest class: {score.chance:.1%})."
        )
        seriousness: Level = level(value, score.chance, 1.0)
        about = "Labels, unnamed" if score.accuracy is None else "Labels"
        found.append(Finding(level=seriousness, about=about, text=text + said))
    return found


def _words(row: RecordedInversionRow, observer: str) -> str:
    begin = f"{row.samples} inputs of step {row.step} as {observer} redrew them, preset {row.preset}"
    if row.scores is None:
        return f"{begin}: relative residual {error(row.residual)}, the originals are not known."
    return (
        f"{begin}, below the originals: mean squared error {error(row.scores.mse)}, best blind guess "
        f"{error(row.scores.mse_best_trivial)}."
    )


def _observer(recorded: RecordedRow) -> str:
    return "the server" if recorded.observer == "server" else recorded.observer


def _recorded(found: RecordedAudit) -> RecordedRow:
    if found.result.recorded is None:
        raise ValueError("this result is not of recorded traffic")
    return found.result.recorded


def _pictures(found: RecordedAudit) -> list[bytes]:
    """A PNG for each reconstruction, below the originals where these are known; none of inputs that are no pictures."""
    sets = [(inputs,) if found.originals is None else (found.originals, inputs) for inputs in found.reconstructions]
    return [drawn(*images) for images in sets if drawable(images[0])]
