"""What tables, figures and claims pick from the rows."""

from collections.abc import Iterable

from unsplit.studies.grid.rows import ResultRow
from unsplit.studies.grid.select import select

HIJACKING = "feature-space hijacking"


ATTACKS_OF_3A = (
    ("figure3a", "white box"),
    ("table2", "joint"),
    ("table2", "paper"),
    ("figure3a", "query-free, own data"),
    ("figure3a", "query-free, no data"),
)
"""The attacks of Figure 3a: the table of their rows, and their name in `preset`."""


def compared(rows: Iterable[ResultRow], dataset: str) -> dict[str, list[ResultRow]]:
    """The errors of Figure 3a's attacks on one data set's trained clients, by name.

    At the depths that all attacks have that were run at all; UnSplit's only where it was run in full.
    """
    found = {}
    for table, attack in ATTACKS_OF_3A:
        chosen = select(rows, table=table, dataset=dataset, preset=attack, state="after", metric="mse")
        measured = [row for row in chosen if row.value is not None and not (row.note and table == "table2")]
        if measured:
            found[attack] = measured
    shared = set.intersection(*({row.depth for row in chosen} for chosen in found.values())) if found else set()
    return {attack: [row for row in chosen if row.depth in shared] for attack, chosen in found.items()}


def epoch_of(row: ResultRow) -> int:
    """The number in a state such as "epoch 3" or "iteration 500"."""
    return int(row.state.rpartition(" ")[2])


def title(dataset: str) -> str:
    """A data set's name as people write it."""
    return {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar-10": "CIFAR-10", "digits": "Digits"}[dataset]
