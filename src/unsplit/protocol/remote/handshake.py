"""Why TLS let nobody through: gRPC tells a client "Socket closed" and a server nothing.

A client looks for itself, with a handshake of Python's own. A server counts the handshakes that begin and the
connections on which a call comes; what is left over was refused, by it or by the other side.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from pathlib import Path

from unsplit.protocol.remote.telemetry import Telemetry

_SECONDS = 3.0
_AGAIN = 0.3
GRACE = 3.0
"""Seconds within which a call comes on a connection that was let in."""


def refusal(
    address: str,
    *,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    insecure: bool = False,
    name: str | None = None,
) -> str | None:
    """Why TLS does not connect a client to a server, in a sentence; None where it does, or where nobody answers.

    Args:
        address: "host:port".
        ca, certificate, key: PEM files, the same as for the connection itself.
        insecure: whether the client speaks no TLS.
        name: name in the server's certificate, where it is not that of the address.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if insecure:
        speaks = _tried(host, int(port), _anybody(), None) in ("open", "closed")
        return f"The server at {address} speaks TLS; leave out `insecure`, and give `ca`." if speaks else None
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    context.set_alpn_protocols(["h2"])
    if certificate is not None and key is not None:
        context.load_cert_chain(certificate, key)
    found = _tried(host, int(port), context, name or host)
    if found == "closed":  # a server that is just being stopped closes too
        time.sleep(_AGAIN)
        found = _tried(host, int(port), context, name or host)
    if found == "closed":
        shown = "asks for a certificate of the client" if certificate is None else f"does not accept {certificate}"
        return (
            f"The server at {address} ended the TLS handshake: it {shown}; give `certificate` and `key` that are "
            "signed by the server's authority of clients (its `client_ca`) and have not expired."
        )
    return None if found in (None, "open") else str(found).format(address=address)


def _anybody() -> ssl.SSLContext:
    """Trusts any server, to see whether there is TLS at all; nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _tried(host: str, port: int, context: ssl.SSLContext, name: str | None) -> str | None:
    """What became of a handshake: "open", "closed" by the server right after it, a reason, or None for no answer."""
    try:
        with (
            socket.create_connection((host, port), timeout=_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=name) as stream,
        ):
            # With TLS 1.3 a server looks at the client's certificate when the client is done; one of gRPC's that lets
            # it in speaks first.
            return "open" if stream.recv(1) else "closed"
    except ssl.SSLCertVerificationError as error:
        return (
            f"The certificate of the server at {{address}} is not trusted ({error.verify_message.rstrip('.')}); give "
            "its authority with `ca`, and reach it by a name in its certificate."
        )
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as error:
        reason = (error.reason or "").replace("_", " ").lower()
        if "wrong version" in reason or "http request" in reason or "record layer" in reason:
            return (
                "The server at {address} does not speak TLS; use `insecure` (on this machine only), or start the "
                "server with `certificate` and `key`."
            )
        if "alert" in reason:
            return (
                f"The server at {{address}} refused the TLS handshake ({reason}); give `certificate` and `key` that "
                "its authority of clients has signed."
            )
        return None
    except OSError:
        return None


class Handshakes:
    """Counts the TLS connections of a server on which no call came.

    Args:
        telemetry: receives a log entry and a count of each of them.
        asks: whether clients need a certificate.
    """

    def __init__(self, telemetry: Telemetry, *, asks: bool) -> None:
        self._telemetry, self._asks = telemetry, asks
        self._loop = asyncio.get_running_loop()
        self._open: deque[object] = deque()
        self._peers: deque[str] = deque(maxlen=1000)

    def began(self) -> None:
        """A handshake begins; gRPC says so in a thread of its own."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wait)

    def called(self, peer: str) -> None:
        """A call came on a connection, by the address of the other side."""
        if peer not in self._peers:
            self._peers.append(peer)
            if self._open:
                self._open.popleft()

    def _wait(self) -> None:
        token = object()
        self._open.append(token)
        self._loop.call_later(GRACE, self._missed, token)

    def _missed(self, token: object) -> None:
        if token in self._open:
            self._open.remove(token)
            why = (
                "the client has no certificate of the clients' authority, or an expired one, or it does not trust ours"
                if self._asks
                else "the client does not trust our certificate, or reaches us by a name that is not in it"
            )
            self._telemetry.refused("tls", f"A TLS connection ended before any call: {why}.")
