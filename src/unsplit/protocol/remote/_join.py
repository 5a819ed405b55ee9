"""A client process: it connects, takes part, and after a fault connects again."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from unsplit.errors import InputError
from unsplit.files import locked
from unsplit.protocol.client import Client
from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.protocol.remote.admission import VERSION
from unsplit.protocol.remote.codec import WIRE, WireError
from unsplit.protocol.remote.handshake import refusal
from unsplit.protocol.remote.participant import Participant, Stopped
from unsplit.protocol.remote.plan import Plan
from unsplit.protocol.remote.security import Seal, channel_credentials, check_loopback, read_token
from unsplit.protocol.remote.service import FAULT
from unsplit.protocol.remote.signals import on_signals
from unsplit.protocol.remote.states import States
from unsplit.protocol.remote.stream import OPTIONS, Closed, FrameStream
from unsplit.protocol.remote.telemetry import Telemetry
from unsplit.protocol.remote.wire_pb2_grpc import SplitLearningStub

# A fault of the network, or a server that is being started again.
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.ABORTED,
)
_STOP_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


@dataclass(frozen=True, kw_only=True)
class ConnectOptions:
    """How a client reaches the server and shows who it is.

    Args:
        address: "host:port".
        ca: PEM file of the authority of the server's certificate; None for the public ones.
        certificate, key: PEM files of the client, where the server asks for them.
        token: file with the client's bearer token, where the server asks for one.
        insecure: whether to go without TLS, to a loopback address only.
        patience: number of seconds without a connection after which the client gives up.
        server_name: the name in the server's certificate, where it is not that of the address.
    """

    address: str = "localhost:50051"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: Path | None = None
    insecure: bool = False
    patience: float = 300.0
    server_name: str | None = None

    def __post_init__(self) -> None:
        if not self.patience > 0:
            raise InputError(f"The patience is {self.patience:g} seconds; it must be above 0.")
        if self.insecure:
            if self.ca or self.certificate or self.key:
                raise InputError("`insecure` means that no certificates are used; leave it out to use them.")
            check_loopback(self.address)

    def channel(self) -> grpc.aio.Channel:
        """A channel to the server.

        Raises:
            InputError: a certificate that cannot be used.
        """
        options: list[tuple[str, int | str]] = [
            *OPTIONS,
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        if self.insecure:
            return grpc.aio.insecure_channel(self.address, options=options)
        if self.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        credentials = channel_credentials(self.ca, certificate=self.certificate, key=self.key)
        return grpc.aio.secure_channel(self.address, credentials, options=options)

    def refusal(self) -> str | None:
        """Why TLS does not let this client through, in a sentence; None where it does, or where nobody answers."""
        return refusal(
            self.address,
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            insecure=self.insecure,
            name=self.server_name,
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return () if self.token is None else (("authorization", f"Bearer {read_token(self.token)}"),)


async def join(
    plan: Plan,
    client: Client,
    options: ConnectOptions,
    folder: Path,
    telemetry: Telemetry,
    *,
    seal: Seal | None = None,
    keep_truth: bool = False,
) -> bool:
    """Take part in a training; returns whether it is complete (False: the client was asked to stop).

    Args:
        plan: the plan of the training.
        client: the client's party.
        options: how to reach the server.
        folder: folder of the client's states; the states of an earlier start are resumed.
        telemetry: receives log entries and counts of what happens.
        seal: encryption of weights for the hand-off "peer"; None for other hand-offs.
        keep_truth: whether to leave `truth.safetensors`, the inputs and labels of the last step, to score attacks with.

    Raises:
        UnsplitError: refused, no server for longer than the patience, a folder in use or of another training.
    """
    with locked(folder):
        states = States(folder / "states", digest=plan.config.digest())
        participant = Participant(
            plan,
            client,
            states=states,
            telemetry=telemetry,
            seal=seal,
            truth=folder / "truth.safetensors" if keep_truth else None,
        )
        task = asyncio.ensure_future(_persist(participant, options, telemetry))
        _stop_on_signals(participant, task)
        try:
            await task
        except (Stopped, asyncio.CancelledError):
            if not participant.stop_asked:
                raise
            return False
        return True


async def _persist(participant: Participant, options: ConnectOptions, telemetry: Telemetry) -> None:
    """Connect, and connect again after every passing fault."""
    last_contact, pause = time.monotonic(), _FIRST_PAUSE
    metadata = options.metadata()
    while True:
        reached = False
        try:
            async with options.channel() as channel:
                stub = SplitLearningStub(channel)
                terms = await stub.Terms(wire.TermsRequest(), metadata=metadata, timeout=10)
                reached = True
                await _converse(participant, stub, terms, metadata)
                return
        except Closed:
            why = "the server ended the connection"
        except grpc.aio.AioRpcError as error:
            if not reached and (refused := await asyncio.to_thread(options.refusal)) is not None:
                raise InputError(refused) from error
            why = _passing(error, reached=reached)
        except WireError as error:
            raise InputError(f"The server cannot be understood: {error}.") from error
        now = time.monotonic()
        last_contact, pause = (now, _FIRST_PAUSE) if reached else (last_contact, min(2 * pause, _LONGEST_PAUSE))
        if now - last_contact > options.patience:
            raise InputError(
                f"No connection to {options.address} for {options.patience:g} seconds ({why}); run the same command "
                "again to go on once the server is there."
            )
        if participant.stop_asked:
            raise Stopped
        telemetry.log.info("reconnecting", why=why, pause=pause)
        await asyncio.sleep(pause)


async def _converse(
    participant: Participant, stub: SplitLearningStub, terms: wire.TermsReply, metadata: tuple[tuple[str, str], ...]
) -> None:
    config, name = participant.plan.config, participant.client.name
    call = stub.Train(metadata=metadata)
    stream = FrameStream(
        call.read,
        call.write,
        dtype=WIRE[config.wire],
        count=lambda came, left: participant.telemetry.bytes(name, came, left),
    )
    try:
        await stream.send(participant.hello(VERSION))
        if terms.version != VERSION or terms.digest != config.digest():
            # The server refuses, so that its operator reads of it as well; the sentence here says what differs.
            with contextlib.suppress(grpc.aio.AioRpcError, Closed):
                await stream.frame(timeout=5)
            raise InputError(_mismatch(participant.plan, terms))
        await participant.take_part(stream)
        # The server ends the connection; to hang up first could hide from it that its last word arrived.
        with contextlib.suppress(Closed, asyncio.TimeoutError, grpc.aio.AioRpcError):
            await stream.frame(timeout=5)
    except (Closed, asyncio.InvalidStateError):
        if call.done() and (code := await call.code()) is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
            ) from None
        raise
    finally:
        call.cancel()


def _mismatch(plan: Plan, terms: wire.TermsReply) -> str:
    if terms.version != VERSION:
        return (
            f"The server speaks version {terms.version} of the wire protocol and this client version {VERSION}; "
            "install the same unsplit on both sides."
        )
    try:
        differences = plan.config.differences(terms.configuration)
    except ValueError:
        differences = []
    return (
        f"The server has another configuration ({'; '.join(differences) or 'with another hash'}); use the same file on "
        "both sides."
    )


def _passing(error: grpc.aio.AioRpcError, *, reached: bool) -> str:
    """Why the connection ended, if it may be tried again.

    Raises:
        InputError: the server refused.
    """
    details = error.details() or error.code().name.lower()
    if not reached and "certificate" in details.lower() and "verify" in details.lower():
        raise InputError(
            f"The server's certificate is not trusted ({details}); give its authority with `ca`, and reach it by a "
            "name in its certificate."
        ) from error
    # gRPC itself calls it an internal error when a connection breaks under a message that is being sent.
    if error.code() in _PASSING or (error.code() is grpc.StatusCode.INTERNAL and details != FAULT):
        return details
    raise InputError(f"The server refused: {details}") from error


def _stop_on_signals(participant: Participant, task: "asyncio.Future[None]") -> None:
    """On SIGTERM, finish the step and keep the state; cut a wait short."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        participant.stop_asked = True
        if participant.training:
            loop.call_later(_STOP_SECONDS, task.cancel)
        else:
            task.cancel()

    on_signals(stop)
