"""The server on the network: who is let in, and the conversation with each client."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from unsplit.errors import UnsplitError
from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.protocol.remote.codec import WIRE, WireError
from unsplit.protocol.remote.host import Host, SplitFedHost
from unsplit.protocol.remote.lane import Lane, Standing
from unsplit.protocol.remote.layouts import batch_layouts, weights_layout
from unsplit.protocol.remote.line import Closed, Line
from unsplit.protocol.remote.security import Tokens
from unsplit.protocol.remote.telemetry import Telemetry
from unsplit.protocol.remote.wire_pb2_grpc import SplitLearningServicer
from unsplit.types import Kind, Message, Setup

VERSION = 1
"""Of the wire protocol; both sides must have the same."""
FAULT = "The server failed; its log says how."
_HELLO_SECONDS = 10.0
_JOINS, _JOIN_SECONDS = 30, 10.0
_MOST_STORED = 100
_MOST_SAMPLES = 2**40
Context = Any  # grpc.aio.ServicerContext, which the stubs make generic over what this service never names


class Service(SplitLearningServicer):
    """Answers the calls of clients that were let in.

    Args:
        host: whose turn it is.
        mutual_tls: a client's certificate bears its name.
        tokens: of the clients, if they must bring one.
        called: told the address from which each call comes.
    """

    def __init__(
        self,
        host: Host,
        *,
        mutual_tls: bool,
        tokens: Tokens | None,
        called: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.host = host
        self._called = called
        self._mutual_tls = mutual_tls
        self._tokens = tokens
        self._plan = host.plan
        self._telemetry = host.telemetry
        self._layouts = {
            **batch_layouts(self._plan),
            Kind.WEIGHTS: weights_layout(self._plan, sealed=self._plan.config.hand_off == "peer"),
        }
        self._seats: dict[str, asyncio.Task[Any]] = {}
        self._sent_away: set[asyncio.Task[Any]] = set()
        self._joins: dict[str, deque[float]] = {}
        self._fulfilled: set[str] = set()
        self.broken = asyncio.Event()
        self.news = asyncio.Event()

    @property
    def everybody_knows(self) -> bool:
        """Whether every client was told that the training is over."""
        return self._fulfilled == set(self.host.clients)

    async def Terms(self, request: wire.TermsRequest, context: Context) -> wire.TermsReply:  # noqa: N802, ARG002
        """What a client must agree to."""
        await self._admit(context)
        config = self._plan.config
        return wire.TermsReply(
            version=VERSION,
            digest=config.digest(),
            configuration=config.canonical(),
            cut=str(config.cut),
            shapes={kind.value: wire.Shape(sizes=shape) for kind, shape in self._plan.shapes.items()},
        )

    async def Train(self, request_iterator: object, context: Context) -> None:  # noqa: N802, ARG002
        """One client's connection, from its hello to the end of the training."""
        admitted = await self._admit(context)
        name = admitted or ""
        try:
            line = Line(
                context.read,
                context.write,
                dtype=WIRE[self._plan.config.wire],
                count=lambda came, left: self._telemetry.bytes(name, came, left) if name else None,
            )
            hello = (await line.frame(timeout=_HELLO_SECONDS)).hello
            name = await self._welcome(hello, admitted, context)
            async with self._seat(name):
                await self._converse(name, hello, line)
        except WireError as error:
            self._telemetry.refused("message", str(error), name)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The server cannot use what {name} sent: {error}.")
        except Closed:
            return
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task not in self._sent_away:
                raise
            self._sent_away.discard(task)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The server ended this connection; come again.")
        except asyncio.TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "Nothing was said.")
        except UnsplitError as error:
            # A full disk, say. The sentence goes to the server's operator, who has to mend it.
            self.host.failure = error
            self.broken.set()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The server had to stop; its operator knows why.")
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            self._telemetry.log.error("fault", client=name, exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, FAULT)

    def drop(self, name: str) -> None:
        """End the connection of a client, which may come again."""
        task = self._seats.get(name)
        if task is not None:
            self._sent_away.add(task)
            task.cancel()

    async def _admit(self, context: Context) -> str | None:
        """Who calls, as far as certificate and token say (without a token, `Gate` lets nobody in)."""
        self._called(context.peer())
        names: set[str] = set()
        if self._mutual_tls:
            # A certificate without a common name names nobody, which is no client of this training.
            names |= {value.decode() for value in context.auth_context().get("x509_common_name", (b"",))}
        if self._tokens is not None:
            names.add(owner_of(context.invocation_metadata(), self._tokens) or "")
        if len(names) > 1 or (names and not names <= set(self.host.clients)):
            self._telemetry.refused("identity", "certificate and token name no one client of this training")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Not admitted.")
        return names.pop() if names else None

    async def _welcome(self, hello: wire.Hello, admitted: str | None, context: Context) -> str:
        """Check a hello; returns the client's name."""
        config, name = self._plan.config, hello.name
        sentence = ""
        if name not in self.host.clients or (admitted is not None and name != admitted):
            await self._refuse(context, "identity", "Not admitted under this name.", grpc.StatusCode.PERMISSION_DENIED)
        if hello.version != VERSION:
            sentence = (
                f"{name} speaks version {hello.version} of the wire protocol and the server version {VERSION}; install "
                "the same unsplit on both sides."
            )
        elif hello.digest != config.digest():
            sentence = (
                f"{name} has the configuration {hello.digest[:12]} and the server {config.digest()[:12]}; use the same "
                "file on both sides."
            )
        elif not 1 <= hello.samples <= _MOST_SAMPLES or len(hello.stored) > _MOST_STORED:
            sentence = f"{name} says hello with {hello.samples} samples and {len(hello.stored)} states."
        if sentence:
            await self._refuse(context, "terms", sentence, grpc.StatusCode.FAILED_PRECONDITION)
        joins = self._joins.setdefault(name, deque(maxlen=_JOINS))
        now = time.monotonic()
        if len(joins) == _JOINS and now - joins[0] < _JOIN_SECONDS:
            await self._refuse(
                context, "rate", f"{name} joins too often; wait a moment.", grpc.StatusCode.RESOURCE_EXHAUSTED
            )
        joins.append(now)
        self.host.samples[name] = hello.samples
        return name

    async def _refuse(self, context: Context, reason: str, sentence: str, code: grpc.StatusCode) -> None:
        self._telemetry.refused(reason, sentence)
        await context.abort(code, sentence)

    @asynccontextmanager
    async def _seat(self, name: str) -> AsyncIterator[None]:
        """A client has one connection: a newer one ends the one before, which may be half dead."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call outside of a task")
        self.drop(name)
        self._seats[name] = task
        self._telemetry.joined(name)
        why = "ended"
        try:
            yield
        except BaseException as error:
            why = str(error) or type(error).__name__
            raise
        finally:
            if self._seats.get(name) is task:
                del self._seats[name]
                self._telemetry.left(name, why)

    async def _converse(self, name: str, hello: wire.Hello, line: Line) -> None:
        await line.send(wire.Frame(welcome=wire.Welcome(done=self.host.done[name])))
        live = hello.live if hello.HasField("live") else None
        standing = Standing(live=live, turn=hello.turn, begun=hello.begun, stored=tuple(hello.stored))
        while (lane := await self._while_connected(self.host.lane_of(name), line)) is not None:
            before = max(lane.steps_done, live or 0)
            resume, in_memory = lane.agree(standing)
            if resume < before:
                self._telemetry.resumed(name, resume, before - resume)
            weights = self.host.handed_to(name)
            if resume != lane.first or in_memory:
                weights = None
            turn = wire.Turn(
                first=lane.first,
                end=lane.end,
                resume=resume,
                base=self.host.done[name],
                weights=weights is not None,
                hand_off=self._hands_off(lane),
                live=in_memory,
            )
            self.host.heard(name)
            await line.send(wire.Frame(turn=turn), *([] if weights is None else [weights]))
            standing = Standing(stored=(await self._train(name, lane, line),))
        await line.send(wire.Frame(finished=wire.Finished(steps=self._plan.config.steps)))
        self._fulfilled.add(name)
        self.news.set()

    def _hands_off(self, lane: Lane) -> bool:
        if isinstance(self.host, SplitFedHost):
            return True
        return len(self.host.clients) > 1 and lane.end < self._plan.config.steps

    async def _while_connected(self, waiting: Awaitable[Lane | None], line: Line) -> Lane | None:
        """Wait for a turn; a client that hangs up meanwhile, or talks out of turn, ends the wait."""
        turn = asyncio.ensure_future(waiting)
        word = asyncio.ensure_future(line.ready())
        try:
            await asyncio.wait({turn, word}, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                frame = await line.frame()
                raise WireError(f"a {frame.WhichOneof('content')} frame came before the client's turn")
            return await turn
        finally:
            turn.cancel()
            word.cancel()

    async def _train(self, name: str, lane: Lane, line: Line) -> int:
        """Answer the messages of one turn; returns the step after its last."""
        while True:
            frame = await line.frame()
            kind = frame.WhichOneof("content")
            if kind == "over":
                self.host.over(name, frame.over.step)
                await line.send(frame)
                return frame.over.step
            if kind == "begin":
                answers: list[wire.Frame | Message] = list(lane.begin(name, frame.begin.step))
            else:
                answers = []
                for message in await line.messages(frame, self._layouts):
                    answers += self._answers(name, lane, message)
            self.host.heard(name)
            await line.send_while(lane.settle, *answers)

    def _answers(self, name: str, lane: Lane, message: Message) -> list[wire.Frame | Message]:
        if message.sender != name or message.receiver != "server":
            raise WireError(f"it is from {message.sender} to {message.receiver}")
        if message.kind is Kind.WEIGHTS:
            self.host.hand(message)
            return []
        if message.kind is Kind.LABELS:
            labels, classes = message.tensor, self._plan.config.classes
            if int(labels.min()) < 0 or int(labels.max()) >= classes:
                raise WireError(f"there are labels that are not from 0 to {classes - 1}")
        before = lane.steps_done
        answers: list[wire.Frame | Message] = list(lane.receive(message))
        if lane.steps_done > before:
            loss = lane.server.last_loss if lane.server.setup is Setup.A else float("nan")
            self._telemetry.step(name, message.step, loss)
        if message.kind is Kind.FEATURE_GRAD and self._plan.config.setup is Setup.B:
            answers.append(wire.Frame(done=wire.Done(step=message.step)))
        return answers


class Gate(grpc.aio.ServerInterceptor):
    """Lets no call through, not even one for the server's health, that brings no token of a client.

    Args:
        tokens: of the clients.
        telemetry: is told of refusals.
        called: told the address from which each refused call comes.
    """

    def __init__(self, tokens: Tokens, telemetry: Telemetry, *, called: Callable[[str], None] = lambda _: None) -> None:
        self._tokens = tokens
        self._telemetry = telemetry
        self._called = called

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Let the call through, or give one that refuses."""
        if owner_of(handler_call_details.invocation_metadata, self._tokens) is not None:
            return await continuation(handler_call_details)
        self._telemetry.refused("token", "no token, or an unknown one")

        async def refuse(request: object, context: Context) -> None:  # noqa: ARG001
            self._called(context.peer())
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Not admitted.")

        return grpc.stream_stream_rpc_method_handler(refuse)


def owner_of(metadata: Any, tokens: Tokens) -> str | None:
    """The client whose token is among a call's metadata."""
    given = str(dict(metadata or ()).get("authorization", ""))
    return tokens.owner(given.removeprefix("Bearer ")) if given.startswith("Bearer ") else None
