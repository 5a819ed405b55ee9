"""Label inference beyond the paper's settings, from rows."""

from collections.abc import Sequence

from unsplit.report.numbers import percent
from unsplit.studies.grid.markdown import image, markdown_table, number
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import distinct, only, select
from unsplit.studies.reproduction.drawing import COLOURS, figure_of, plain, png
from unsplit.studies.reproduction.select import epoch_of, title
from unsplit.studies.reproduction.tables.labels.cells import DEFENCES, EPOCH, FIRST, SETTINGS, SHUFFLED

_NAMED, _UNNAMED = "label_accuracy", "label_accuracy_up_to_names"

_CUT_GRADIENTS = (
    ("surrogate, 0 known", "surrogate, up to names"),
    ("surrogate, 1 known", "surrogate, 1 known a class"),
    ("surrogate, 5 known", "5 known"),
    ("k-means of gradients, 0 known", "k-means of gradients, up to names"),
    ("spectral of gradients, 0 known", "spectral, up to names"),
    ("nearest known sample, 1 known", "nearest of 1 known a class"),
    ("k-means of features, 0 known", "features only, up to names"),
)


def labels_section(rows: Sequence[ResultRow], pictures: Sequence[str]) -> str:
    """Markdown, or nothing where the table was not run."""
    chosen = [row for row in select(rows, table="labels") if row.value is not None]
    if not chosen:
        return ""
    parts = [
        "## Labels, in the settings that people use\n",
        "Beyond the paper; how the attacks work is in [labels.md](labels.md). Setup (b) from untrained weights, "
        "batches of 64 under Adam unless said otherwise; the server sees cut gradients alone, and knows the head's "
        "architecture (the groupings and the nearest known sample: only the number of classes). *Up to names* is after "
        "the best renaming of groups, which the server does not know; *known* samples are the first of each class, and "
        "are not counted.\n",
        _watched(chosen, FIRST),
        _watched(chosen, EPOCH),
        _steps(chosen),
        image("Accuracy of label inference while the client trains", "labels.png") if "labels.png" in pictures else "",
        _watched(chosen, SHUFFLED, "Null: the client trains on shuffled labels, and the original ones are the truth"),
        _weights(chosen),
        _others(chosen),
        _defended(chosen),
    ]
    return "\n".join(part for part in parts if part)


def _watched(rows: Sequence[ResultRow], state: str, heading: str = "") -> str:
    here = select(rows, state=state)
    presets = [(preset, words) for preset, words in _CUT_GRADIENTS if select(here, preset=preset)]
    lines = []
    for dataset, head in _cells(here):
        cells = select(here, dataset=dataset, depth=head)
        values = [_accuracy(cells, preset) for preset, _ in presets]
        lines.append([title(dataset), str(head), *values, _clone(cells), _chance(cells)])
    if not lines:
        return ""
    stolen = any(line[-2] for line in lines)
    if not stolen:
        lines = [[*line[:-2], line[-1]] for line in lines]
    header = ["data", "head", *(words for _, words in presets), *(["stolen head (client's)"] if stolen else [])]
    words = heading or f"Cut gradients, {state}"
    return f"### {words}\n\n" + markdown_table([*header, "commonest class"], lines)


def _steps(rows: Sequence[ResultRow]) -> str:
    """How many steps must be seen: the surrogate on ever fewer of the first."""
    here = [row for row in rows if row.state.startswith("first ") and row.preset == "surrogate, 0 known"]
    here = [row for row in here if row.state != EPOCH]
    counts = sorted({int(row.state.split()[1]) for row in here})
    lines = [
        [title(dataset), str(head)]
        + [_accuracy(select(here, dataset=dataset, depth=head, state=f"first {n} steps")) for n in counts]
        for dataset, head in _cells(here)
    ]
    if not lines:
        return ""
    header = ["data", "head", *(f"{n} step{'s' if n > 1 else ''}" for n in counts)]
    return "### How many steps must be seen (surrogate, up to names)\n\n" + markdown_table(header, lines)


def _weights(rows: Sequence[ResultRow]) -> str:
    here = [row for row in rows if row.state.endswith(", weights seen")]
    if not here:
        return ""
    presets = distinct(here, "preset")
    lines = []
    for dataset, head in _cells(here):
        for state in distinct(select(here, dataset=dataset, depth=head), "state"):
            cells = select(here, dataset=dataset, depth=head, state=state)
            printed = next((f"{100 * row.paper:g}%" for row in cells if row.paper is not None), "")
            values = [_accuracy(cells, preset) for preset in presets]
            where = state.removesuffix(", weights seen")
            lines.append([title(dataset), str(head), where, printed, *values, _chance(cells)])
    return (
        "### Weights that pass through the server\n\nTwo clients in turns of one step; labels with their names, no "
        "sample known. *Matching* is the paper's rule with a clone head trained along.\n\n"
        + markdown_table(["data", "head", "batch, optimiser", "paper", *presets, "commonest class"], lines)
    )


