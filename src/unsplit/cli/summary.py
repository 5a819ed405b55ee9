"""What an audit prints: a line for each attack as it ends, and at the end what they came to, in lines of 80 columns.

The page has every row; here are the best of each depth, and ranges over the settings of label inference.
"""

from collections.abc import Callable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from unsplit.cli.console import err, say
from unsplit.cli.console import out as console
from unsplit.metrics import Score
from unsplit.report.box import TITLES, figure, words
from unsplit.report.numbers import error, percent
from unsplit.report.pictures import drawable
from unsplit.results import AuditResult, InversionRow, LabelRow, UShapeRow
from unsplit.verdict import Verdict
from unsplit.verdict.assets import knowing
from unsplit.verdict.scale import SHAPE_ONLY, grade, network_score, taken

_SEEN = {"weight_grad": "weight gradient", "cut_grad": "cut gradient"}
_COLUMNS = 4
"""Pictures side by side in a terminal, of so many pixels a side."""
_SIDE = 16


def print_summary(result: AuditResult) -> None:
    """The tables of an audit that trained."""
    if result.inversion:
        when = " and ".join(dict.fromkeys(row.state for row in result.inversion))
        say(f"Inputs and model: errors {when} training, best of {len(result.inversion)} attacks by depth", style="bold")
        console.print(_inversions(result))
    if result.labels:
        say(f"Labels: worst to best of {len(result.labels)} settings", style="bold")
        console.print(_labels(result.labels))
    for whole in result.u_shapes:
        say(_whole(whole))


def print_verdict(verdict: Verdict) -> None:
    """The three scores, what they rest on, how sure they are, and how sure the attacker could be."""
    for score in verdict.scores:
        say(f"{TITLES[score.asset]}: {figure(score)}, {words(score)}")
        measured = score.measured
        if score.score is not None:
            measured += f"; sure: {score.sure}; attacker: {score.self_estimate}"
        for line in (measured, score.disagreement):
            if line:
                say(f"  {line}")


class Following:
    """Tells of each attack of an audit as it ends, and shows what the first one recovered.

    Args:
        say: function that prints what it is given.
    """

    def __init__(self, say: Callable[[RenderableType], None]) -> None:
        self._say = say
        self._first = True

    def __call__(self, row: InversionRow, originals: Tensor, reconstructions: Tensor) -> None:
        """One attack has ended."""
        if self._first:
            self._say("Each attack as it ends: its error, and that of the best blind guess")
        name = f"depth {row.depth} ({row.cut}), {row.state} training, {row.attack}"
        self._say(f"  {name:46} {error(row.mse):>7}  {error(row.mse_best_trivial):>6}  {_short(row)}")
        if self._first and err.is_terminal and drawable(originals):
            self._say(blocks(originals, reconstructions))
        self._first = False


def blocks(originals: Tensor, reconstructions: Tensor) -> Text:
    """Some originals [n, 1 or 3, h, w] above their reconstructions, two pixels in each character."""
    strips = [_strip(images[:_COLUMNS]) for images in (originals, reconstructions)]
    text = Text()
    for strip in strips:
        for above, below in zip(strip[0::2], strip[1::2], strict=True):
            for one, two in zip(above, below, strict=True):
                text.append("▀", style=f"rgb({','.join(map(str, one))}) on rgb({','.join(map(str, two))})")
            text.append("\n")
    text.right_crop(1)
    return text


def _strip(images: Tensor) -> list[list[list[int]]]:
    """Pictures side by side with a dark line between them, as rows of pixels of red, green and blue from 0 to 255."""
    from torch.nn import functional

    small = functional.interpolate(images.detach().float().cpu().expand(-1, 3, -1, -1), (_SIDE, _SIDE), mode="area")
    row = functional.pad(small, (0, 1)).permute(2, 0, 3, 1).flatten(1, 2)
    pixels: list[list[list[int]]] = (row.clamp(0, 1) * 255).round().int().tolist()
    return pixels


def _inversions(result: AuditResult) -> Table:
    """The best attack of each depth: its error before and after training, and the clone."""
    rows, kind = result.inversion, _score(result)
    states = [state for state in ("before", "after") if any(row.state == state for row in rows)]
    table = _table("depth")
    for name in (*states, "best guess", "recovered", "clone", "own"):
        table.add_column(name, justify="left" if name == "recovered" else "right", no_wrap=True)
    for depth in sorted({row.depth for row in rows}):
        here = [row for row in rows if row.depth == depth]
        best = {state: _best([row for row in here if row.state == state]) for state in states}
        strongest = _best(here)
        clones = [row for row in here if row.state == states[-1] and row.clone_accuracy == row.clone_accuracy]
        clone = max((row.clone_accuracy for row in clones), default=float("nan"))
        table.add_row(
            f"{depth} ({here[0].cut})",
            *("—" if row is None else error(row.mse) for row in best.values()),
            error(here[0].mse_best_trivial),
            "—" if strongest is None else _short(strongest),
            network_score(clone, kind) if clones else "—",
            network_score(here[-1].reference_accuracy, kind),
        )
    return table


def _best(rows: Sequence[InversionRow]) -> InversionRow | None:
    return max(rows, key=lambda row: (taken(row), row.skill), default=None)


def _short(row: InversionRow) -> str:
    word = grade(row)
    return "shape only" if word == SHAPE_ONLY else word


def _labels(rows: Sequence[LabelRow]) -> Table:
    """Ranges over setups, heads and optimisers, as on the page; heads of clones that were not trained are left out."""
    table = _table("what the server reads")
    table.add_column("right", justify="right")
    table.add_column("commonest class", justify="right")
    for name, values, chance in _ranges(rows):
        low, high = percent(min(values)), percent(max(values))
        table.add_row(name, low if low == high else f"{low} to {high}", percent(chance))
    return table


def _ranges(rows: Sequence[LabelRow]) -> Iterator[tuple[str, list[float], float]]:
    groups: dict[str, list[LabelRow]] = {}
    for row in rows:
        if row.clone_head != "untrained":
            known = f", {row.known_samples} known of each class" if row.known_samples else ""
            names = ", up to names" if row.accuracy is None else ""
            corrected = ", corrected" if row.aware else ""
            groups.setdefault(f"{_SEEN[row.observed]}{known}{names}{corrected}", []).append(row)
    for name, group in groups.items():
        values = [row.accuracy_up_to_names if row.accuracy is None else row.accuracy for row in group]
        yield name, values, max(row.chance for row in group)


def _whole(whole: UShapeRow) -> str:
    return (
        f"U-shape, all at once{knowing(whole)}: error {error(whole.mse)} (best guess {error(whole.mse_best_trivial)}), "
        f"labels {percent(whole.label_accuracy)},\n  network without the client {percent(whole.whole_accuracy)} "
        f"(client's own {percent(whole.reference_accuracy)})."
    )


def _table(first: str) -> Table:
    """A table without lines, so that more of it fits."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    return table


def _score(result: AuditResult) -> Score:
    return "accuracy" if result.training is None else result.training.score
