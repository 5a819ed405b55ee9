"""What the commands print: results to standard output, progress and errors to standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from unsplit.attacks import Progress as Tell

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(content: RenderableType, *, quiet: bool = False, style: str | None = None) -> None:
    """Print something for people on standard output, unless quiet."""
    if not quiet:
        out.print(content, style=style, soft_wrap=True, markup=False)


def warn(content: RenderableType) -> None:
    """Print a sentence on standard error."""
    err.print(content, soft_wrap=True, markup=False)


class Bars:
    """A bar for each part of a long work; made by `progress_bars`."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self._last: TaskID | None = None

    def stage(self, name: str) -> "Tell":
        """Begin the next part; returns what to tell its progress to."""
        if self._last is not None:
            self._finish(self._last)
        task = self._progress.add_task(name, total=None, loss="")
        self._last = task

        def tell(done: float, total: float, loss: float) -> None:
            shown = "" if loss != loss else f"{loss:.4g}"
            self._progress.update(task, completed=int(done), total=int(total), loss=shown)

        return tell

    def say(self, content: RenderableType) -> None:
        """Print something above the bars, on standard error, unless quiet."""
        if not self._quiet:
            self._progress.console.print(content, soft_wrap=True, markup=False)

    def _finish(self, task: TaskID) -> None:
        self._progress.update(task, visible=False)


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Bars]:
    """Bars on standard error while a block runs; none where it is not a terminal or `quiet` is set."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as progress:
        yield Bars(progress, quiet=quiet)