def _others(rows: Sequence[ResultRow]) -> str:
    """Other batches, losses and optimisers, by head: the surrogate up to names, and the nearest known sample."""
    heads = sorted({row.depth or 0 for row in rows if row.state in SETTINGS})
    lines = []
    for dataset in distinct(rows, "dataset"):
        for state in SETTINGS:
            cells = select(rows, dataset=dataset, state=state)
            values = [
                _accuracy(select(cells, depth=head), preset)
                for preset in ("surrogate, 0 known", "nearest known sample, 1 known")
                for head in heads
            ]
            if any(values):
                lines.append([title(dataset), state, *values])
    if not lines:
        return ""
    header = ["data", "what is different", *(f"surrogate, head {head}" for head in heads)]
    header += [f"nearest of 1 known, head {head}" for head in heads]
    return "### Other batches, losses and optimisers\n\n" + markdown_table(header, lines)


def _defended(rows: Sequence[ResultRow]) -> str:
    lines, attacks = [], ("surrogate, 0 known", "surrogate, 1 known", "nearest known sample, 1 known")
    for dataset, head in _cells(rows):
        for state in DEFENCES:
            cells = select(rows, dataset=dataset, depth=head, state=state)
            task = only(cells, metric="task_accuracy")
            if task is not None:
                values = [_accuracy(cells, preset) for preset in attacks]
                lines.append([title(dataset), str(head), state, number(task), *values, _clone(cells)])
    if not lines:
        return ""
    return "### Two defences and their price, over the first epoch\n\n" + markdown_table(
        [
            *("data", "head", "defence", "task accuracy"),
            *(dict(_CUT_GRADIENTS)[preset] for preset in attacks),
            "stolen head (client's)",
        ],
        lines,
    )


def _cells(rows: Sequence[ResultRow]) -> list[tuple[str, int]]:
    return [
        (dataset, head)
        for dataset in distinct(rows, "dataset")
        for head in distinct(select(rows, dataset=dataset), "depth")
    ]


def _accuracy(rows: Sequence[ResultRow], preset: str | None = None) -> str:
    chosen = rows if preset is None else select(rows, preset=preset)
    found = [row for row in chosen if row.metric in (_NAMED, _UNNAMED)]
    return number(found[0]) if found else ""


def _clone(rows: Sequence[ResultRow]) -> str:
    stolen, own = only(rows, metric="clone_accuracy"), only(rows, metric="task_accuracy")
    if stolen is None or own is None or own.value is None:
        return ""
    return f"{number(stolen)} ({percent(own.value)})"


def _chance(rows: Sequence[ResultRow]) -> str:
    guess = next((row.trivial for row in rows if row.trivial is not None), None)
    return "" if guess is None else percent(guess)


def labels_plot(rows: Sequence[ResultRow]) -> bytes | None:
    """Accuracy with names in each stretch of the first epoch: heads by colour, attacks by line, data by panel."""
    chosen = [row for row in select(rows, table="labels") if row.state.startswith("from step ")]
    if not chosen:
        return None
    datasets = distinct(chosen, "dataset")
    figure = figure_of(4.2 * len(datasets), 3.8)
    every = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for axes, dataset in zip(every, datasets, strict=True):
        plain(axes, "training step", "labels right, names included" if axes is every[0] else "")
        axes.set_title(title(dataset), fontsize=10)
        for which, head in enumerate(distinct(select(chosen, dataset=dataset), "depth")):
            for dashes, attack in (("-", "surrogate"), (":", "nearest known sample")):
                here = select(chosen, dataset=dataset, depth=head, preset=f"{attack}, 1 known")
                curve = sorted((epoch_of(row), row.value or 0) for row in here)
                label = f"head of {head}, {attack}"
                axes.plot(*zip(*curve, strict=True), dashes, color=COLOURS[which], label=label)
        axes.axhline(chosen[0].trivial or 0, color="#1d2126", linewidth=0.9, linestyle="--", label="commonest class")
        axes.set_ylim(0, 1.02)
    return png(figure, every[len(every) // 2])
