"""`unsplit reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from unsplit.choices import PRESETS, TABLES
from unsplit.cli import options
from unsplit.cli.console import say
from unsplit.errors import InputError, unknown_name

EXAMPLES = """**Examples**

`unsplit reproduce table2 --budget smoke` : does it all work? The embedded digits, two minutes

`unsplit reproduce table2 --datasets mnist,fashion-mnist --preset joint,paper --budget full`

`unsplit reproduce figure2 --datasets cifar-10 --depths 1,2,3 --seeds 0`

`unsplit reproduce all --budget full --executor ray --address auto`

`unsplit reproduce merge --source copied/gpu` : take over what another machine has run

`unsplit reproduce report` : the pages, from whatever has been run
"""


def reproduce(
    what: Annotated[
        str, typer.Argument(help=f"One of {', '.join(TABLES)}; all of them; merge; or report.", show_default=False)
    ],
    preset: Annotated[str, typer.Option(help=f"Inversion presets: {', '.join(PRESETS)}.")] = "joint",
    datasets: Annotated[str | None, typer.Option(help="Data sets; those of the budget if left out.")] = None,
    depths: Annotated[str | None, typer.Option(help="Depths; those of the paper if left out.")] = None,
    states: options.States = "before,after",
    seeds: Annotated[str | None, typer.Option(help="Seeds, e.g. 0,1,2; those of the budget if left out.")] = None,
    budget: options.Budget = "short",
    resume: options.Resume = True,
    any_device: options.AnyDevice = False,
    source: Annotated[Path | None, typer.Option(help="merge: the store whose results are taken over.")] = None,
    store: options.Store = Path("runs/reproduce"),
    executor: options.Executor = "local",
    address: options.Address = None,
    jobs: options.Jobs = None,
    out: Annotated[
        Path | None, typer.Option(help="report: folder of the pages; report/ in the store if left out.")
    ] = None,
    readme: Annotated[Path | None, typer.Option(help="For report: a Markdown file that gets the front table.")] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="report: keep what an earlier results.json has and this store did not run; without a store render it.",
        ),
    ] = False,
    device: options.Device = "cpu",
    quiet: options.Quiet = False,
) -> None:
    """Run the paper's tables and figures again, or lay what was run beside what the paper prints (report).

    What another device computed is run again, unless --any-device is given. `merge` copies the results of another
    machine's store (--source) into this one, and stops if both have the same cell with other numbers.

    Every cell is stored as soon as it ends. Run the command again, after whatever stopped it, and it goes on.
    """
    import joblib

    from unsplit.cli.cells import run_cells
    from unsplit.data import require
    from unsplit.studies.reproduction import ExecutorConfig, Selection, Store, estimate, missing, plan, write_results

    if what == "merge":
        _merge(source, store, quiet=quiet)
        return
    if what == "report":
        folder = out or store / "report"
        if update and not store.exists() and (folder / "results.json").is_file():
            page = write_results(None, folder, readme)
        else:
            with Store(store, write=False) as opened:
                page = write_results(opened, folder, readme, update=update)
        say(f"Wrote {page}, and beside it browse.html, results.md, results.json and pictures/.", quiet=quiet)
        return
    if what != "all" and what not in TABLES:
        raise unknown_name("table", what, [*TABLES, "all", "merge", "report"])
    selection = Selection(
        tables=tuple(TABLES) if what == "all" else (what,),
        presets=options.names(preset),
        datasets=options.names(datasets) if datasets else None,
        depths=options.integers(depths, "depths") if depths else None,
        states=options.names(states),
        seeds=options.integers(seeds, "seeds") if seeds else None,
        budget=budget,
        device=device,
    )
    where = ExecutorConfig(executor=executor, jobs=jobs, address=address)
    cells = plan(selection)
    if executor == "local":
        for name in {cell.dataset for cell in cells} - {"digits"}:
            require(name)
    with Store(store) as opened:
        todo = missing(opened, cells, any_device=any_device) if resume else cells
        if not quiet:
            seconds = estimate(opened, todo, jobs or joblib.cpu_count())
            time = "about " + _duration(seconds) if seconds is not None else "no similar cell was timed yet"
            say(f"{len(cells)} cells, {len(todo)} to run, {time}; results in {store}.")
        summary = run_cells(
            opened, cells, where, stage=what, resume=resume, any_device=any_device, quiet=quiet, tells_each=True
        )
    say(f"{summary.ran} cells run, {summary.kept} kept from before, {summary.failed} failed.", quiet=quiet)
    if summary.failed:
        raise typer.Exit(1)


def _merge(source: Path | None, store: Path, *, quiet: bool) -> None:
    from unsplit.studies.grid import Store, merge

    if source is None or source.resolve() == store.resolve():
        raise InputError("merge takes results over from another store; name its folder with `source`.")
    with Store(source, write=False) as theirs, Store(store) as ours:
        merged = merge(theirs, ours)
    say(f"{merged.taken} cells taken over into {store}, {merged.kept} were there already.", quiet=quiet)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
