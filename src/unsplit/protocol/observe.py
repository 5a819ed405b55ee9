"""Recording a training loop that is not ours: what its server receives and sends.

Nothing here computes with the loop's tensors, draws, or keeps its graph: they are copied when they cross, so a training
that is observed is the training that is not, bit for bit.
"""

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unsplit.errors import InputError
from unsplit.protocol.foreign_step import ForeignStep, check_client, copied, crossing
from unsplit.protocol.parties import SERVER
from unsplit.protocol.store import MANIFEST, load_transcript
from unsplit.protocol.transcript_writer import TranscriptWriter
from unsplit.tensors import metadata
from unsplit.types import Kind, Payload

Watched = TypeVar("Watched")


def observe(
    folder: Path | str, *, observer: str = SERVER, resume: bool = False, first_step: int | None = None
) -> "Observation":
    """Record what a server of somebody else's training loop sees, as a transcript in a folder.

        with observe("runs/traffic") as server:
            for inputs, labels in loader:
                smashed = bottom(inputs)
                received = smashed.detach().requires_grad_()
                with server.step(received, labels=labels):
                    loss_fn(top(received), labels).backward()
                smashed.backward(received.grad)

    Args:
        folder: folder to which the transcript streams; complete when the context ends.
        observer: name of the server in the transcript.
        resume: go on in a folder that holds a transcript, after its last step.
        first_step: number of the next step, where it is not the one after the last; what is stored of it and of later
            steps is dropped.

    Raises:
        InputError: the folder holds a transcript and `resume` is not set, or one of another party.
        StorageError: the folder cannot be written.
    """
    return Observation(Path(folder), observer, resume=resume, first_step=first_step)


