"""What each thing that `strong` takes for granted is worth: each turned off, one at a time.

    UNSPLIT_DATA=DIR python benchmarks/ablation.py [--store runs/reproduce] [--cells mnist:4 fashion-mnist:5] [--jobs 2]

Cells of Table 2 after training, in full, with one setting changed. They are kept in the store of `unsplit reproduce`,
with the clients' trainings and the unchanged cells, so what is there already is not run again. `--steps` and
`--epoch` make it cheaper: fewer steps, and clients as they are after so many epochs (of CIFAR-10, whose training takes
hours on two cores).
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from measure import write

from unsplit.attacks.inversion import AmortisedConfig
from unsplit.studies.grid import CellEnded, ExecutorConfig, Store, run
from unsplit.studies.reproduction import Selection, plan
from unsplit.studies.reproduction.tables._inversion import InversionCell

OFF = {
    "nothing": {},
    "figures": {"photographs": {"figures": 0.0}},
    "colours": {"photographs": {"colours": False}},
    "phases": {"photographs": {"phases": 0.0}},
    "sizes of weights and biases": {"weight_prior": 0.0, "bias_prior": 0.0},
    "smoothness": {"variation_start": 3e-6, "variation_end": 5e-8},
}
"""What is turned off, as changes of the settings of learning. Figures are weighed with the smoothness."""


def without(settings: AmortisedConfig, name: str) -> AmortisedConfig:
    """The settings with one thing not taken for granted."""
    learning, change = settings.learning, dict(OFF[name])
    photographs = replace(learning.photographs, **change.pop("photographs", {}))
    if name == "smoothness":
        # The figures' weight is relative to it.
        photographs = replace(photographs, figures=photographs.figures * learning.variation_start / 3e-6)
    return replace(settings, learning=replace(learning, photographs=photographs, **change))


def ablated(where: str, name: str, options: argparse.Namespace) -> list[InversionCell]:
    """The cells of a data set and depth, one for each seed."""
    data, depth = where.split(":")
    selection = Selection(
        tables=("table2",), presets=("strong",), budget="full", datasets=(data,), depths=(int(depth),),
        states=("after",), seeds=tuple(options.seeds),
    )  # fmt: skip
    cells = [cell for cell in plan(selection) if isinstance(cell, InversionCell)]
    if options.steps:
        cells = [replace(cell, settings=replace(cell.settings, steps=options.steps)) for cell in cells]
    if options.epoch:
        cells = [
            replace(cell, epoch=options.epoch, training=replace(cell.training, epochs=options.epoch)) for cell in cells
        ]
    return [replace(cell, settings=without(cell.settings, name)) for cell in cells]


def names(where: str) -> list[str]:
    """What can be turned off there: figures are taken for granted in one channel, colours in three."""
    return [name for name in OFF if name != ("figures" if where.startswith("cifar") else "colours")]


def row(where: str, name: str, cells: list[InversionCell], store: Store) -> dict[str, object] | None:
    """The errors and clones of all seeds that are there."""
    found = [stored.row for cell in cells if (stored := store.get(cell.key)) and stored.status == "done"]
    if not found:
        return None
    each = {metric: [one[metric] for one in found] for metric in ("mse", "clone_accuracy", "reference_accuracy")}
    means = {metric: statistics.fmean(values) for metric, values in each.items()}
    seeds = {"seeds": [cell.seed for cell in cells if store.get(cell.key)], "signs": [one["sign"] for one in found]}
    steps = cells[0].settings.steps
    return {"what": where, "off": name, "steps": steps, **means, "each_mse": each["mse"],
            "each_clone": each["clone_accuracy"], **seeds}  # fmt: skip


def main() -> None:
    """Run what is missing, and write a row for each cell and each thing turned off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--cells", nargs="+", default=["mnist:4", "fashion-mnist:5", "cifar-10:2", "cifar-10:5"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, help="cells at a time; one a core if left out")
    parser.add_argument("--steps", type=int, help="of the attacks, instead of the preset's")
    parser.add_argument("--epoch", type=int, help="of the clients, instead of the last")
    options = parser.parse_args()
    planned = {(where, name): ablated(where, name, options) for where in options.cells for name in names(where)}

    def tell(ended: CellEnded) -> None:
        failed = "" if ended.error is None else f"failed: {ended.error}"
        print(f"[{ended.done}/{ended.total}] {ended.cell.label}: {ended.seconds:.0f} s {failed}", flush=True)

    with Store(options.store) as store:
        every = [cell for cells in planned.values() for cell in cells]
        run(store, every, ExecutorConfig(jobs=options.jobs), tell=tell)
        rows = [row(*place, cells, store) for place, cells in planned.items()]
        write("ablation", [one for one in rows if one is not None])


if __name__ == "__main__":
    main()
