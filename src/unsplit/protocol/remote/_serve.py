"""A server process, from its configuration to the end of the training."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import torch
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import start_http_server
from torch import Tensor

from unsplit.errors import InputError, StorageError
from unsplit.files import locked, write_text
from unsplit.protocol.remote.admission import Admission, TokenInterceptor
from unsplit.protocol.remote.handshake import Handshakes
from unsplit.protocol.remote.host import Host
from unsplit.protocol.remote.hosts import make_host
from unsplit.protocol.remote.plan import Plan
from unsplit.protocol.remote.security import Tokens, check_loopback, server_credentials
from unsplit.protocol.remote.service import Service
from unsplit.protocol.remote.signals import on_signals
from unsplit.protocol.remote.stream import OPTIONS
from unsplit.protocol.remote.telemetry import Telemetry
from unsplit.protocol.remote.wire_pb2_grpc import add_SplitLearningServicer_to_server

_GRACE_SECONDS = 2.0
_SERVER_OPTIONS = (
    *OPTIONS,
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.so_reuseport", 0),
)


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """Whether the server serves, by gRPC's own protocol.

    Args:
        called: function that is called with the address from which each call comes.
    """

    def __init__(self, called: Callable[[str], None]) -> None:
        super().__init__()
        self._called = called

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The answer of now."""
        self._called(context.peer())
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """Each new answer."""
        self._called(context.peer())
        await super().Watch(request, context)


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """Where a server listens and whom it lets in.

    Args:
        address: "host:port"; port 0 takes a free one.
        certificate, key: the server's, PEM files; none only where `insecure` is.
        client_ca: PEM file of the authority whose certificates admit clients by their name; None asks for none.
        tokens: file of the tokens that admit clients; None asks for none.
        insecure: whether to go without TLS, on a loopback address only.
        metrics: port of the Prometheus metrics on 127.0.0.1; None for none.
    """

    address: str = "localhost:50051"
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    insecure: bool = False
    metrics: int | None = None

    def __post_init__(self) -> None:
        if self.insecure:
            if self.certificate or self.key or self.client_ca:
                raise InputError("`insecure` means that no certificates are used; leave it out to use them.")
            check_loopback(self.address)
            return
        if self.certificate is None or self.key is None:
            raise InputError(
                "The server needs `certificate` and `key`; make some for a trial with `unsplit certs`, or use "
                "`insecure` on this machine only."
            )
        if self.client_ca is None and self.tokens is None:
            raise InputError("Say how clients are known: `client_ca` for their certificates, or `tokens`.")


async def serve(
    plan: Plan,
    options: ListenOptions,
    folder: Path,
    telemetry: Telemetry,
    *,
    inputs: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    record: bool = True,
    listening: Callable[[int], None] | None = None,
) -> bool:
    """Train with the clients that come; returns whether the training is complete (False: it was asked to stop).

    Args:
        plan: the plan of the training.
        options: where to listen, and whom to admit.
        folder: folder of the state, the transcript and `serve.json`; an earlier start's state is resumed.
        telemetry: receives log entries and counts of what happens.
        inputs: in setup (b), the inputs by client's name, shape [n, *input shape]; None for those of a trial.
        device: device on which the server computes.
        record: whether to keep the server's transcript.
        listening: function that is called with the port once the server listens.

    Raises:
        UnsplitError: a folder in use or of another training, a port that is taken, nobody to train with, a full disk.
    """
    with locked(folder):
        host = make_host(plan, folder, telemetry, inputs=inputs, device=device, record=record)
        return await _serve(host, options, folder, telemetry, listening)


async def _serve(
    host: Host, options: ListenOptions, folder: Path, telemetry: Telemetry, listening: Callable[[int], None] | None
) -> bool:
    tokens = None if options.tokens is None else Tokens.read(options.tokens)
    mutual_tls = options.client_ca is not None
    handshakes = Handshakes(telemetry, asks=mutual_tls)
    called = handshakes.called
    admission = Admission(host.plan.config, telemetry, mutual_tls=mutual_tls, tokens=tokens, called=called)
    service = Service(host, admission)
    server = grpc.aio.server(
        options=_SERVER_OPTIONS,
        interceptors=[] if tokens is None else [TokenInterceptor(tokens, telemetry, called=called)],
        maximum_concurrent_rpcs=4 * len(host.clients) + 16,
    )
    add_SplitLearningServicer_to_server(service, server)
    condition = Health(called)
    health_pb2_grpc.add_HealthServicer_to_server(condition, server)
    port = _listen(server, options, handshakes)
    metrics = None if options.metrics is None else _metrics(options.metrics, telemetry)
    stopped = asyncio.Event()
    on_signals(stopped.set)
    await server.start()
    await condition.set("", health_pb2.HealthCheckResponse.SERVING)
    telemetry.log.info("listening", address=options.address, port=port, run=host.plan.config.run)
    if listening is not None:
        listening(port)
    try:
        await _until_done(host, service, stopped)
    finally:
        await condition.enter_graceful_shutdown()
        for name in host.clients:
            service.drop(name)
        await server.stop(_GRACE_SECONDS)
        if metrics is not None:
            metrics()
        if not isinstance(host.failure, StorageError):
            host.stop()
    if host.failure is not None:
        raise host.failure
    if host.finished:
        summary = {"steps": host.plan.config.steps, "skipped": host.skipped}
        write_text(folder / "serve.json", json.dumps(summary, indent=1) + "\n")
        telemetry.finished(host.plan.config.steps)
    return host.finished


async def _until_done(host: Host, service: Service, stopped: asyncio.Event) -> None:
    """Until every client knows that the training is over, or nobody asks any more; until the server has to stop."""
    loop = asyncio.get_running_loop()
    farewell: float | None = None
    while not stopped.is_set() and not service.broken.is_set():
        if host.finished:
            farewell = loop.time() + host.plan.config.wait if farewell is None else farewell
            if service.everybody_knows or loop.time() > farewell:
                return
        else:
            for name in host.give_up_on_the_silent():
                service.drop(name)
        tasks = [asyncio.ensure_future(event.wait()) for event in (stopped, service.broken, service.news)]
        await asyncio.wait(tasks, timeout=min(1.0, host.plan.config.wait / 4), return_when=asyncio.FIRST_COMPLETED)
        service.news.clear()
        for task in tasks:
            task.cancel()


def _listen(server: "grpc.aio.Server", options: ListenOptions, handshakes: Handshakes) -> int:
    refused = InputError(f"The address {options.address} cannot be listened on; name a free port of this machine.")
    try:
        if options.certificate is None or options.key is None:
            port = server.add_insecure_port(options.address)
        else:
            credentials = server_credentials(
                options.certificate, options.key, client_ca=options.client_ca, began=handshakes.began
            )
            port = server.add_secure_port(options.address, credentials)
    except RuntimeError as error:
        raise refused from error
    if port == 0:
        raise refused
    return int(port)


def _metrics(port: int, telemetry: Telemetry) -> Callable[[], None]:
    try:
        httpd, _ = start_http_server(port, addr="127.0.0.1", registry=telemetry.registry)
    except OSError as error:
        raise InputError(f"The port {port} for metrics is taken; name another.") from error

    def stop() -> None:
        httpd.shutdown()
        httpd.server_close()

    return stop
