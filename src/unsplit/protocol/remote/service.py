"""The server on the network: the conversation with each client that was admitted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from unsplit.errors import UnsplitError
from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.protocol.remote.admission import VERSION, Admission, Context
from unsplit.protocol.remote.codec import WIRE, WireError
from unsplit.protocol.remote.host import Host
from unsplit.protocol.remote.layouts import check_labels, layouts
from unsplit.protocol.remote.session import ResumePoints, Session
from unsplit.protocol.remote.stream import Closed, FrameStream
from unsplit.protocol.remote.wire_pb2_grpc import SplitLearningServicer
from unsplit.types import Kind, Message, Setup

FAULT = "The server failed; its log says how."
_HELLO_SECONDS = 10.0


class Service(SplitLearningServicer):
    """Answers the calls of clients that were let in.

    Args:
        host: the state of the training, which says whose turn it is.
        admission: decides who may call.
    """

    def __init__(self, host: Host, admission: Admission) -> None:
        self.host = host
        self._plan = host.plan
        self._telemetry = host.telemetry
        self._admission = admission
        self._layouts = layouts(self._plan)
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._sent_away: set[asyncio.Task[Any]] = set()
        self._fulfilled: set[str] = set()
        self.broken = asyncio.Event()
        self.news = asyncio.Event()

    @property
    def everybody_knows(self) -> bool:
        """Whether every client was told that the training is over."""
        return self._fulfilled == set(self.host.clients)

    async def Terms(self, request: wire.TermsRequest, context: Context) -> wire.TermsReply:  # noqa: N802, ARG002
        """What a client must agree to."""
        await self._admission.identify(context)
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
        admitted = await self._admission.identify(context)
        name = admitted or ""
        try:
            stream = FrameStream(
                context.read,
                context.write,
                dtype=WIRE[self._plan.config.wire],
                count=lambda came, left: self._telemetry.bytes(name, came, left) if name else None,
            )
            hello = (await stream.frame(timeout=_HELLO_SECONDS)).hello
            name = await self._admission.check_hello(hello, admitted, context)
            self.host.samples[name] = hello.samples
            async with self._only_connection(name):
                await self._converse(name, hello, stream)
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
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The server ended this connection; connect again.")
        except asyncio.TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "The client sent nothing in time.")
        except UnsplitError as error:
            # A full disk, say. The sentence goes to the server's operator, who has to mend it.
            self.host.failure = error
            self.broken.set()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The server had to stop; ask its operator for the reason.")
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            self._telemetry.log.error("fault", client=name, exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, FAULT)

    def drop(self, name: str) -> None:
        """End the connection of a client, which may come again."""
        task = self._tasks.get(name)
        if task is not None:
            self._sent_away.add(task)
            task.cancel()

    @asynccontextmanager
    async def _only_connection(self, name: str) -> AsyncIterator[None]:
        """A client has one connection: a newer one ends the one before, which may be half dead."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call outside of a task")
        self.drop(name)
        self._tasks[name] = task
        self._telemetry.joined(name)
        why = "ended"
        try:
            yield
        except BaseException as error:
            why = str(error) or type(error).__name__
            raise
        finally:
            if self._tasks.get(name) is task:
                del self._tasks[name]
                self._telemetry.left(name, why)

    async def _converse(self, name: str, hello: wire.Hello, stream: FrameStream) -> None:
        await stream.send(wire.Frame(welcome=wire.Welcome(done=self.host.done[name])))
        live = hello.live if hello.HasField("live") else None
        resume_points = ResumePoints(live=live, turn=hello.turn, begun=hello.begun, stored=tuple(hello.stored))
        while (session := await self._while_connected(self.host.session_of(name), stream)) is not None:
            before = max(session.steps_done, live or 0)
            resume, in_memory = session.agree(resume_points)
            if resume < before:
                self._telemetry.resumed(name, resume, before - resume)
            weights = self.host.handed_to(name)
            if resume != session.first or in_memory:
                weights = None
            turn = wire.Turn(
                first=session.first,
                end=session.end,
                resume=resume,
                base=self.host.done[name],
                weights=weights is not None,
                hand_off=self.host.hands_off(session),
                live=in_memory,
            )
            self.host.heard(name)
            await stream.send(wire.Frame(turn=turn), *([] if weights is None else [weights]))
            resume_points = ResumePoints(stored=(await self._train(name, session, stream),))
        await stream.send(wire.Frame(finished=wire.Finished(steps=self._plan.config.steps)))
        self._fulfilled.add(name)
        self.news.set()

    async def _while_connected(self, waiting: Awaitable[Session | None], stream: FrameStream) -> Session | None:
        """Wait for a turn; a client that hangs up meanwhile, or talks out of turn, ends the wait."""
        turn = asyncio.ensure_future(waiting)
        word = asyncio.ensure_future(stream.ready())
        try:
            await asyncio.wait({turn, word}, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                frame = await stream.frame()
                raise WireError(f"a {frame.WhichOneof('content')} frame came before the client's turn")
            return await turn
        finally:
            turn.cancel()
            word.cancel()

    async def _train(self, name: str, session: Session, stream: FrameStream) -> int:
        """Answer the messages of one turn; returns the step after its last."""
        while True:
            frame = await stream.frame()
            kind = frame.WhichOneof("content")
            if kind == "over":
                self.host.over(name, frame.over.step)
                await stream.send(frame)
                return frame.over.step
            if kind == "begin":
                answers: list[wire.Frame | Message] = list(session.begin(name, frame.begin.step))
            else:
                answers = []
                for message in await stream.messages(frame, self._layouts):
                    answers += self._answers(name, session, message)
            self.host.heard(name)
            await stream.send_while(session.settle, *answers)

    def _answers(self, name: str, session: Session, message: Message) -> list[wire.Frame | Message]:
        if message.sender != name or message.receiver != "server":
            raise WireError(f"it is from {message.sender} to {message.receiver}")
        if message.kind is Kind.WEIGHTS:
            self.host.hand(message)
            return []
        check_labels(message, self._plan.config.classes)
        before = session.steps_done
        answers: list[wire.Frame | Message] = list(session.receive(message))
        if session.steps_done > before:
            loss = session.server.last_loss if session.server.setup is Setup.A else float("nan")
            self._telemetry.step(name, message.step, loss)
        if message.kind is Kind.FEATURE_GRAD and self._plan.config.setup is Setup.B:
            answers.append(wire.Frame(done=wire.Done(step=message.step)))
        return answers
