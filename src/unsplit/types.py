"""The words of the story: messages, what one party saw of them, what an attack makes of that, and the truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol, overload, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from .choices import Setup as Setup
from .errors import InputError
from .tensors import plain

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
        step: number of the training step, from 0.
        payload: one tensor, or named tensors for `Kind.WEIGHTS`.

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
        """The same message with its payload on a device."""
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


@runtime_checkable
class Messages(Protocol):
    """Messages in order, in memory or read from disk one by one."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Message]: ...
    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Transcript:
    """What one party saw: the messages it received or sent, in order, and nothing else.

    Args:
        observer: name of the party.
        messages: any sequence of `Message`; one that also has `headers` is read from disk message by message, and one
            that has `sizes` need not be read to know how many samples each message is of.

    Raises:
        InputError: something else than messages is among them; only a `Message` has crossed the border.
    """

    observer: str
    messages: Messages

    def __post_init__(self) -> None:
        if isinstance(self.messages, list | tuple):
            for message in self.messages:
                _checked(message)

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        return map(_checked, self.messages)

    @property
    def headers(self) -> Sequence[Header]:
        """The headers of all messages, without reading a payload."""
        return _headers(self.messages)

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of the steps that left a message here, ascending."""
        return tuple(sorted({header.step for header in self.headers}))

    def where(self, wanted: Callable[[Header], bool]) -> "Transcript":
        """The part whose headers satisfy `wanted`; payloads stay where they are until read."""
        indices = [index for index, header in enumerate(self.headers) if wanted(header)]
        return Transcript(observer=self.observer, messages=Selection(self.messages, indices))

    def of(self, *kinds: Kind) -> "Transcript":
        """The messages of these kinds."""
        return self.where(lambda header: header.kind in kinds)

    def between(self, first: int, last: int) -> "Transcript":
        """The messages of steps `first` to `last`, both included."""
        return self.where(lambda header: first <= header.step <= last)

    def last(self, steps: int) -> "Transcript":
        """The messages of the last `steps` steps."""
        kept = set(self.steps[-steps:]) if steps > 0 else set()
        return self.where(lambda header: header.step in kept)

    @property
    def sizes(self) -> Sequence[int]:
        """How many samples each message is of, where it can be without reading them; 1 of weights."""
        kept: Sequence[int] | None = getattr(self.messages, "sizes", None)
        return [_samples(message) for message in self] if kept is None else kept

    def with_samples(self) -> "Transcript":
        """The part without messages of empty batches, as Poisson sampling now and then draws them."""
        indices = [index for index, size in enumerate(self.sizes) if size]
        return self if len(indices) == len(self) else replace(self, messages=Selection(self.messages, indices))

    def to(self, device: torch.device) -> "Transcript":
        """The same messages with their payloads on a device."""
        return Transcript(observer=self.observer, messages=[message.to(device) for message in self])

    def tensor(self, kind: Kind) -> Tensor:
        """All payloads of one kind, joined along the batch: shape [samples, ...].

        Raises:
            InputError: the transcript holds no message of this kind.
        """
        payloads = [message.tensor for message in self.of(kind)]
        if not payloads:
            raise InputError(
                f"This transcript of {self.observer} holds no {kind.value} message; record a run that sends them, "
                "or choose steps that have them."
            )
        return torch.cat(payloads).detach()


class Selection(Sequence[Message]):
    """Some messages of a longer sequence, read only when asked for."""

    def __init__(self, source: Messages, indices: Sequence[int]) -> None:
        self._source = source
        self._indices = indices

    @property
    def headers(self) -> Sequence[Header]:
        headers = _headers(self._source)
        return [headers[index] for index in self._indices]

    @property
    def sizes(self) -> Sequence[int]:
        """How many samples each message is of; 1 of weights."""
        if hasattr(self._source, "sizes"):
            kept: Sequence[int] = self._source.sizes
            return [kept[index] for index in self._indices]
        return [_samples(message) for message in self]

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> "Selection": ...
    def __getitem__(self, index: int | slice) -> "Message | Selection":
        if isinstance(index, slice):
            return Selection(self._source, self._indices[index])
        return self._source[self._indices[index]]


def _headers(messages: Messages) -> Sequence[Header]:
    """The headers of messages, from where they are kept apart from payloads if they are."""
    kept: Sequence[Header] | None = getattr(messages, "headers", None)
    return kept if kept is not None else [message.header for message in messages]


def _samples(message: Message) -> int:
    """How many samples a message is of; 1 of weights, and of a single number."""
    return len(message.payload) if isinstance(message.payload, Tensor) and message.payload.ndim else 1


def _checked(message: object) -> Message:
    if not isinstance(message, Message):
        raise InputError(
            f"A transcript is made of messages, and a {type(message).__name__} is among these; make a Message of each "
            "payload, which copies what may cross."
        )
    return message


class Sign(str, Enum):
    """Whether an attack could tell a picture from its negative."""

    RESOLVED = "resolved"
    AMBIGUOUS = "ambiguous"
    UNTESTED = "untested"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """What an inversion attack returns. No score: scores need the truth, which an attack never sees.

    Args:
        inputs: reconstructed inputs, shape [n, *input shape], in the range of the client's data.
        clones: working copies of the client's bottom: one shared by all inputs, or one for each input.
        residual: relative squared error of the clone's output against each target, shape [n]; 0 is a perfect fit,
            1 no better than the mean.
        sign: whether the negative of the pictures could be ruled out.
        rounds: how many rounds (coordinate descent) or steps (joint) each input took, for the record.
        agreement: correlation of the pictures of the attack's two best restarts, -1 to 1; None without restarts.
    """

    inputs: Float[Tensor, "n ..."]
    clones: tuple[nn.Module, ...]
    residual: Float[Tensor, " n"]
    sign: Sign = Sign.UNTESTED
    rounds: tuple[int, ...] = ()
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class InferredLabels:
    """What a label attack returns.

    Args:
        labels: class (or group) of every observed sample in transcript order, shape [n].
        named: True if the numbers are class names, False if they are groups whose names are unknown.
        clone: the attacker's copy of the head where the attack trains one, else None.
        margin: how much better the label explains the sample's gradient than the next best does (difference of
            cosines, 0 to 2), shape [n]; None where the attack does not say.
    """

    labels: Int[Tensor, " n"]
    named: bool
    clone: nn.Module | None = None
    margin: Float[Tensor, " n"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What the attacker was after. Only metrics may see it.

    Args:
        inputs: the client's inputs, shape [n, *input shape].
        labels: their classes, shape [n], or what a regression aims at.
    """

    inputs: Float[Tensor, "n ..."]
    labels: Shaped[Tensor, "n ..."]
