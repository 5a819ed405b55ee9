"""The attacks that recover inputs, by the names that stand for them in commands and reports.

An attack of a new family is a module of its own, and a row of `ATTACKS` here. Audits give it what its signature says
that it knows, and run it beside the others where somebody has that knowledge.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from unsplit.attacks._threat_model import threat_model
from unsplit.attacks.auxiliary import (
    HijackConfig,
    fora_preset,
    hijack_feature_space,
    invert_by_feature_matching,
    invert_by_simulation_without_labels,
    sdar_preset,
)
from unsplit.attacks.he2019 import WHITE_BOX, invert_white_box
from unsplit.attacks.inversion import (
    PRESETS,
    ExamplesInversionConfig,
    invert_from_known_pictures,
    invert_from_similar_pictures,
)
from unsplit.attacks.inversion.photographs import in_colour
from unsplit.attacks.rows import RowsConfig, invert_from_known_rows, invert_from_statistics
from unsplit.attacks.settings import AttackSettings
from unsplit.errors import unknown_name
from unsplit.knowledge import Knowledge


@dataclass(frozen=True, kw_only=True)
class ClientForm:
    """What settings may depend on.

    Args:
        depth: depth of the cut, from 0.
        weighted_layers: number of layers with weights before the cut.
        colour: whether inputs are pictures of three channels.
    """

    depth: int
    weighted_layers: int = 1
    colour: bool = False

    @classmethod
    def of(cls, depth: int, bottom: nn.Module, input_shape: tuple[int, ...]) -> "ClientForm":
        """The form of a client with these layers up to the cut at `depth`."""
        weighted = sum(bool(list(layer.parameters(recurse=False))) for layer in bottom.modules())
        return cls(depth=depth, weighted_layers=weighted, colour=in_colour(input_shape))


@dataclass(frozen=True, kw_only=True)
class NamedAttack:
    """An attack under a name.

    Args:
        attack: called as attack(view, *knowledge, settings, generator=..., progress=...); its signature says which
            types of knowledge these are, in their order.
        settings: gives the settings for a form of the client.
        adaptive: the attack's form that knows the client's defence too; None where it has none.
    """

    attack: Callable[..., Any]
    settings: Callable[[ClientForm], AttackSettings]
    adaptive: Callable[..., Any] | None = None

    @property
    def knows(self) -> tuple[type[Knowledge], ...]:
        """The types of knowledge that it asks for, in the order of its signature."""
        return threat_model(self.attack).knows

    def forms(self, *, aware: bool) -> tuple[Callable[..., Any], ...]:
        """The attack, and if an attacker is `aware` of a defence its adaptive form, where it has one."""
        return (self.attack, self.adaptive) if aware and self.adaptive is not None else (self.attack,)


def _preset(name: str) -> NamedAttack:
    """A preset of the inversion, which its settings tell the attack of."""
    settings = PRESETS[name](1)
    return NamedAttack(
        attack=settings.attack, settings=lambda client: PRESETS[name](client.depth), adaptive=settings.adaptive_attack
    )


def _white_box(name: str, client: ClientForm) -> AttackSettings:
    return WHITE_BOX[name](client.weighted_layers, colour=client.colour)


ATTACKS: dict[str, NamedAttack] = {
    **{name: _preset(name) for name in PRESETS},
    **{name: NamedAttack(attack=invert_white_box, settings=functools.partial(_white_box, name)) for name in WHITE_BOX},
    "known-rows": NamedAttack(attack=invert_from_known_rows, settings=lambda _: RowsConfig()),
    "statistics": NamedAttack(attack=invert_from_statistics, settings=lambda _: RowsConfig()),
    "sdar": NamedAttack(attack=invert_by_simulation_without_labels, settings=lambda _: sdar_preset("quick")),
    "fora": NamedAttack(attack=invert_by_feature_matching, settings=lambda _: fora_preset("quick")),
    "known-pictures": NamedAttack(attack=invert_from_known_pictures, settings=lambda _: ExamplesInversionConfig()),
    "similar-pictures": NamedAttack(attack=invert_from_similar_pictures, settings=lambda _: ExamplesInversionConfig()),
    "hijack": NamedAttack(attack=hijack_feature_space, settings=lambda _: HijackConfig()),
}
"""The attacks by name, in the order in which reports have them."""


def named(name: str) -> NamedAttack:
    """The attack of this name.

    Raises:
        InputError: no such attack.
    """
    if name not in ATTACKS:
        raise unknown_name("attack", name, ATTACKS)
    return ATTACKS[name]


def passive_with(kind: type[Knowledge]) -> tuple[str, ...]:
    """The names of the attacks with this type of knowledge that only read what crosses."""
    return tuple(name for name, one in ATTACKS.items() if kind in one.knows and not threat_model(one.attack).forges)
