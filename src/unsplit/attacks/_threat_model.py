"""What an attack sees and knows, read off its signature and enforced when it is called."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from unsplit.attacks.observed import readable
from unsplit.attacks.units import Units
from unsplit.knowledge import Knowledge
from unsplit.randomness import own_stream
from unsplit.types import Kind, Transcript

P = ParamSpec("P")
R = TypeVar("R")

_NOT_KNOWLEDGE = {"view", "config", "generator", "progress"}


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """The attacker's side of an attack.

    Args:
        attack: name of the function.
        goal: what the attack is after, in words.
        reads: the kinds of message it reads.
        knows: the types of knowledge in its signature.
        forges: the kinds of message that it sends instead of the protocol's; a passive attack forges none.
    """

    attack: str
    goal: str
    reads: tuple[Kind, ...]
    knows: tuple[type[Knowledge], ...]
    forges: tuple[Kind, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What it knows, in words."""
        return tuple(kind.means for kind in self.knows)


_THREAT_MODELS: dict[Any, ThreatModel] = {}


def attack(
    *, goal: str, reads: tuple[Kind, ...], forges: tuple[Kind, ...] = ()
) -> Callable[[Callable[Concatenate[Transcript, P], R]], Callable[Concatenate[Transcript, P], R]]:
    """Declare a function an attack: it is given only the messages of the kinds that it reads, in the numbers that
    attacks compute in (`observed.readable`), and every parameter that is neither the view nor a setting must be a type
    of knowledge. Whatever units the client's inputs are in, it searches from 0 to 1 (see `units`), and whatever seed
    its generator has, it draws nothing that a party of the same seed drew.

    Raises:
        TypeError: a parameter smuggles in something else.
    """

    def declare(function: Callable[Concatenate[Transcript, P], R]) -> Callable[Concatenate[Transcript, P], R]:
        hints = get_type_hints(function)
        if "config" in hints and not _plain(hints["config"]):
            raise TypeError(f"{function.__name__}: 'config' may hold settings only, no tensor and no module")
        signature, knows = inspect.signature(function), []
        for name in signature.parameters:
            if name in _NOT_KNOWLEDGE:
                continue
            hint = hints.get(name)
            if not (isinstance(hint, type) and issubclass(hint, Knowledge)):
                raise TypeError(f"{function.__name__}: the parameter '{name}' is not a type of knowledge")
            knows.append(hint)

        @functools.wraps(function)
        def restricted(view: Transcript, /, *args: P.args, **kwargs: P.kwargs) -> R:
            call = signature.bind(readable(view.of(*reads)), *args, **kwargs)
            # With the client's own seed, an attack would start its clone from the client's first weights.
            if "generator" in call.arguments:
                call.arguments["generator"] = own_stream(call.arguments["generator"], "attacker")
            units = Units(call.arguments)
            call.arguments.update(units.entered(call.arguments))
            found: R = units.left(function(*call.args, **call.kwargs))
            return found

        _THREAT_MODELS[restricted] = ThreatModel(
            attack=function.__name__, goal=goal, reads=reads, knows=tuple(knows), forges=forges
        )
        return restricted

    return declare


def _plain(kind: Any) -> bool:
    """Whether a type is a dataclass of settings, without a field for a tensor or a module."""
    return is_dataclass(kind) and not any(
        word in str(field.type) for field in fields(kind) for word in ("Tensor", "Module")
    )


def threat_model(function: Callable[..., Any]) -> ThreatModel:
    """The threat model of an attack.

    Raises:
        TypeError: the function was not declared an attack.
    """
    try:
        return _THREAT_MODELS[function]
    except KeyError:
        raise TypeError(f"{function} is not an attack: it has no threat model") from None