class Observation:
    """The recording of a loop; made by `observe`. It is complete on disk after `close`, which the context calls."""

    def __init__(self, folder: Path, observer: str, *, resume: bool, first_step: int | None) -> None:
        if first_step is not None and first_step < 0:
            raise InputError(f"first_step is {first_step}; it must be at least 0.")
        following = 0
        if (folder / MANIFEST).exists():
            following = max(load_transcript(folder, verify=False).steps, default=-1) + 1
            if following and not resume:
                raise InputError(
                    f"{folder} holds a transcript of {following} steps already; name another folder, or go on with it "
                    "by resume=True."
                )
        self.observer = observer
        self.steps = following if first_step is None else first_step
        """How many steps there were: the number of the next one."""
        self._writer = TranscriptWriter(folder, observer)
        if self.steps < following:
            self._writer.forget_from(self.steps)
        self._lock = threading.Lock()
        self._unusable = 0
        self._watched = ExitStack()
        self._told = False
        self.carried: dict[str, str] = {}
        """By kind of message: what tensors carried beside their numbers, by class and names. None of it is recorded."""

    def step(
        self,
        received: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        client: str = "client0",
        gradient: bool = True,
    ) -> ForeignStep:
        """A step of the server, to be put around its computation; it counts when the block ends without an exception.

        Args:
            received: the smashed data as the server got them, shape [n, ...]; their `grad` at the end of the block is
                noted as what goes back. None where the server has the inputs (setup b).
            labels: labels that are sent to the server (setup a), shape [n] or [n, ...]; None where none are.
            client: name of the client that sent the smashed data.
            gradient: False where nothing goes back: the network is used, not trained.

        Raises:
            InputError: something else than one tensor with a gradient crosses, or batches that disagree.
        """
        step = self._begin(received, labels, client, gradient=gradient)
        if gradient and received is not None and not received.requires_grad:
            raise InputError(
                "The smashed data take no gradient; write received = smashed.detach().requires_grad_() and hand that "
                "to the server's layers, or pass gradient=False where nothing is trained."
            )
        return step

    def weights(
        self,
        *,
        bottom: nn.Module | Mapping[str, Tensor] | None = None,
        head: nn.Module | Mapping[str, Tensor] | None = None,
        client: str = "client0",
    ) -> None:
        """Layers of a client that pass through the server after a step, in the clear.

        Args:
            bottom: the first layers, or their state dict.
            head: the last layers, or their state.
            client: name of the client whose layers they are.

        Raises:
            InputError: no layers, or none of them trained yet.
        """
        check_client(client, self.observer)
        if self.steps == 0:
            raise InputError("Weights are noted with the step that made them; note them after the first step.")
        tensors: dict[str, Tensor] = {}
        for role, layers in (("bottom", bottom), ("head", head)):
            state = layers.state_dict() if isinstance(layers, nn.Module) else layers or {}
            for value in state.values():
                self._carry(Kind.WEIGHTS, value)
            tensors |= {f"{role}.{name}": copied(value, f"the weight {name}") for name, value in state.items()}
        if not tensors:
            raise InputError("No weights are given; give those of the client's bottom or head.")
        with self._lock:
            self._write(self.steps - 1, client, [(Kind.WEIGHTS, tensors)])

    def watch(
        self,
        server: Watched,
        *,
        forward: str = "forward_pass",
        backward: str = "backward_pass",
        client: str | Callable[[], str] = "client0",
    ) -> Watched:
        """Record the steps of an object with one method that takes smashed data and one that gives their gradient, by
        wrapping these two until the context ends. A forward pass without a backward pass, as in validation, is no step.

        Args:
            server: the object, which is changed and returned.
            forward: the method whose first argument is the smashed data, and whose second, if there is one, the labels.
            backward: the method that returns the gradient at the smashed data, or leaves it in their `grad`.
            client: name of the client that sends them, or a function that gives it at each step.

        Raises:
            InputError: it has no such method.
        """
        passes: list[Any] = [getattr(server, name, None) for name in (forward, backward)]
        for name, method in zip((forward, backward), passes, strict=True):
            if not callable(method):
                raise InputError(
                    f"A {type(server).__name__} has no method '{name}'; name its methods by forward= and backward=."
                )
        begun: list[ForeignStep] = []

        @functools.wraps(passes[0])
        def forwards(*arguments: Any, **named: Any) -> Any:
            smashed, *rest = inspect.signature(passes[0]).bind(*arguments, **named).arguments.values()
            sender = client if isinstance(client, str) else client()
            begun.clear()
            step = self._begin(smashed, rest[0] if rest else None, sender, gradient=True)
            answer = passes[0](*arguments, **named)
            begun.append(step)
            return answer

        @functools.wraps(passes[1])
        def backwards(*arguments: Any, **named: Any) -> Any:
            answer = passes[1](*arguments, **named)
            if begun:
                begun.pop().complete(answer)
            return answer

        for name, wrapped in ((forward, forwards), (backward, backwards)):
            self._watched.callback(_put_back, server, name, vars(server).get(name))
            setattr(server, name, wrapped)
        return server

    def close(self) -> None:
        """Write what is not on disk yet, and leave watched objects as they were."""
        self._watched.close()
        self._writer.flush()
        if self.carried and not self._told:
            note = _carrying(self.carried)
            self._writer.note(note)
            warnings.warn(note, stacklevel=2)
            self._told = True
        if self._unusable:
            warnings.warn(
                f"{self._unusable} steps held NaN or infinity and were not kept; no attack can read them.", stacklevel=2
            )
            self._unusable = 0

    def __enter__(self) -> "Observation":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _begin(self, received: Any, labels: Any, client: str, *, gradient: bool) -> ForeignStep:
        check_client(client, self.observer)
        return ForeignStep(
            received, labels, gradient=gradient, take=lambda noted: self._take(client, noted), carry=self._carry
        )

    def _carry(self, kind: Kind, value: object) -> None:
        """Note what crosses with a tensor that is more than numbers."""
        held = metadata(value)
        if held is not None:
            self.carried[kind.value] = held

    def _take(self, client: str, noted: Sequence[tuple[Kind, Tensor]]) -> None:
        """Write a complete step, unless numbers in it are not finite: its number is used all the same."""
        with self._lock:
            number, self.steps = self.steps, self.steps + 1
            if all(bool(torch.isfinite(value).all()) for _, value in noted):
                self._write(number, client, noted)
            else:
                self._unusable += 1

    def _write(self, step: int, client: str, noted: Sequence[tuple[Kind, Payload]]) -> None:
        for kind, payload in noted:
            self._writer.append(crossing(step, kind, payload, client=client, observer=self.observer))


def _carrying(carried: Mapping[str, str]) -> str:
    held = "; ".join(f"{kind}: {what}" for kind, what in carried.items())
    return (
        f"Tensors that cross in the observed loop carry more than numbers ({held}): whoever receives them has "
        "that too. The transcript keeps the numbers alone; in the loop, send value.as_subclass(torch.Tensor)."
    )


def _put_back(watched: object, name: str, before: object) -> None:
    """Give an object its method again: its class's, or one of its own."""
    if before is None:
        delattr(watched, name)
    else:
        setattr(watched, name, before)
