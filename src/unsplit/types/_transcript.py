"""What one party saw of the messages of a training."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, overload, runtime_checkable

import torch
from torch import Tensor

from unsplit.errors import InputError
from unsplit.tensors import gathered
from unsplit.types._headers import ChosenHeaders
from unsplit.types._message import Header, Kind, Message


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
        observer: name of the party whose transcript it is.
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
        indices = array("q", (index for index, header in enumerate(self.headers) if wanted(header)))
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
        indices = array("q", (index for index, size in enumerate(self.sizes) if size))
        return self if len(indices) == len(self) else replace(self, messages=Selection(self.messages, indices))

    def to(self, device: torch.device) -> "Transcript":
        """The same messages with their payloads on a device, where each is moved to whenever it is read."""
        return replace(self, messages=Converted(self, lambda message: message.to(device)))

    def tensor(self, kind: Kind) -> Tensor:
        """All payloads of one kind, joined along the batch: shape [samples, ...].

        Raises:
            InputError: the transcript holds no message of this kind.
        """
        sent = self.of(kind)
        if not len(sent):
            raise InputError(
                f"This transcript of {self.observer} holds no {kind.value} message; record a run that sends them, "
                "or choose steps that have them."
            )
        (payloads,) = gathered((message.tensor,) for message in sent)
        return payloads.detach()


class Selection(Sequence[Message]):
    """Some messages of a longer sequence, read only when asked for."""

    def __init__(self, source: Messages, indices: Sequence[int]) -> None:
        self._source = source
        self._indices = indices

    @property
    def headers(self) -> Sequence[Header]:
        return ChosenHeaders(_headers(self._source), self._indices)

    @property
    def sizes(self) -> Sequence[int]:
        """How many samples each message is of; 1 of weights."""
        if hasattr(self._source, "sizes"):
            kept: Sequence[int] = self._source.sizes
            return array("q", (kept[index] for index in self._indices))
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


class Converted(Sequence[Message]):
    """The messages of a transcript, each converted when it is asked for.

    Args:
        view: the transcript.
        convert: gives another message of the same header and as many samples.
    """

    def __init__(self, view: Transcript, convert: Callable[[Message], Message]) -> None:
        self._view, self._convert = view, convert

    @property
    def headers(self) -> Sequence[Header]:
        return self._view.headers

    @property
    def sizes(self) -> Sequence[int]:
        return self._view.sizes

    def __len__(self) -> int:
        return len(self._view)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        if isinstance(index, slice):
            return [self._convert(_checked(message)) for message in self._view.messages[index]]
        return self._convert(_checked(self._view.messages[index]))


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
