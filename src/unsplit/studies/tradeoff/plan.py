"""Which defences are tried, at which strengths, with how much work."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from unsplit.attacks.inversion import AmortisedConfig, JointConfig
from unsplit.data import Dataset
from unsplit.defenses import DEFENSES, parse_defenses
from unsplit.errors import InputError, check_at_least_one, unknown_name
from unsplit.studies.tradeoff.cell import ATTACKS_ON_INPUTS, TradeoffCell, Work, smaller

STRENGTHS: dict[str, tuple[str, ...]] = {
    name: defense.strengths for name, defense in DEFENSES.items() if defense.strengths
}
"""The strengths at which each defence is tried, from mild to strong."""

USUAL = tuple(name for name, defense in DEFENSES.items() if defense.usual)
"""The defences that are tried where none are named."""

BUDGETS: Mapping[str, Work] = {
    "smoke": smaller(Work()),
    "short": Work(),
    "full": Work(
        steps=3000, training_samples=None, smashed=2000, joint=JointConfig(), decoder=AmortisedConfig(), tested=10_000
    ),
}
"""How much work each cell is. short: 300 steps of 64 samples, and attacks of a tenth of their work."""


@dataclass(frozen=True, kw_only=True)
class TradeoffSelection:
    """What to try.

    Args:
        datasets: names of data sets, or paths of folders.
        model: name of a model, or "module:function"; None for the paper's.
        cut: where the client's first layers end, by depth or name.
        head: layers with weights in the client's head.
        defenses: families in `STRENGTHS`, or defences with their strength.
        seeds: the seeds of the trainings and the attacks.
        budget: name of a budget in `BUDGETS`.
        steps: steps of training, in place of the budget's; None for those.
        attacks: the attacks on the inputs: "joint", "decoder" or both; the better of them counts.
        device: the device that computes.

    Raises:
        InputError: an unknown name, or no seed.
    """

    datasets: tuple[str, ...] = ("mnist",)
    model: str | None = None
    cut: int | str = 1
    head: int = 1
    defenses: tuple[str, ...] = USUAL
    seeds: tuple[int, ...] = (0, 1, 2)
    budget: str = "short"
    steps: int | None = None
    attacks: tuple[str, ...] = ATTACKS_ON_INPUTS
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_at_least_one(self, "head", "steps")
        if self.budget not in BUDGETS:
            raise unknown_name("budget", self.budget, BUDGETS)
        if not self.seeds or not self.datasets:
            raise InputError(
                "Name at least one seed and one data set, for example `seeds=(0,)`, `datasets=('digits',)`."
            )
        self.texts()
        _ = self.work

    @property
    def work(self) -> Work:
        """How much each cell is."""
        work = replace(BUDGETS[self.budget], attacks=self.attacks)
        return work if self.steps is None else replace(work, steps=self.steps)

    def texts(self) -> list[str]:
        """The defences as text, none first, each once."""
        found = ["none"]
        for name in self.defenses:
            strengths = DEFENSES[name].strengths if name in DEFENSES else ()
            found += strengths or [" + ".join(map(str, parse_defenses(name))) or "none"]
        return list(dict.fromkeys(found))


def fitting_selection(selection: TradeoffSelection, train: Dataset) -> tuple[TradeoffSelection, str | None]:
    """The selection without the attack that makes pictures and signals, where inputs are neither, and what was left out
    in words.

    Raises:
        InputError: nothing would be left, labels that are no classes, or inputs that are tokens.
    """
    if train.regression:
        raise InputError(
            f"The labels of '{train.name}' are those of a regression, and the trade-off is measured with labels that "
            "are classes; name another label, or audit the data by `unsplit audit`."
        )
    if len(train.input_shape) in (2, 3) or "decoder" not in selection.attacks:
        return selection, None
    if selection.attacks == ("decoder",):
        raise InputError(
            f"The attack 'decoder' makes pictures and signals, and inputs here have shape {train.input_shape}; use "
            "`attacks=('joint',)`."
        )
    left = tuple(name for name in selection.attacks if name != "decoder")
    return replace(selection, attacks=left), "The attack 'decoder' makes pictures and signals only and was left out."


def plan_tradeoff(selection: TradeoffSelection) -> list[TradeoffCell]:
    """The cells, all defences of one seed before the next seed, so that an early stop leaves something whole."""
    return [
        TradeoffCell(
            dataset=dataset,
            seed=seed,
            device=selection.device,
            defense=text,
            model=selection.model,
            cut=selection.cut,
            head=selection.head,
            work=selection.work,
        )
        for dataset in selection.datasets
        for seed in selection.seeds
        for text in selection.texts()
    ]
