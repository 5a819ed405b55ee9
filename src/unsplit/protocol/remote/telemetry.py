"""What operators see: structured logs, Prometheus metrics, and the numbers behind the live view.

No secret is ever told here: tokens, keys and the contents of messages stay out of every call.
"""

import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_RECENT = 200


def logger(*, json: bool = True, quiet: bool = False, stream: TextIO | None = None) -> Any:
    """A logger: one JSON object a line, or text for people.

    Args:
        json: whether to write JSON, for machines, rather than text for people.
        quiet: whether to leave out everything below warnings.
        stream: stream to write to; standard error if left out.
    """
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    return structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(30 if quiet else 20),
    )


@dataclass(kw_only=True)
class Party:
    """What the live view shows of one client."""

    connected: bool = False
    steps: int = 0
    came: int = 0
    left: int = 0
    loss: float = float("nan")


@dataclass(kw_only=True)
class Telemetry:
    """Counts what happens at a party, logs it, and keeps the latest for the live view.

    Args:
        log: a structlog logger.
        total: number of steps of the whole training.
    """

    log: Any
    total: int = 0
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    parties: dict[str, Party] = field(default_factory=dict)
    active: tuple[str, ...] = ()
    steps_done: int = 0
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def __post_init__(self) -> None:
        """Make the metrics, in a registry of this training's own."""
        self._steps = Counter("unsplit_steps", "Training steps done.", ["client"], registry=self.registry)
        self._bytes = Counter("unsplit_bytes", "Bytes of frames.", ["client", "direction"], registry=self.registry)
        self._refused = Counter("unsplit_refused", "Connections refused or ended.", ["reason"], registry=self.registry)
        self._skips = Counter("unsplit_turns_skipped", "Turns skipped.", ["client"], registry=self.registry)
        self._joins = Counter("unsplit_joins", "Connections of clients.", ["client"], registry=self.registry)
        self._here = Gauge("unsplit_connected", "Whether a client is connected.", ["client"], registry=self.registry)
        self._at = Gauge("unsplit_step", "The step that the training is at.", registry=self.registry)
        self._loss = Gauge("unsplit_loss", "Loss of the last step, where this party knows it.", registry=self.registry)
        self._seconds = Histogram(
            "unsplit_step_seconds",
            "Seconds between two steps of a turn.",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=self.registry,
        )

    @property
    def speed(self) -> float:
        """Steps a second of late; 0 where nothing was done for ten seconds."""
        times = self._times
        if len(times) < 2 or time.monotonic() - times[-1] > 10:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], 1e-9)

    def joined(self, client: str) -> None:
        """A client is connected."""
        self._joins.labels(client).inc()
        self._here.labels(client).set(1)
        self.party(client).connected = True
        self.log.info("joined", client=client)

    def left(self, client: str, why: str) -> None:
        """A client is not connected any more."""
        self._here.labels(client).set(0)
        self.party(client).connected = False
        self.log.info("left", client=client, why=why)

    def refused(self, reason: str, sentence: str, client: str | None = None) -> None:
        """A connection was refused, or ended because of what came."""
        self._refused.labels(reason).inc()
        self.log.warning("refused", reason=reason, sentence=sentence, client=client)

    def turn(self, client: str, first: int, end: int) -> None:
        """A turn is open."""
        self.active = (client,)
        self.log.info("turn", client=client, first=first, end=end)

    def resumed(self, client: str, step: int, lost: int) -> None:
        """A client goes on, after steps that have to be done again."""
        self.log.info("resumed", client=client, step=step, steps_again=lost)

    def skipped(self, client: str, first: int) -> None:
        """A turn is skipped."""
        self._skips.labels(client).inc()
        self.log.warning("skipped", client=client, first=first)

    def step(self, client: str, step: int, loss: float) -> None:
        """A step is done."""
        now = time.monotonic()
        if self._times and now - self._times[-1] < 10:
            self._seconds.observe(now - self._times[-1])
        self._times.append(now)
        self._steps.labels(client).inc()
        self._at.set(step + 1)
        self.steps_done = step + 1
        party = self.party(client)
        party.steps, party.loss = party.steps + 1, loss
        if loss == loss:
            self._loss.set(loss)

    def bytes(self, client: str, came: int, left: int) -> None:
        """Bytes of a frame."""
        self._bytes.labels(client, "in").inc(came)
        self._bytes.labels(client, "out").inc(left)
        party = self.party(client)
        party.came, party.left = party.came + came, party.left + left

    def finished(self, steps: int) -> None:
        """The training is complete."""
        self.log.info("finished", steps=steps)

    def party(self, client: str) -> Party:
        """What is known of a client."""
        return self.parties.setdefault(client, Party())
