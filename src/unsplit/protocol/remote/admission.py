"""Admission: who may call the server, known by certificate, token and the first frame of its connection."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc

from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.protocol.remote.security import Tokens
from unsplit.protocol.remote.settings import RunConfig
from unsplit.protocol.remote.telemetry import Telemetry

VERSION = 1
"""Of the wire protocol; both sides must have the same."""
_JOINS, _JOIN_SECONDS = 30, 10.0
_MOST_STORED = 100
_MOST_SAMPLES = 2**40
Context = Any  # grpc.aio.ServicerContext, which the stubs make generic over what is never named here


class Admission:
    """Lets the clients of a training in, and nobody else; a call that is refused ends with a reason.

    Args:
        config: the training's configuration, which names the clients.
        telemetry: receives a log entry and a count of each refusal.
        mutual_tls: whether a client's certificate bears its name.
        tokens: the clients' tokens; None where a client needs none.
        called: function that is called with the address from which each call comes.
    """

    def __init__(
        self,
        config: RunConfig,
        telemetry: Telemetry,
        *,
        mutual_tls: bool,
        tokens: Tokens | None,
        called: Callable[[str], None],
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        self._mutual_tls = mutual_tls
        self._tokens = tokens
        self._called = called
        self._joins: dict[str, deque[float]] = {}

    async def identify(self, context: Context) -> str | None:
        """Who calls, as far as certificate and token say; without a token, `TokenInterceptor` lets nobody in."""
        self._called(context.peer())
        names: set[str] = set()
        if self._mutual_tls:
            # A certificate without a common name names nobody, which is no client of this training.
            names |= {value.decode() for value in context.auth_context().get("x509_common_name", (b"",))}
        if self._tokens is not None:
            names.add(owner_of(context.invocation_metadata(), self._tokens) or "")
        if len(names) > 1 or (names and not names <= set(self._config.clients)):
            self._telemetry.refused("identity", "certificate and token do not name one client of this training")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "Not admitted.")
        return names.pop() if names else None

    async def check_hello(self, hello: wire.Hello, admitted: str | None, context: Context) -> str:
        """Check a hello, and that its sender is whom `identify` found; returns the client's name."""
        config, name = self._config, hello.name
        sentence = ""
        if name not in self._config.clients or (admitted is not None and name != admitted):
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
            sentence = (
                f"{name} announces {hello.samples} samples and {len(hello.stored)} stored states, which cannot be "
                "right; join with `unsplit join`."
            )
        if sentence:
            await self._refuse(context, "terms", sentence, grpc.StatusCode.FAILED_PRECONDITION)
        joins = self._joins.setdefault(name, deque(maxlen=_JOINS))
        now = time.monotonic()
        if len(joins) == _JOINS and now - joins[0] < _JOIN_SECONDS:
            await self._refuse(
                context, "rate", f"{name} joins too often; wait a moment.", grpc.StatusCode.RESOURCE_EXHAUSTED
            )
        joins.append(now)
        return name

    async def _refuse(self, context: Context, reason: str, sentence: str, code: grpc.StatusCode) -> None:
        self._telemetry.refused(reason, sentence)
        await context.abort(code, sentence)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets no call through, not even one for the server's health, that brings no token of a client.

    Args:
        tokens: the clients' tokens.
        telemetry: receives a log entry and a count of each refusal.
        called: function that is called with the address from which each refused call comes.
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
