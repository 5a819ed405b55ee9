"""Recording what one party sees: all of it, the last steps, or chosen steps; in memory or streaming to disk."""

from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from unsplit.errors import InputError
from unsplit.protocol.store import load_transcript
from unsplit.protocol.transcript_writer import TranscriptWriter
from unsplit.types import Kind, Message, Transcript


class Recorder:
    """Keeps the messages that `observer` sends or receives.

    Args:
        observer: name of the party whose messages are kept.
        last: number of steps of which messages are kept, counted from the end; None for no limit.
        steps: numbers of the steps to keep; None for all.
        kinds: kinds of message to keep; None for all.
        keep: gives what to keep of a message that the above let through: the message, a smaller one, or None.
        folder: folder to stream to instead of holding messages in memory; not together with `last`.

    Raises:
        InputError: `last` below 1, or together with `steps` or `folder`.
    """

    def __init__(
        self,
        *,
        observer: str,
        last: int | None = None,
        steps: Collection[int] | None = None,
        kinds: Collection[Kind] | None = None,
        keep: Callable[[Message], Message | None] | None = None,
        folder: Path | None = None,
    ) -> None:
        if last is not None and (last < 1 or steps is not None or folder is not None):
            raise InputError(
                f"`last` is {last}; give at least 1, and neither `steps` nor `folder` with it (these two can be used "
                "together)."
            )
        self.observer = observer
        self._last = last
        self._steps = steps
        self._kinds = kinds
        self._keep = keep
        self._kept: deque[Message] = deque()
        self._folder = folder
        self._writer = TranscriptWriter(folder, observer) if folder is not None else None

    def take(self, message: Message) -> None:
        """Keep a message if it is one of ours."""
        if self.observer not in (message.sender, message.receiver):
            return
        if self._steps is not None and message.step not in self._steps:
            return
        if self._kinds is not None and message.kind not in self._kinds:
            return
        kept = message if self._keep is None else self._keep(message)
        if kept is None:
            return
        if self._writer is not None:
            self._writer.append(kept)
            return
        self._kept.append(kept)
        while self._last is not None and self._kept[0].step <= message.step - self._last:
            self._kept.popleft()

    def flush(self) -> None:
        """Bring what streams to disk up to the present."""
        if self._writer is not None:
            self._writer.flush()

    def forget_from(self, step: int) -> None:
        """Drop what was sent during `step` or later, when a run resumes before it."""
        if self._writer is not None:
            self._writer.forget_from(step)
        self._kept = deque(message for message in self._kept if message.header.sent_during < step)

    def transcript(self) -> Transcript:
        """What was kept so far."""
        if self._folder is not None:
            self.flush()
            return load_transcript(self._folder, verify=False)
        return Transcript(observer=self.observer, messages=tuple(self._kept))
