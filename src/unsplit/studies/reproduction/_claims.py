"""What the paper says of its figures and tables in words, and whether it held here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from unsplit.report.numbers import error, percent
from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import distinct, mean_value, only, select
from unsplit.studies.reproduction import paper
from unsplit.studies.reproduction.select import HIJACKING, compared, epoch_of, title


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the paper.

    Args:
        table: the table that it is about, as the command names it.
        text: the statement, in our words.
        held: whether it held; None where too little was run to tell.
        seen: what we saw.
    """

    table: str
    text: str
    held: bool | None
    seen: str

    @property
    def outcome(self) -> str:
        """In words."""
        return {True: "held", False: "did not hold", None: "cannot be told"}[self.held]


def claims(rows: Sequence[ResultRow]) -> list[Claim]:
    """The paper's claims, for each data set and preset that was run."""
    makers: tuple[Callable[[Sequence[ResultRow]], Iterable[Claim]], ...] = (
        _trained_is_worse,
        _falls_with_training,
        _deeper_is_safer,
        _clone_of_early_splits,
        _white_box,
        _query_free,
        _hijacking,
    )
    return [claim for make in makers for claim in make(rows)]


def _pairs(rows: Sequence[ResultRow], table: str) -> list[tuple[str, str]]:
    """Data sets and UnSplit's presets with a number in a table."""
    found = [row for row in rows if row.table == table and row.value is not None]
    return list(dict.fromkeys((row.dataset, row.preset) for row in found if row.preset in ("joint", "paper")))


def _trained_is_worse(rows: Sequence[ResultRow]) -> Iterator[Claim]:
    for dataset, preset in _pairs(rows, "table2"):
        chosen = select(rows, table="table2", dataset=dataset, preset=preset, metric="mse")
        before = mean_value(select(chosen, state="before"))
        after = mean_value(select(chosen, state="after"))
        if before is None or after is None:
            continue
        yield Claim(
            table="table2",
            text="A trained client is more vulnerable than an untrained one (mean error over depths).",
            held=after < before,
            seen=f"{title(dataset)}, {preset}: {error(before)} before, {error(after)} after training",
        )


def _falls_with_training(rows: Sequence[ResultRow]) -> Iterator[Claim]:
    for dataset, preset in _pairs(rows, "figure2"):
        curve = select(rows, table="figure2", dataset=dataset, preset=preset)
        points = sorted((epoch_of(row), row.value) for row in curve if row.value is not None)
        if len(points) < 3:
            continue
        late = [value for _, value in points[-3:]]
        last = sum(late) / len(late)
        yield Claim(
            table="figure2",
            text="Estimates become more accurate as the client model is trained (epoch 0 against the mean of the "
            "last three).",
            held=last < points[0][1],
            seen=f"{title(dataset)}, {preset}: {error(points[0][1])} at first, {error(last)} at last",
        )


def _deeper_is_safer(rows: Sequence[ResultRow]) -> Iterator[Claim]:
    for dataset, preset in _pairs(rows, "table2"):
        clones = [
            row
            for row in select(rows, table="table2", dataset=dataset, preset=preset, metric="clone_accuracy")
            if row.value is not None and row.depth is not None
        ]
        if len(clones) < 4:
            continue
        clones.sort(key=lambda row: row.depth or 0)
        half = len(clones) // 2
        early, late = mean_value(clones[:half]), mean_value(clones[-half:])
        yield Claim(
            table="table2",
            text="The clone is worse for deeper cuts (first half of the depths against the second).",
            held=early is not None and late is not None and late < early,
            seen=f"{title(dataset)}, {preset}: {percent(early)} early, {percent(late)} late",
        )


def _clone_of_early_splits(rows: Sequence[ResultRow]) -> Iterator[Claim]:
    for dataset, preset in _pairs(rows, "table2"):
        printed = paper.TABLE2.get(dataset)
        clones = [
            only(rows, table="table2", dataset=dataset, preset=preset, metric="clone_accuracy", depth=depth)
            for depth in (1, 2, 3)
        ]
        measured = [row for row in clones if row is not None and row.value is not None]
        ours = mean_value(measured) if len(measured) == 3 else None
        if printed is None or ours is None:
            continue
        wanted = sum(printed[depth][2] for depth in (1, 2, 3)) / 3
        yield Claim(
            table="table2",
            text=f"Over the first three splits of {title(dataset)} the clone reaches {percent(wanted)}.",
            held=ours > wanted - 0.02,
            seen=f"{preset}: {percent(ours)}",
        )


def _means(rows: Sequence[ResultRow]) -> dict[tuple[str, str], float]:
    """Mean error over depths on trained clients by data set and attack."""
    found = {}
    for dataset in distinct(select(rows, table="figure3a"), "dataset"):
        for attack, chosen in compared(rows, dataset).items():
            mean = mean_value(chosen)
            if mean is not None:
                found[dataset, attack] = mean
    return found


def _compared(
    rows: Sequence[ResultRow], text: str, pairs: Sequence[tuple[str, str]], printed: float
) -> Iterator[Claim]:
    """Claims that one attack is so much better than another on average over data sets."""
    means = _means(rows)
    for better, worse in pairs:
        sets = [dataset for dataset, attack in means if attack == better and (dataset, worse) in means]
        if not sets:
            continue
        gains = {dataset: 1 - means[dataset, better] / means[dataset, worse] for dataset in sets}
        mean = sum(gains.values()) / len(gains)
        each = ", ".join(f"{title(dataset)} {gain:+.0%}" for dataset, gain in gains.items())
        yield Claim(
            table="figure3a",
            text=f"{text}, mean over the depths drawn ({better} against {worse}; the paper: {printed:.0%}).",
            held=mean > 0,
            seen=f"{mean:+.0%} on average ({each})",
        )


def _white_box(rows: Sequence[ResultRow]) -> Iterable[Claim]:
    pairs = [("white box", preset) for preset in ("paper", "joint")]
    return _compared(rows, "White-box estimates are more accurate than UnSplit's", pairs, paper.WHITE_BOX_BETTER)


def _query_free(rows: Sequence[ResultRow]) -> Iterable[Claim]:
    pairs = [
        (preset, attack) for attack in ("query-free, no data", "query-free, own data") for preset in ("paper", "joint")
    ]
    return _compared(
        rows, "UnSplit's estimates are more accurate than the query-free attack's", pairs, paper.UNSPLIT_BETTER
    )


def _hijacking(rows: Sequence[ResultRow]) -> Iterator[Claim]:
    for dataset in distinct(select(rows, table="figure3b"), "dataset"):
        chosen = select(rows, table="figure3b", dataset=dataset, metric="mse")
        points = [(epoch_of(row), row.value) for row in select(chosen, preset=HIJACKING) if row.value is not None]
        level = mean_value([row for row in select(chosen, preset="joint") if row.value is not None])
        if not points or level is None:
            continue
        last, at_last = max(points)
        crossed = next((iteration for iteration, value in sorted(points) if value < level), None)
        enough = crossed is not None or last >= paper.HIJACK_LIKE_UNTIL
        seen = f"{title(dataset)}: UnSplit (joint) {error(level)}, hijacking {error(at_last)} after {last:,} "
        seen += f"and below UnSplit's from {crossed:,} on" if crossed is not None else "and never below UnSplit's"
        yield Claim(
            table="figure3b",
            text="UnSplit (mean over cuts) is no worse than the hijacking attack until about "
            f"{paper.HIJACK_LIKE_UNTIL:,} iterations.",
            held=None if not enough else crossed is None or crossed >= paper.HIJACK_LIKE_UNTIL,
            seen=seen,
        )
