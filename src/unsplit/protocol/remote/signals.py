"""Ending cleanly when asked to."""

import asyncio
import contextlib
import signal
from collections.abc import Callable


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and on Ctrl-C, where the running loop can: in the main thread, on systems with signals."""
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
