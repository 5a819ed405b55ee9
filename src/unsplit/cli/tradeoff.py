"""`unsplit tradeoff`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unsplit.choices import STRENGTHS
from unsplit.cli import options
from unsplit.cli.console import say
from unsplit.errors import InputError

if TYPE_CHECKING:
    from unsplit.studies.tradeoff import TradeoffSelection

EXAMPLES = """**Examples**

`unsplit tradeoff --budget smoke --seeds 0 --defense gaussian` : does it all work? A minute on the embedded digits

`unsplit tradeoff --data mnist --seeds 0,1,2 --out runs/mnist`

`unsplit tradeoff --data photos/ --model my_module:build_model --cut 2 --defense "clip:0.5 + gaussian:1"`
"""


def tradeoff(
    data: options.Data = "digits",
    model: options.Model = None,
    cut: Annotated[str, typer.Option(help=f"End of the client's bottom, by {options.DEPTH} or name.")] = "1",
    head: Annotated[int, typer.Option(help="Layers with weights in the client's head.")] = 1,
    defense: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A family at its three strengths ({', '.join(STRENGTHS)}), or a defence with its strength; "
            "repeat it for several. Ten families if left out."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds; intervals need three or more.")] = "0,1,2",
    budget: options.Budget = "short",
    steps: Annotated[int | None, typer.Option(help="Steps of each training; the budget's if left out.")] = None,
    attacks: Annotated[str, typer.Option(help="On the inputs: joint, decoder, or both.")] = "joint,decoder",
    resume: options.Resume = True,
    store: options.Store = Path("runs/tradeoff/store"),
    executor: options.Executor = "local",
    address: options.Address = None,
    jobs: options.Jobs = None,
    out: options.Out = Path("runs/tradeoff"),
    device: options.Device = "cpu",
    quiet: options.Quiet = False,
) -> None:
    """Train under each defence, attack with and without knowing it, and say what it costs and what still leaks.

    Leaves OUT/tradeoff.html with a chart, a table and a recommendation, OUT/tradeoff.md, and the numbers in
    OUT/results.json. Every training is stored as it ends; run the command again to go on.
    """
    from unsplit.cli.cells import run_cells
    from unsplit.data import load
    from unsplit.studies.reproduction import ExecutorConfig, Store, missing
    from unsplit.studies.tradeoff import (
        TradeoffSelection,
        fitting_selection,
        plan_tradeoff,
        tradeoff_rows,
        write_tradeoff,
    )

    chosen = TradeoffSelection(
        datasets=(data,),
        model=model,
        cut=options.one_cut(cut),
        head=head,
        **({"defenses": tuple(defense)} if defense else {}),
        seeds=options.integers(seeds, "seeds"),
        budget=budget,
        steps=steps,
        attacks=options.names(attacks),
        device=device,
    )
    chosen, left_out = fitting_selection(chosen, load(data).train)
    if left_out is not None:
        say(left_out, quiet=quiet)
    cells = plan_tradeoff(chosen)
    with Store(store) as opened:
        todo = missing(opened, cells) if resume else cells
        say(f"{len(cells)} trainings, {len(todo)} to run; results in {store}.", quiet=quiet)
        where = ExecutorConfig(executor=executor, jobs=jobs, address=address)
        summary = run_cells(opened, cells, where, stage="trade-off", resume=resume, quiet=quiet)
        rows = tradeoff_rows(opened, cells, _command(chosen))
    if not rows:
        raise InputError("No training ended well, so there is nothing to report; see the errors above.")
    page = write_tradeoff(rows, out)
    say(f"{summary.ran} run, {summary.kept} kept, {summary.failed} failed. The page: {page}", quiet=quiet)
    if summary.failed:
        raise typer.Exit(1)


def _command(chosen: "TradeoffSelection") -> str:
    """What measures these rows again."""
    words = ["unsplit", "tradeoff", "--data", *chosen.datasets]
    words += ["--model", chosen.model] if chosen.model is not None else []
    words += ["--cut", str(chosen.cut), "--head", str(chosen.head)]
    words += ["--seeds", ",".join(map(str, chosen.seeds)), "--budget", chosen.budget]
    words += [] if chosen.steps is None else ["--steps", str(chosen.steps)]
    return shlex.join([*words, "--attacks", ",".join(chosen.attacks)])
