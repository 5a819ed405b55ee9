"""The strongest attack on every cell of Table 2, on one GPU: seconds, errors, and a store that merges into the pages.

    python benchmarks/gpu.py [--store DIR] [--device cuda] [--jobs 8] [--minutes 9.5]
    python benchmarks/gpu.py --paper [--store DIR] [--device cuda] [--jobs 8] [--minutes 9.5]
    python benchmarks/gpu.py [--paper] --smoke --device cpu

All 120 attacks (20 cuts of three data sets, before and after training, three seeds) with the training of their nine
clients and the scoring, small data sets first; then one attack by itself. It wants the data sets in the cache or in
$UNSPLIT_DATA (`unsplit data fetch all`). Cells are those of `unsplit reproduce table2 --preset strong --budget full
--device cuda`: each is stored as it ends, and what is stored is not run again, so that after an interrupt, or when the
minutes are over, the same command goes on. What to do with the store is in docs/reproduction.md.

`--paper` runs the paper's own tables and figures in full instead, the most wanted first (see `paper_on_gpu.py`).

`--smoke` attacks the embedded digits, with a tenth of the work, on any device: does it all run? It leaves no result.
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from measure import write
from paper_on_gpu import whole
from timed_cells import TimeIsUpError, run_until

from unsplit.attacks.inversion import invert, preset
from unsplit.data import require
from unsplit.devices import card, device
from unsplit.errors import UnsplitError
from unsplit.experiment.inversion import observe_inference
from unsplit.knowledge import ClientArchitecture
from unsplit.models import split
from unsplit.randomness import generator
from unsplit.studies.grid import Found, Store, missing
from unsplit.studies.reproduction import Selection, plan
from unsplit.studies.reproduction.tables._inversion import InversionCell
from unsplit.studies.targets import evaluation

AIMS = {"all": 240.0, "one": 2.0}
"""Seconds that we want on an H100 or H200: for all cells, and for one attack on MNIST."""


def main() -> None:
    """Run what is not stored yet, then one attack by itself, and print what came out."""
    options = _options()
    name, began = str(options.device), time.perf_counter()
    device(name)
    if options.paper:
        print(f"{card(name) or 'processor'}, torch {torch.__version__}; store {options.store}")
        with Store(options.store) as store:
            whole(store, name, options.jobs, options.minutes, smoke=options.smoke)
        return
    cells = _cells(name, smoke=options.smoke)
    print(f"{card(name) or 'processor'}, torch {torch.__version__}; {len(cells)} attacks; store {options.store}")
    for data in {cell.dataset for cell in cells} - {"digits"}:
        require(data)
    with Store(options.store) as store:
        clients = {cell.needs.key for cell in cells}
        nothing_stored = len(missing(store, cells)) == len(cells) + len(clients)
        try:
            seconds = run_until(store, cells, options.jobs, began + 60 * options.minutes)
        except TimeIsUpError:
            left = len(missing(store, cells))
            raise SystemExit(f"The time is up with {left} cells to run; the same command goes on.") from None
        _tell(store, cells)
        alone = _one_attack(store, cells)
    all_of_them = f"all {len(cells)} attacks with their clients' training and scoring"
    print(f"{all_of_them}: {seconds:.1f} s{'' if nothing_stored else ', without what was stored before'}")
    print(f"one attack by itself ({_of_one(cells).label}): {alone:.2f} s")
    if not options.smoke and nothing_stored:
        what = {"all": (all_of_them, seconds), "one": ("one attack, MNIST depth 4", alone)}
        write("gpu", [_row(aim, *measured, name) for aim, measured in what.items()])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="folder of the results; runs/gpu, or runs/gpu-smoke, if left out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--jobs", type=int, help="attacks at a time; eight on a GPU, one a core on a processor")
    parser.add_argument("--minutes", type=float, default=9.5, help="stop when they are over; what is done is stored")
    parser.add_argument("--paper", action="store_true", help="the paper's tables and figures, in full")
    parser.add_argument("--smoke", action="store_true", help="the digits, with a tenth of the work")
    options = parser.parse_args()
    options.store = options.store or Path("runs/gpu-smoke" if options.smoke else "runs/gpu")
    return options


def _cells(name: str, *, smoke: bool) -> list[InversionCell]:
    budget = "smoke" if smoke else "full"
    planned = plan(Selection(tables=("table2",), presets=("strong",), budget=budget, device=name))
    return [cell for cell in planned if isinstance(cell, InversionCell)]


def _tell(store: Store, cells: Sequence[InversionCell]) -> None:
    """Print the mean error and accuracy of the clone of each cut, over seeds, and each seed's."""
    groups: dict[tuple[str, str, int], list[InversionCell]] = {}
    for cell in cells:
        groups.setdefault((cell.dataset, cell.state, cell.depth), []).append(cell)
    kept = Found(store)
    for (data, state, depth), group in groups.items():
        found = [stored.row for cell in group if (stored := kept.get(cell)) and stored.status == "done"]
        if found:
            errors, clones = ([float(row[metric]) for row in found] for metric in ("mse", "clone_accuracy"))
            each = ", ".join(f"{error:.4f} {clone:.1%}" for error, clone in zip(errors, clones, strict=True))
            mean = f"mse {math.fsum(errors) / len(errors):.4f}, clone {math.fsum(clones) / len(clones):.1%}"
            print(f"{data} {state} depth {depth}: {mean} ({each})")


def _of_one(cells: Sequence[InversionCell]) -> InversionCell:
    """The deepest up to depth 4 of the first data set and seed, after training."""
    chosen = [cell for cell in cells if cell.dataset == cells[0].dataset and cell.seed == 0 and cell.depth <= 4]
    return max((cell for cell in chosen if cell.state == "after"), key=lambda cell: cell.depth)


def _one_attack(store: Store, cells: Sequence[InversionCell]) -> float:
    """Seconds of one attack, from its transcript to its pictures, when the device is warm."""
    cell = _of_one(cells)
    client = Found(store).get(cell.needs)
    if client is None:
        raise SystemExit(f"{cell.needs.label} failed; see the errors above.")
    judged, model = evaluation(cell.dataset), cell.attacked(store.tensors(client))
    settings, where = cell.settings, torch.device(cell.device)
    others = None if judged.others is None else judged.others[: settings.samples_wanted]
    view = observe_inference(model, cell.depth, judged.targets, where, others)
    architecture = ClientArchitecture.of(split(model, cell.depth)[0], judged.targets.input_shape)
    started = time.perf_counter()
    found = invert(view, architecture, settings, generator=generator(cell.seed))
    found.inputs.cpu()
    return time.perf_counter() - started


def _row(aim: str, what: str, seconds: float, name: str) -> dict[str, object]:
    return {
        "what": what,
        "ratio": round(AIMS[aim] / seconds, 2),
        "ours": round(seconds, 2),
        "peer": AIMS[aim],
        "unit": "seconds; peer: what we aim at on an H100 or H200",
        "device": card(name) or "processor",
        "restarts": preset("strong", 1).candidates,
    }


if __name__ == "__main__":
    try:
        main()
    except UnsplitError as error:
        raise SystemExit(str(error)) from None
