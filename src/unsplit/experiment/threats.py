"""The threat model of an attack as a row of a result."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from unsplit.attacks import threat_model
from unsplit.attacks.labels import group_by_cut_gradient, infer_from_known_samples, infer_from_weight_gradients
from unsplit.attacks.registry import ClientForm, named
from unsplit.attacks.settings import Assumptions
from unsplit.knowledge import HeadArchitecture, Knowledge, KnownDefense, KnownSamples
from unsplit.results import ThreatModelRow


def described(function: Callable[..., object], *also: type[Knowledge], assumes: tuple[str, ...] = ()) -> ThreatModelRow:
    """What an attack reads and knows, taken from its signature; `also` is known where it is used here, and `assumes` is
    what its settings take for granted.
    """
    model = threat_model(function)
    reads = tuple(kind.value for kind in model.reads)
    knows = (*model.sentences, *(kind.means for kind in also))
    return ThreatModelRow(attack=model.attack, goal=model.goal, reads=reads, knows=knows, assumes=assumes)


@runtime_checkable
class Doubts(Protocol):
    """Settings that say what attacks are not to take for granted."""

    @property
    def not_photographs(self) -> bool:
        """Whether inputs may be other pictures than photographs."""

    @property
    def not_figures(self) -> bool:
        """Whether inputs may be other pictures than figures on dark ground."""


def taken_for_granted(doubts: Doubts) -> Assumptions:
    """What attacks take for granted of inputs under these settings."""
    return Assumptions(photographs=not doubts.not_photographs, figures=not doubts.not_figures)


def threats_of_inversion(
    names: Sequence[str], input_shape: tuple[int, ...], *, aware: bool, assumptions: Assumptions
) -> list[ThreatModelRow]:
    """Those of the attacks of these names, and where the client's defences are known of their adaptive forms.

    Args:
        names: names in `registry.ATTACKS`.
        input_shape: shape of one input.
        aware: whether the attacker knows the client's defences.
        assumptions: what the attacks may take for granted of inputs.
    """
    rows = []
    for name in names:
        assumes = named(name).settings(ClientForm(depth=1)).assuming(assumptions).assumes(input_shape)
        rows += [described(attack, assumes=assumes) for attack in named(name).forms(aware=aware)]
    return rows


def threats_of_labels(*, single: bool, aware: bool) -> list[ThreatModelRow]:
    """Those of the label attacks of an audit: on steps of a `single` sample or of more, knowing a defence or not."""
    rows = [described(infer_from_weight_gradients)] if single else []
    rows += [described(group_by_cut_gradient), described(infer_from_known_samples)]
    if aware:
        # Labels are corrected by a head that is trained on them.
        rows += [described(infer_from_weight_gradients, KnownDefense)] if single else []
        rows.append(described(group_by_cut_gradient, HeadArchitecture, KnownDefense))
        rows.append(described(group_by_cut_gradient, HeadArchitecture, KnownDefense, KnownSamples))
    return rows
