"""The threat model of an attack as a row of a result."""

from collections.abc import Callable

from unsplit.attacks import threat_model
from unsplit.experiment.results import ThreatModelRow
from unsplit.knowledge import Knowledge


def described(function: Callable[..., object], *also: type[Knowledge]) -> ThreatModelRow:
    """What an attack reads and knows, taken from its signature; `also` is known where it is used here."""
    model = threat_model(function)
    reads = tuple(kind.value for kind in model.reads)
    knows = (*model.sentences, *(kind.means for kind in also))
    return ThreatModelRow(attack=model.attack, goal=model.goal, reads=reads, knows=knows)
