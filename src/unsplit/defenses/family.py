"""Defences read from text, and several of them one after another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from unsplit.defenses.defense import DEFENSES, Defense, Hook, Privacy
from unsplit.errors import InputError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Together(Defense):
    """Several defences, each applied to what the ones before it made.

    Args:
        members: the defences in the order in which they act.

    Raises:
        InputError: DP-SGD twice.
    """

    name: ClassVar[str] = "together"
    protects: ClassVar[str] = "what its members protect"
    knob: ClassVar[str] = "those of its members"
    members: tuple[Defense, ...] = ()

    def __post_init__(self) -> None:
        if sum(member.privacy is not None for member in self.members) > 1:
            raise InputError("dp-sgd is named twice; name it once, with one noise and one clip.")

    def changes(self, hook: Hook) -> bool:
        return any(member.changes(hook) for member in self.members)

    def labels(self, labels: Tensor, classes: int, *, generator: torch.Generator) -> Tensor:
        for member in self.members:
            labels = member.labels(labels, classes, generator=generator)
        return labels

    def smashed(self, values: Tensor, *, generator: torch.Generator) -> Tensor:
        for member in self.members:
            values = member.smashed(values, generator=generator)
        return values

    def gradients(self, gradients: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        for member in self.members:
            gradients = member.gradients(gradients, labels, generator=generator)
        return gradients

    def penalty(self, inputs: Tensor, smashed: Tensor) -> Tensor | None:
        terms = [term for member in self.members if (term := member.penalty(inputs, smashed)) is not None]
        return torch.stack(terms).sum() if terms else None

    @property
    def privacy(self) -> Privacy | None:
        return next((member.privacy for member in self.members if member.privacy is not None), None)

    @property
    def noise(self) -> float:
        return math.hypot(*(member.noise for member in self.members))

    @property
    def deeper(self) -> int:
        return sum(member.deeper for member in self.members)

    def expected(self, values: Tensor) -> Tensor:
        for member in self.members:
            values = member.expected(values)
        return values

    def misfit(self, values: Tensor, observed: Tensor) -> Tensor:
        acting = [member for member in self.members if member.changes("smashed")]
        for member in acting[:-1]:
            values = member.expected(values)
        last: Defense = acting[-1] if acting else self
        return last.misfit(values, observed) if acting else super().misfit(values, observed)

    def packed_bytes(self, sent: Tensor) -> float:
        return min((member.packed_bytes(sent) for member in self.members), default=super().packed_bytes(sent))

    def __str__(self) -> str:
        return " + ".join(map(str, self.members)) or "none"


def together(defenses: Sequence[Defense]) -> Defense:
    """One defence that does what all of these do, one after another."""
    return defenses[0] if len(defenses) == 1 else Together(members=tuple(defenses))


def members(defenses: Sequence[Defense]) -> tuple[Defense, ...]:
    """The defences one by one, those of a `Together` among them."""
    found = [members(each.members) if isinstance(each, Together) else (each,) for each in defenses]
    return tuple(one for part in found for one in part)


def parse_defense(text: str) -> Defense:
    """A defence from text such as "gaussian:scale=0.5", or "gaussian:0.5" for its settings in their order, or "sign".

    Raises:
        InputError: an unknown defence or setting, or a value that the setting cannot have.
    """
    name, _, settings = text.strip().partition(":")
    if name not in DEFENSES:
        raise unknown_name("defence", name, DEFENSES)
    kind = DEFENSES[name]
    known = {field.name: field for field in fields(kind)}
    chosen: dict[str, Any] = {}
    for number, part in enumerate(filter(None, (part.strip() for part in settings.split(",")))):
        key, equals, value = part.partition("=")
        if not equals:
            if number >= len(known):
                raise InputError(f"The defence '{text}' is not understood; write for example '{_example(kind)}'.")
            key, value = list(known)[number], part
        if key.strip() not in known:
            raise unknown_name(f"setting of the defence {name}", key.strip(), known)
        chosen[key.strip()] = _value(text, kind, known[key.strip()].default, value.strip())
    return kind(**chosen)


def parse_defenses(text: str) -> tuple[Defense, ...]:
    """The defences of a text such as "clip:0.5 + gaussian:0.3"; "none" for none.

    Raises:
        InputError: an unknown defence or setting.
    """
    return () if text.strip() == "none" else tuple(parse_defense(part) for part in text.split("+"))


def _value(text: str, kind: type[Defense], default: object, value: str) -> object:
    if isinstance(default, str):
        return value
    try:
        return int(value) if isinstance(default, int) else float(value)
    except ValueError as error:
        number = "a whole number" if isinstance(default, int) else "a number"
        raise InputError(
            f"The defence '{text}' needs {number}, not '{value}'; for example '{_example(kind)}'."
        ) from error


def _example(kind: type[Defense]) -> str:
    return str(kind())
