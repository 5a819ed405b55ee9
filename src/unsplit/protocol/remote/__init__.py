"""Real parties: the same protocol between processes and machines, over gRPC.

`settings` is the configuration that both sides share, and `plan` what each works out from it. A server process
(`serve`) has a host, which knows whose turn it is, lanes, on which each step is taken once, and a service, which talks
to clients over `line`s. A client process (`join`) has a participant, which trains when the server says so and keeps
what it needs to go on after a fault. `codec` and `layouts` are what messages must look like on the wire.
"""

from unsplit.protocol.remote.certificates import make_certificates
from unsplit.protocol.remote.join import Way, join
from unsplit.protocol.remote.plan import Plan, make_plan
from unsplit.protocol.remote.security import Seal, Tokens
from unsplit.protocol.remote.serve import Door, serve
from unsplit.protocol.remote.settings import RunConfig, read_config
from unsplit.protocol.remote.telemetry import Telemetry, logger

__all__ = [
    "Door",
    "Plan",
    "RunConfig",
    "Seal",
    "Telemetry",
    "Tokens",
    "Way",
    "join",
    "logger",
    "make_certificates",
    "make_plan",
    "read_config",
    "serve",
]
