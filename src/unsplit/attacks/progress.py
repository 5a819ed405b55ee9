"""How an attack tells how far it is."""

from collections.abc import Callable

Progress = Callable[[float, float, float], None]
"""Called with the amount of work done, the amount in all, and the objective."""


def silent(done: float, total: float, loss: float) -> None:
    """Tell nobody."""


class Told:
    """How far all restarts together are."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def after(self, steps: int) -> Callable[[float], None]:
        """Tells the objective when so many steps more are done."""

        def tell(objective: float) -> None:
            self._done += steps
            self._progress(self._done, self._total, objective)

        return tell
