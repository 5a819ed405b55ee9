"""Writing the page of the trade-off, from rows alone."""

from collections.abc import Sequence
from pathlib import Path

from unsplit.files import replacing, writable_folder, write_text
from unsplit.report.numbers import percent
from unsplit.studies.grid.markdown import image, markdown_table, page_html
from unsplit.studies.grid.rows import ResultRow, dump_rows, read_rows, updated
from unsplit.studies.tradeoff import AFFORDABLE, LEAKS, Measure, Point, advise, pareto, points
from unsplit.studies.tradeoff.chart import pareto_chart

_TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar-10": "CIFAR-10", "digits": "Digits"}

INTRODUCTION = f"""# What defences cost, and what they leave

Rendered from `results.json` by `unsplit tradeoff`; do not edit. What each defence does and claims is in
[defences.md](defenses.md).

Each row is a training in the U-shape (inputs and labels stay with the client) under one defence, and what its server
then gets: **inputs** of ten pictures, as the share of the best blind guess's error that the attack removes (100 % is
exact, 0 % no better than a guess); SSIM of the same; **clone**, the test accuracy of the stolen first layers with the
client's own rest; **labels** of the last steps, read from cut gradients, up to the classes' names. Each of these
twice: from an attacker who does not know the defence, and from one who does (*adaptive*: the defence is part of what
it fits; noisy labels are weighed against what the stolen head has learned). **Accuracy** is the task's, with the
defence in use. Bytes are for one sample's smashed data where the wire packs what the defence leaves out. Brackets are
95 % intervals over seeds (Student's t).

*The stronger* is, seed by seed, whichever of both attacks gets more, and nothing where that is worse than a guess.
Small attacks miss now and then (they find the negative of the pictures, and score below a guess), so means of either
alone can mislead.

Recommended is what leaves least, by the upper end of the interval of the stronger attack, at a price of at most
{100 * AFFORDABLE:g} points of accuracy. It holds for these attacks, this network, cut and amount of training, and no
further: *not recovered by our attacks* is no proof that nothing can be. Attacks here are of a small budget; a mild
defence that seems to help against them may not help against more work.
"""


_JOINT_ALONE = """\
Where a command below says `--attacks joint`, no other attack on the inputs was run. That one is weak behind deeper
cuts, where `strong` is not ([results.md](results.md), Table 2): a row of `deeper-cut` shows this attack's limit, and is
no ground to trust a deeper cut, and none is recommended.
"""


def tradeoff_markdown(rows: Sequence[ResultRow], folder: str = "pictures") -> str:
    """The page as Markdown.

    Args:
        rows: the rows of `results.json`.
        folder: the folder of the charts, relative to the page.
    """
    parts = [INTRODUCTION]
    commands = dict.fromkeys(row.command for row in rows if row.table == "tradeoff")
    joint_alone = any(command.split(" --defense")[0].endswith("--attacks joint") for command in commands)
    if joint_alone:
        parts.append(_JOINT_ALONE)
    found = points(rows)
    for dataset in dict.fromkeys(point.dataset for point in found):
        chosen = [point for point in found if point.dataset == dataset]
        parts.append(f"## {_title(dataset)}\n")
        judged = [point for point in chosen if not (joint_alone and point.family == "deeper-cut")]
        parts += [f"- {advise(judged, asset).text}\n" for asset in LEAKS]
        for asset in LEAKS:
            picture = image(f"{_title(dataset)}: accuracy against {asset} that leak", chart_name(dataset, asset))
            parts.append(picture.replace("pictures/", f"{folder}/"))
        parts.append(_table(chosen))
    parts.append("## Commands\n\n" + "".join(f"    {command}\n" for command in commands))
    return "\n".join(parts)


def write_tradeoff(rows: Sequence[ResultRow], folder: Path) -> Path:
    """Write `results.json` (beside rows of other tables that it has), `tradeoff.md`, `tradeoff.html` and the charts;
    returns the HTML page's path.

    Raises:
        StorageError: the folder cannot be written.
        FormatError: its `results.json` is damaged.
    """
    writable_folder(folder)
    path = folder / "results.json"
    if path.exists():
        rows = updated(read_rows(path), rows)
    write_text(path, dump_rows(rows))
    rows = [row for row in read_rows(path) if row.table == "tradeoff"]
    gallery = writable_folder(folder / "pictures")
    found = points(rows)
    for dataset in dict.fromkeys(point.dataset for point in found):
        chosen = [point for point in found if point.dataset == dataset]
        for asset, metric in LEAKS.items():
            with replacing(gallery / chart_name(dataset, asset)) as temporary:
                temporary.write_bytes(pareto_chart(chosen, metric, f"{_title(dataset)}, {asset}"))
    markdown = tradeoff_markdown(rows)
    write_text(folder / "tradeoff.md", markdown)
    write_text(folder / "tradeoff.html", page_html(markdown))
    return folder / "tradeoff.html"


def chart_name(dataset: str, asset: str) -> str:
    """The file of a chart."""
    name = "".join(letter if letter.isalnum() else "-" for letter in dataset).strip("-")
    return f"tradeoff-{name}-{asset}.png"


def _table(found: Sequence[Point]) -> str:
    best = {asset: {id(point) for point in pareto(found, metric)} for asset, metric in LEAKS.items()}
    lines = []
    for point in found:
        marks = "".join(mark for asset, mark in (("inputs", " ⬤"), ("labels", " ◯")) if id(point) in best[asset])
        lines.append(
            [
                f"`{point.defense}`{marks}{_fewer(point, found)}",
                _share(point.get("task_accuracy")),
                _both(point, "skill", _clipped),
                _share(point.leak("skill")),
                _both(point, "ssim", "{:.2f}".format),
                _both(point, "clone_accuracy", percent),
                _both(point, "label_accuracy_up_to_names", percent),
                _plain(point.get("bytes"), "{:,.0f}"),
                _plain(point.get("seconds"), "{:.3f}"),
            ]
        )
    header = [
        "defence", "accuracy", "inputs: unaware, adaptive", "inputs: the stronger", "SSIM", "clone",
        "labels: unaware, adaptive", "bytes a sample", "seconds a step",
    ]  # fmt: skip
    marks = "\n⬤: no other defence is at least as accurate and leaks less of the inputs; ◯: of the labels.\n"
    return markdown_table(header, lines) + marks


def _fewer(point: Point, found: Sequence[Point]) -> str:
    """How many seeds there are, where others have more: a training may end with a client that sends nothing."""
    counts = [measure.seeds for other in found if (measure := other.get("task_accuracy")) is not None]
    own = point.get("task_accuracy")
    return f" ({own.seeds} of {max(counts)} seeds)" if own is not None and own.seeds < max(counts) else ""


def _both(point: Point, metric: str, form: object) -> str:
    assert callable(form)
    parts = []
    for attack in ("unaware", "aware"):
        measure = point.get(metric, attack)
        if measure is None:
            parts.append("—")
            continue
        text = form(measure.value)
        parts.append(text)
    return ", ".join(parts)


def _clipped(value: float) -> str:
    return f"{max(value, 0.0):.0%}"


def _share(measure: Measure | None) -> str:
    if measure is None:
        return "—"
    text = percent(measure.value)
    return text if measure.low is None else f"{text} [{percent(measure.low)}, {percent(measure.high)}]"


def _plain(measure: Measure | None, form: str) -> str:
    return "—" if measure is None else form.format(measure.value)


def _title(dataset: str) -> str:
    return _TITLES.get(dataset, dataset)
