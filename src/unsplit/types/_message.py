"""What crosses from one party to another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.tensors import plain

Payload = Tensor | Mapping[str, Tensor]


class Kind(str, Enum):
    """What a message carries."""

    SMASHED = "smashed"
    """Output of the client's bottom, client to server."""
    LABELS = "labels"
    """Labels of the batch, client to server (setup a only)."""
    FEATURES = "features"
    """Output of the server's body, server to client (setups b and c)."""
    FEATURE_GRAD = "feature_grad"
    """Gradient of the loss at the features, client to server: the cut gradient that label inference reads."""
    CUT_GRAD = "cut_grad"
    """Gradient of the loss at the smashed data, server to client (setups a and c)."""
    WEIGHTS = "weights"
    """A client's weights, handed to the next client at the end of a turn."""


class Header(NamedTuple):
    """A message without its payload."""

    step: int
    sender: str
    receiver: str
    kind: Kind

    @property
    def sent_during(self) -> int:
        """The step in which it left its sender: weights bear the number of the step that they are the outcome of, and
        are handed over when the next one begins.
        """
        return self.step + 1 if self.kind is Kind.WEIGHTS else self.step


@dataclass(frozen=True, kw_only=True, eq=False)
class Message:
    """What crosses from one party to another. To make a message is to cross the border: the payload is copied, detached
    and stripped of all but its numbers here, so no message can hold a graph, share storage with the party that sent it,
    or carry what a subclass of tensors knows (MONAI's file names).

    Args:
        step: number of the training step, counted from 0.
        payload: one tensor, or tensors by name for `Kind.WEIGHTS`.

    Raises:
        InputError: a payload of something else, or of tensors that are not plain numbers (see `tensors.plain`).
    """

    step: int
    sender: str
    receiver: str
    kind: Kind
    payload: Payload

    def __post_init__(self) -> None:
        copied: Payload
        if isinstance(self.payload, Tensor):
            copied = plain(self.payload).clone()
        elif isinstance(self.payload, Mapping) and all(isinstance(value, Tensor) for value in self.payload.values()):
            copied = MappingProxyType({name: plain(value).clone() for name, value in self.payload.items()})
        else:
            raise InputError(
                f"The payload of a {self.kind.value} message is a {type(self.payload).__name__}; give a tensor, or "
                "tensors by name."
            )
        object.__setattr__(self, "payload", copied)

    def to(self, device: torch.device) -> "Message":
        """The same message with its payload on a device; this one if it is there."""
        if all(value.device == device for value in self.tensors.values()):
            return self
        payload: Payload
        if isinstance(self.payload, Tensor):
            payload = self.payload.to(device)
        else:
            payload = {name: value.to(device) for name, value in self.payload.items()}
        return replace(self, payload=payload)

    @property
    def header(self) -> Header:
        """Everything but the payload."""
        return Header(self.step, self.sender, self.receiver, self.kind)

    @property
    def tensor(self) -> Tensor:
        """The payload of a message that carries one tensor."""
        if not isinstance(self.payload, Tensor):
            raise InputError(f"A {self.kind.value} message carries named tensors; read `tensors` instead.")
        return self.payload

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The payload as named tensors; a single tensor goes by the name of its kind."""
        if isinstance(self.payload, Tensor):
            return {self.kind.value: self.payload}
        return self.payload
