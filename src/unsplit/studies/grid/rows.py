"""The rows that pages are rendered from: the contents of `results.json`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from unsplit.errors import FormatError
from unsplit.files import explained
from unsplit.results import Row

Metric = Literal[
    "mse",
    "mse_best_of_eight",
    "mse_scale_free",
    "mse_scale_free_each",
    "ssim",
    "psnr",
    "clone_accuracy",
    "clone_agreement",
    "label_accuracy",
    "label_accuracy_up_to_names",
    "task_accuracy",
    "queries",
    "residual",
    "agreement",
    "sure",
    "skill",
    "seconds",
    "bytes",
]
PaperVerdict = Literal["reproduced", "better", "undecided", "not reproduced"]


class ResultRow(Row):
    """One number: ours, the paper's, and the best guess that has seen nothing."""

    table: str = Field(description="as the command names it")
    dataset: str
    depth: int | None = Field(description="of the cut, or of the head for labels; null for a mean over depths")
    state: str = Field(description="of the client: before or after training, or after so many epochs or iterations")
    preset: str = Field(description="settings of UnSplit, or the name of another attack")
    metric: Metric
    value: float | None = Field(description="mean over seeds; null if it was not measured")
    low: float | None = Field(description="lower end of the 95 % interval over seeds; null with one seed")
    high: float | None = Field(description="its upper end")
    seeds: int
    paper: float | None = Field(description="what the paper prints (He et al. for the table white-box), if it does")
    trivial: float | None = Field(description="the best guess that has seen no message, where there is one")
    command: str = Field(description="what measures it again")
    defense: str | None = Field(default=None, description="of the client, in the table tradeoff; left out elsewhere")
    device: str | None = Field(default=None, description="the GPU that computed it; left out of a processor's")
    versions: str | None = Field(
        default=None, description="of unsplit and torch that computed it; left out where unknown"
    )
    note: str = Field(default="", description="a smaller budget than the paper's, or why there is no number")
    revision: int | None = Field(
        default=None,
        description="of the code that measured it (`studies.grid.REVISION`); left out where it is 2 or less",
    )


def paper_verdict(row: ResultRow) -> PaperVerdict | None:
    """How a number compares with the paper's; None where either is missing, or ours is of a smaller budget.

    Reproduced: our mean lies within 10 % of the paper's value (accuracies: two points), or within 25 % (five points)
    with the paper's value in our interval. Undecided: the paper's value is in our interval, and our mean is farther
    off. Better and not reproduced: the interval (of one seed: the value) lies wholly on the side that is better or
    worse for the attacker.
    """
    if row.value is None or row.paper is None or smaller_budget(row):
        return None
    accuracy = row.metric in ACCURACIES
    near, far = (0.02, 0.05) if accuracy else (0.1 * row.paper, 0.25 * row.paper)
    off = abs(row.value - row.paper)
    inside = row.low is not None and row.high is not None and row.low <= row.paper <= row.high
    if off <= near or (inside and off <= far):
        return "reproduced"
    if inside:
        return "undecided"
    higher_is_better = accuracy or row.metric in ("ssim", "psnr")
    return "better" if (row.value > row.paper) == higher_is_better else "not reproduced"


def smaller_budget(row: ResultRow) -> bool:
    """Whether the number comes from less work than the paper's settings ask for."""
    return row.note.endswith(" budget")


def began_as_the_client(row: ResultRow) -> bool:
    """Whether the number may be too good: before revision 3, the first network of an attack with the client's seed had
    the first weights that the client had had. So had pictures, clones and shadows; label attacks and attacks that know
    the weights, or train networks of other layers, had no such start, and those of the trade-off had another seed.
    """
    if row.value is None or row.metric in _OF_LABELS or (row.revision or 0) >= OWN_STREAMS:
        return False
    return row.preset.startswith(_WITH_A_CLONE)


def no_better_than_a_guess(row: ResultRow) -> bool:
    """Whether a guess that has seen nothing may be as good: its error or accuracy (with two points to spare) is not
    outside our interval, or beyond the value of a single seed.
    """
    if row.value is None or row.trivial is None or row.metric not in ("mse", *ACCURACIES):
        return False
    if row.metric == "mse":
        return (row.value if row.high is None else row.high) >= row.trivial
    return (row.value if row.low is None else row.low) <= row.trivial + 0.02


OWN_STREAMS = 3
"""The revision since which an attack draws nothing that the client drew."""
_WITH_A_CLONE = ("joint", "paper", "released", "strong", "query-free", "until our error")
_OF_LABELS = ("label_accuracy", "label_accuracy_up_to_names")
ACCURACIES = ("clone_accuracy", "label_accuracy", "label_accuracy_up_to_names")

_LEFT_OUT = ("defense", "device", "versions", "revision")
"""Fields that are not written where they are None, as in files that are older than they."""
_ROWS = TypeAdapter(list[ResultRow])


def dump_rows(rows: Sequence[ResultRow]) -> str:
    """The text of `results.json`: a list, one row a line, numbers to six digits."""
    lines = [json.dumps(_rounded(row.model_dump())) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def updated(earlier: Sequence[ResultRow], later: Sequence[ResultRow]) -> list[ResultRow]:
    """Both sets of rows, table by table; of two rows for the same, the later one unless it has no value."""

    def key(row: ResultRow) -> tuple[object, ...]:
        return (row.table, row.dataset, row.depth, row.state, row.preset, row.metric, row.defense)

    found = {key(row): row for row in earlier}
    found |= {key(row): row for row in later if row.value is not None or key(row) not in found}
    tables = list(dict.fromkeys(row.table for row in (*earlier, *later)))
    return sorted(found.values(), key=lambda row: tables.index(row.table))


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in _LEFT_OUT or value is not None}
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in kept.items()}


def read_rows(path: Path) -> list[ResultRow]:
    """The rows of a `results.json`.

    Raises:
        FormatError: damaged, or not such a file.
        StorageError: it cannot be read.
    """
    with explained(path):
        text = path.read_text(encoding="utf-8")
    try:
        return _ROWS.validate_json(text)
    except ValidationError as error:
        raise FormatError(f"{path} is damaged or no list of results; run `unsplit reproduce report` again.") from error


def interval(
    values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float | None, float | None, float | None]:
    """Mean of some values, and the ends of its 95 % interval by Student's t, within bounds; no ends for a single value,
    and all None for none.
    """
    if not values:
        return None, None, None
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    from scipy.stats import t

    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    half = float(t.ppf(0.975, len(values) - 1)) * spread
    return mean, max(mean - half, bounds[0]), min(mean + half, bounds[1])
