"""Running the cells of a study from a command."""

from collections.abc import Mapping, Sequence

from unsplit.cli.console import progress_bars, warn
from unsplit.settings import flag_of, in_options
from unsplit.studies.grid import Cell, CellEnded, ExecutorConfig, Store, Summary, run

_FLAGS: Mapping[str, str] = {name: flag_of(name) for name in ("address", "jobs")}


def run_cells(
    store: Store,
    cells: Sequence[Cell],
    where: ExecutorConfig,
    *,
    stage: str,
    resume: bool,
    any_device: bool = False,
    quiet: bool,
    tells_each: bool = False,
) -> Summary:
    """Run cells with a bar, and say on standard error which failed; with `tells_each`, unless quiet, which ended."""
    with progress_bars(quiet=quiet) as bars:
        advance = bars.stage(stage)

        def tell(progress: CellEnded) -> None:
            advance(progress.done, progress.total, float("nan"))
            if progress.error is not None:
                sentence = in_options(progress.error, _FLAGS)
                warn(f"{progress.cell.label} failed: {sentence}")
            elif tells_each and not quiet:
                line = f"[{progress.done}/{progress.total}] {progress.cell.label}: {progress.seconds:.1f} s"
                warn(line)

        say = (lambda _: None) if quiet else warn
        return run(store, cells, where, resume=resume, any_device=any_device, tell=tell, say=say)
