"""`results.md`, and the same as HTML: nothing here but what the rows say."""

from collections.abc import Callable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from unsplit.experiment.reproduce.rows import PAPER_SETS, ResultRow, no_better_than_a_guess, smaller_budget, verdict
from unsplit.report.numbers import error, percent
from unsplit.report.reproduction.claims import claims
from unsplit.report.reproduction.labels import labels_section
from unsplit.report.reproduction.markdown import image, markdown_table, number
from unsplit.report.reproduction.seeds import seeds_section
from unsplit.report.reproduction.select import distinct, mean_value, only, select, title

INTRODUCTION = """# The paper's tables and figures, rerun

Rendered from `results.json` by `unsplit reproduce report`; do not edit. How each was measured, and what the paper
leaves open, is in [reproduction.md](reproduction.md).

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
Pictures = Sequence[str]


def page_markdown(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    """The page as Markdown.

    Args:
        rows: of `results.json`.
        pictures: names of the files in `pictures/` that there are.
    """
    sections: tuple[Callable[[Sequence[ResultRow], Pictures], str], ...] = (
        _overview,
        _table2,
        _seeds,
        _table3,
        _table4,
        _table5,
        _table6,
        _figure2,
        _figure3a,
        _figure3b,
        _white_box,
        labels_section,
        _commands,
    )
    # Defences have a page of their own.
    rows = [row for row in rows if row.defense is None]
    made = [section(rows, pictures) for section in sections]
    return "\n".join([INTRODUCTION, *(text for text in made if text)])


def page_html(markdown: str) -> str:
    """The page as an HTML file that needs no network but for its pictures beside it."""
    environment = Environment(loader=PackageLoader("unsplit.report"), autoescape=True, undefined=StrictUndefined)
    body = MarkdownIt("commonmark").enable("table").render(markdown)
    return environment.get_template("results.html.j2").render(body=Markup(body))


def _overview(rows: Sequence[ResultRow], _: Pictures) -> str:
    judged = [row for row in rows if row.table == "table2" and row.metric in ("mse", "clone_accuracy")]
    lines = []
    for dataset in distinct(judged, "dataset"):
        for preset in distinct(judged, "preset"):
            chosen = select(judged, dataset=dataset, preset=preset)
            if not chosen:
                continue
            verdicts = [verdict(row) for row in chosen]
            guesses = sum(no_better_than_a_guess(row) for row in chosen)
            counts = [verdicts.count(word) for word in ("reproduced", "better", "undecided", "not reproduced")]
            counts += [sum(map(smaller_budget, chosen)), sum(row.value is None for row in chosen), guesses]
            lines.append([title(str(dataset)), str(preset), *map(str, counts)])
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


def _table2(rows: Sequence[ResultRow], _: Pictures) -> str:
    parts = ["## Table 2: inversion and stealing\n"]
    chosen = select(rows, table="table2")
    for dataset in distinct(chosen, "dataset"):
        for preset in distinct(select(chosen, dataset=dataset), "preset"):
            cells = select(chosen, dataset=dataset, preset=preset)
            guess = next((row.trivial for row in cells if row.metric == "mse" and row.trivial is not None), None)
            parts.append(f"### {title(str(dataset))}, preset `{preset}`\n")
            if guess is not None:
                parts.append(f"Best guess that has seen nothing: {error(guess)}.\n")
            lines = []
            for depth in distinct(cells, "depth"):
                line = [str(depth)]
                for state, metric in (("before", "mse"), ("after", "mse"), ("after", "clone_accuracy")):
                    row = only(cells, depth=depth, state=state, metric=metric)
                    line += _three(row)
                for metric in ("mse_scale_free", "mse_scale_free_each", "ssim"):
                    row = only(cells, depth=depth, state="after", metric=metric)
                    line.append(number(row) if row is not None else "")
                line.append(_notes(select(cells, depth=depth)))
                lines.append(line)
            header = ["depth"]
            for what in ("before: paper", "after: paper", "clone: paper"):
                header += [what, "ours", "verdict"]
            parts.append(
                markdown_table([*header, "scale-free, after", "of each picture", "SSIM, after", "note"], lines)
            )
    return "\n".join([*parts, _claims(rows, "table2")])


def _seeds(rows: Sequence[ResultRow], _: Pictures) -> str:
    return seeds_section(rows)


def _table3(rows: Sequence[ResultRow], _: Pictures) -> str:
    chosen = select(rows, table="table3")
    lines = [
        [title(row.dataset), str(row.depth), row.preset, *_three(row), _percent(row.trivial), row.note]
        for row in chosen
    ]
    return "## Table 3: label inference\n\n" + markdown_table(
        ["data", "head", "client's optimiser, clone head", "paper", "ours", "verdict", "commonest class", "note"], lines
    )


def _table4(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    names = _named(pictures, "table4-")
    if not names:
        return ""
    shown = [image(f"Originals and reconstructions, {name[7:-4]}", name) for name in names]
    lines = []
    for row in _depth_three(rows):
        ssim = only(
            rows, table=row.table, dataset=row.dataset, depth=3, state="after", preset=row.preset, metric="ssim"
        )
        attack = row.preset if row.table == "figure3a" else f"UnSplit, {row.preset}"
        lines.append([title(row.dataset), attack, number(row), number(ssim) if ssim else "", row.note])
    table = markdown_table(["data", "attack", "MSE at depth 3", "SSIM", "note"], lines) if lines else ""
    return "## Table 4: pictures at depth three, trained client\n\n" + "\n".join([*shown, table])


def _depth_three(rows: Sequence[ResultRow]) -> list[ResultRow]:
    chosen = [row for row in rows if row.table in ("figure3a", "table2") and (row.depth, row.state) == (3, "after")]
    chosen = [row for row in chosen if row.metric == "mse" and row.value is not None]
    return sorted(chosen, key=lambda row: (PAPER_SETS.index(row.dataset), row.table))


def _table5(rows: Sequence[ResultRow], _: Pictures) -> str:
    chosen = select(rows, table="table5")
    lines = [
        [title(row.dataset), str(row.depth), row.preset.removeprefix("until "), *_three(row), row.note]
        for row in chosen
    ]
    return (
        "## Table 5: black-box queries until UnSplit's error\n\nIntervals are over runs, each of other pictures and "
        "queries. Fewer queries are better for the black box.\n\n"
        + markdown_table(["data", "depth", "error to reach", "paper", "ours", "verdict", "note"], lines)
    )


def _table6(_: Sequence[ResultRow], pictures: Pictures) -> str:
    names = _named(pictures, "table6-")
    if not names:
        return ""
    shown = [f"`{name[7:-4]}`:\n\n" + image(f"Reconstructions by depth, {name[7:-4]}", name) for name in names]
    return (
        "## Table 6: pictures by depth\n\nLeft: before training. Right: after it. Empty rows were not run.\n\n"
        + "\n".join(shown)
    )


def _figure2(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    return _figure("Figure 2: error while the client trains", rows, "figure2", pictures)


def _figure3a(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    chosen = select(rows, table="figure3a")
    lines = []
    for dataset in distinct(chosen, "dataset"):
        for attack in distinct(select(chosen, dataset=dataset), "preset"):
            cells = select(chosen, dataset=dataset, preset=attack)
            errors = select(cells, metric="mse")
            values = [number(row) for row in errors]
            mean = mean_value(errors)
            line = [title(str(dataset)), str(attack), *values, *[""] * (8 - len(values))]
            lines.append([*line, "" if mean is None else error(mean), _notes(cells)])
    depths = [f"depth {depth}" for depth in range(1, 9)]
    table = markdown_table(["data", "attack", *depths, "mean", "note"], lines)
    return _figure("Figure 3a: UnSplit and the attacks of He et al.", rows, "figure3a", pictures, table)


def _figure3b(rows: Sequence[ResultRow], pictures: Pictures) -> str:
    chosen = [row for row in select(rows, table="figure3b", metric="mse") if row.preset == "joint"]
    lines = [[title(row.dataset), str(row.depth), number(row), row.note] for row in chosen]
    table = markdown_table(["data", "depth in the ResNet", "UnSplit, joint", "note"], lines) if lines else ""
    return _figure("Figure 3b: UnSplit and feature-space hijacking", rows, "figure3b", pictures, table)


def _white_box(rows: Sequence[ResultRow], _: Pictures) -> str:
    lines = []
    for row in select(rows, table="white-box"):
        short = "" if row.value is None or row.paper is None else f"{row.value - row.paper:+.1f}"
        ours = f"{row.value:.1f}" if row.value is not None else f"({row.note})"
        lines.append([title(row.dataset), str(row.depth), "" if row.paper is None else str(row.paper), ours, short])
    return (
        "## The white box beside its own authors' figures\n\nPSNR in dB; He et al. do not say on which pictures.\n\n"
        + markdown_table(["data", "depth", "He et al.", "ours", "difference"], lines)
    )


def _commands(rows: Sequence[ResultRow], _: Pictures) -> str:
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


def _figure(heading: str, rows: Sequence[ResultRow], table: str, pictures: Pictures, more: str = "") -> str:
    name = f"{table}.png"
    shown = image(heading, name) if name in pictures else "Not run.\n"
    notes = _notes(select(rows, table=table))
    parts = [f"## {heading}\n", shown, f"Notes: {notes}.\n" if notes and not more else "", more, _claims(rows, table)]
    return "\n".join(part for part in parts if part)


def _claims(rows: Sequence[ResultRow], table: str) -> str:
    lines = [[claim.text, claim.outcome, claim.seen] for claim in claims(rows) if claim.table == table]
    return markdown_table(["what the paper says", "here", "what we saw"], lines) if lines else ""


def _three(row: ResultRow | None) -> list[str]:
    """The paper's value, ours, and the verdict."""
    if row is None:
        return ["", "", ""]
    if row.paper is None:
        printed = ""
    elif row.metric.endswith("accuracy"):
        printed = f"{100 * row.paper:g}%"
    else:
        printed = f"{row.paper:g}"
    return [printed, number(row), verdict(row) or ""]


def _percent(value: float | None) -> str:
    return "" if value is None else percent(value)


def _notes(rows: Sequence[ResultRow]) -> str:
    """What is to be said of a line, once each; of missing numbers, which they are."""
    notes = dict.fromkeys(row.note for row in rows if row.note and row.value is not None)
    for row in rows:
        if row.value is None:
            notes.setdefault(f"{row.state} training: {row.note}" if row.state in ("before", "after") else row.note)
    return "; ".join(notes)


def _named(pictures: Pictures, prefix: str) -> list[str]:
    """The files of a table, in the paper's order of data sets."""
    names = [name for name in pictures if name.startswith(prefix)]
    places = {name: [name.startswith(f"{prefix}{dataset}") for dataset in PAPER_SETS] for name in names}
    return sorted(names, key=lambda name: (places[name].index(True) if True in places[name] else -1, name))
