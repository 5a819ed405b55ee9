"""What is to be reproduced."""

from dataclasses import dataclass

from unsplit.attacks.inversion import PRESETS
from unsplit.choices import TABLES
from unsplit.errors import InputError, unknown_name
from unsplit.studies.reproduction.budget import budget

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar-10")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to reproduce.

    Args:
        tables: names of tables, those of `TABLES`.
        presets: presets of UnSplit's inversion, by name.
        datasets: names of data sets; None for those of the budget.
        depths: depths of the cut, or of the head for labels; None for those of the paper's table.
        states: the client's states: "before" its training, "after" it, or both.
        seeds: the seeds of trainings and attacks; None for those of the budget.
        budget: name of a budget in `BUDGETS`.
        device: the device that computes.

    Raises:
        InputError: an unknown name, or a depth that the paper's table does not have.
    """

    tables: tuple[str, ...]
    presets: tuple[str, ...] = ("joint",)
    datasets: tuple[str, ...] | None = None
    depths: tuple[int, ...] | None = None
    states: tuple[str, ...] = ("before", "after")
    seeds: tuple[int, ...] | None = None
    budget: str = "short"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for what, names, known in (
            ("table", self.tables, TABLES),
            ("preset", self.presets, PRESETS),
            ("data set", self.datasets or (), DATASETS),
            ("state", self.states, ("before", "after")),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(what, name, known)
        budget(self.budget)
        for depth in self.depths or ():
            if not any(depth in depths_of(name) for name in self.chosen_datasets):
                raise InputError(
                    f"There is no depth {depth} in the paper's tables; they have 1 to 6 for the MNIST sets and 1 to 8 "
                    "for CIFAR-10 (and 1 and 2 for labels)."
                )

    @property
    def chosen_datasets(self) -> tuple[str, ...]:
        """Those named, or the budget's."""
        return self.datasets or budget(self.budget).datasets

    @property
    def chosen_seeds(self) -> tuple[int, ...]:
        """Those named, or the budget's."""
        return self.seeds if self.seeds is not None else budget(self.budget).seeds


def depths_of(dataset: str) -> tuple[int, ...]:
    """The depths of the paper's Table 2 for a data set."""
    return tuple(range(1, 9 if dataset == "cifar-10" else 7))
