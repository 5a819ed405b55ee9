"""How an attack tells how far it is."""

from collections.abc import Callable

Progress = Callable[[float, float, float], None]
"""Called with the amount of work done, the amount in all, and the objective."""


def silent(done: float, total: float, loss: float) -> None:
    """Tell nobody."""
