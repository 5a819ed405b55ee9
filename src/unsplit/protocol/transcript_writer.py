"""Writing transcripts to disk as a stream, by a thread of their own: whoever records does not wait for the disk.

A shard is written whole to a temporary name and moved into place, and the manifest after it, so an interrupted run
leaves a transcript that ends a little earlier and is otherwise intact. No file is changed while the manifest names it,
so one who reads at the same time finds either the old transcript or the new.
"""

import contextlib
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from unsplit.errors import InputError
from unsplit.files import writable_folder, write_tensors, write_text
from unsplit.protocol.store import FORMAT, MANIFEST, Manifest, Shard, StoredMessages, read_manifest, sha256_of
from unsplit.types import Message, Transcript

_SHARD_BYTES = 16 * 2**20
_SHARD_MESSAGES = 8192
"""However small their payloads are, each of these many messages takes some kilobytes in memory until it is written."""


class TranscriptWriter:
    """Appends messages to a transcript folder, holding no more than two shards of them in memory: one that is being
    written, and one that fills meanwhile.

    Methods are to be called from one thread. What goes wrong while a shard is written is raised by the next call; its
    messages are kept, and written again with those that came after.

    Args:
        folder: folder of the transcript, created if need be; it must hold no other party's.
        observer: name of the party whose transcript it is.
        shard_bytes: number of payload bytes after which a shard is written, or sooner, after 8,192 messages.

    Raises:
        InputError: the folder holds a transcript of another party.
        StorageError: the folder cannot be written, or the disk is full.
    """

    def __init__(self, folder: Path, observer: str, *, shard_bytes: int = _SHARD_BYTES) -> None:
        self._folder = writable_folder(folder)
        self._shard_bytes = shard_bytes
        self._waiting: list[Message] = []
        self._waiting_bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transcript")
        self._writing: tuple[Future[None], list[Message]] | None = None
        self.manifest = Manifest(observer=observer)
        if (folder / MANIFEST).exists():
            self.manifest = read_manifest(folder)
            if self.manifest.observer != observer:
                raise InputError(
                    f"{folder} holds a transcript of {self.manifest.observer}, not of {observer}; name another folder."
                )
        else:
            self._write_manifest(self.manifest)

    def append(self, message: Message) -> None:
        """Add a message at the end."""
        self._waiting.append(message)
        self._waiting_bytes += _size(message)
        if self._writing is not None and self._writing[0].done():
            self._settle()
        if self._waiting_bytes >= self._shard_bytes or len(self._waiting) >= _SHARD_MESSAGES:
            self._hand_to_thread()

    def flush(self) -> None:
        """Write what waits, and return when everything appended is on disk."""
        self._hand_to_thread()
        self._settle()

    def note(self, *notes: str) -> None:
        """Keep sentences for those who audit the transcript, beside those that are kept already."""
        self.flush()
        kept = tuple(dict.fromkeys([*self.manifest.notes, *notes]))
        if kept != self.manifest.notes:
            self._write_manifest(self.manifest.model_copy(update={"notes": kept}))

    def forget_from(self, step: int) -> None:
        """Drop all messages sent during `step` or later, when a run resumes from a checkpoint before them."""
        self._settle()
        self._keep_waiting([message for message in self._waiting if message.header.sent_during < step])
        kept: list[Shard] = []
        survivors: list[Message] = []
        for shard in self.manifest.shards:
            if shard.last_step + 1 < step:
                kept.append(shard)
                continue
            stored = StoredMessages(self._folder, Manifest(observer=self.manifest.observer, shards=(shard,)))
            early = [index for index, header in enumerate(stored.headers) if header.sent_during < step]
            if len(early) == len(stored):
                kept.append(shard)
            else:
                survivors += [stored[index] for index in early]
        dropped = set(self.manifest.shards) - set(kept)
        if dropped:
            self._write([*survivors, *self._waiting], after=kept)
            self._keep_waiting([])
        for shard in dropped:
            with contextlib.suppress(OSError):
                (self._folder / shard.file).unlink()

    def _hand_to_thread(self) -> None:
        """Have what waits written, once the thread is through with what it has."""
        self._settle()
        if self._waiting:
            messages = self._waiting
            self._keep_waiting([])
            self._writing = (self._thread.submit(self._write, messages, after=self.manifest.shards), messages)

    def _settle(self) -> None:
        """Wait for the thread; what it could not write waits again."""
        if self._writing is None:
            return
        written, messages = self._writing
        wait([written])
        self._writing = None
        error = written.exception()
        if error is not None:
            self._keep_waiting([*messages, *self._waiting])
            raise error

    def _keep_waiting(self, messages: list[Message]) -> None:
        self._waiting, self._waiting_bytes = messages, sum(map(_size, messages))

    def _write(self, messages: Sequence[Message], *, after: Sequence[Shard]) -> None:
        """Write messages as one shard under a name that the manifest does not have, and the manifest with it."""
        shards = list(after)
        if messages:
            number = max((shard.number + 1 for shard in self.manifest.shards), default=0)
            path = self._folder / f"shard-{number:06d}.safetensors"
            tensors = {
                f"{index:06d}/{key}": value
                for index, message in enumerate(messages)
                for key, value in message.tensors.items()
            }
            headers = [[*message.header[:3], message.kind.value] for message in messages]
            write_tensors(path, tensors, {"format": FORMAT, "messages": json.dumps(headers)})
            steps = [message.step for message in messages]
            shards.append(
                Shard(
                    file=path.name,
                    messages=len(headers),
                    first_step=min(steps),
                    last_step=max(steps),
                    sha256=sha256_of(path),
                )
            )
        self._write_manifest(self.manifest.model_copy(update={"shards": tuple(shards)}))

    def _write_manifest(self, manifest: Manifest) -> None:
        write_text(self._folder / MANIFEST, manifest.as_json())
        self.manifest = manifest


def save_transcript(transcript: Transcript, folder: Path) -> Path:
    """Write a transcript to a folder that holds none yet; returns the folder.

    Raises:
        InputError: the folder holds a transcript.
        StorageError: the folder cannot be written, or the disk is full.
    """
    if (folder / MANIFEST).exists():
        raise InputError(f"{folder} holds a transcript already; name another folder or remove it first.")
    writer = TranscriptWriter(folder, transcript.observer)
    for message in transcript:
        writer.append(message)
    writer.flush()
    return folder


def _size(message: Message) -> int:
    return sum(value.nbytes for value in message.tensors.values())
