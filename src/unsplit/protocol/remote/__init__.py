"""Real parties: the same protocol between processes and machines, over gRPC.

`settings` is the configuration that both sides share, and `plan` what each works out from it. A server process
(`serve`) has a host, which knows whose turn it is, sessions, in which each step is taken once, and a service, which
talks to the clients that were admitted over streams of frames. A client process (`join`) has a participant, which
trains when the server says so and keeps what it needs to go on after a fault. `codec` and `layouts` are what messages
must look like on the wire.
"""

from unsplit.protocol.remote._join import ConnectOptions, join
from unsplit.protocol.remote._serve import ListenOptions, serve
from unsplit.protocol.remote.certificates import make_certificates
from unsplit.protocol.remote.plan import Plan, make_plan
from unsplit.protocol.remote.security import Seal, Tokens
from unsplit.protocol.remote.settings import RunConfig, read_config
from unsplit.protocol.remote.telemetry import Telemetry, logger

Door, Way = ListenOptions, ConnectOptions
"""Both by the names that they had before, for programs that were written then."""

__all__ = [
    "ConnectOptions",
    "ListenOptions",
    "Plan",
    "RunConfig",
    "Seal",
    "Telemetry",
    "Tokens",
    "join",
    "logger",
    "make_certificates",
    "make_plan",
    "read_config",
    "serve",
]
