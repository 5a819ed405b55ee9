"""One connection, seen from either side: frames in, frames out, with their bytes counted."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import torch
from google.protobuf.message import DecodeError

from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.protocol.remote.codec import CHUNK, Arriving, Layout, WireError, encode
from unsplit.types import Kind, Message

MOST_BYTES = CHUNK + 2**20
"""Most bytes of a frame: its data, and a header with as many tensors as there may be."""
OPTIONS = (
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_send_message_length", MOST_BYTES),
    ("grpc.max_metadata_size", 16 * 2**10),
    # Nothing comes compressed: a small message must not become a huge one.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Room on the way for a few batches of smashed data, in frames that suit them.
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
    ("grpc.http2.max_frame_size", 2**20),
    # A peer that is gone without a word is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class Closed(Exception):  # noqa: N818 - not an error: the other side is done
    """The other side ended the connection."""


class FrameStream:
    """Frames of one connection.

    Args:
        read: function that gives the next frame, or gRPC's end of file.
        write: function that sends a frame.
        dtype: dtype to which floating-point numbers of a step are rounded for the wire.
        count: function that is called with the bytes of each frame that came (first) or left (second).
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[object]],
        write: Callable[[wire.Frame], Awaitable[None]],
        *,
        dtype: torch.dtype,
        count: Callable[[int, int], None] | None = None,
    ) -> None:
        self._read = read
        self._write = write
        self._dtype = dtype
        self._count = count
        self._reading: asyncio.Future[object] | None = None

    async def frame(self, *, timeout: float | None = None) -> wire.Frame:
        """The next frame.

        Raises:
            Closed: there is none.
            asyncio.TimeoutError: none came in this many seconds.
            WireError: what came is no frame.
        """
        try:
            if timeout is None and self._reading is None:
                frame = await self._read()
            else:
                await self.ready(timeout=timeout)
                if self._reading is None or not self._reading.done():
                    raise asyncio.TimeoutError
                frame, self._reading = self._reading.result(), None
        except DecodeError as error:
            raise WireError("its bytes are not a frame") from error
        if not isinstance(frame, wire.Frame):
            raise Closed
        if self._count is not None:
            self._count(frame.ByteSize(), 0)
        return frame

    async def ready(self, *, timeout: float | None = None) -> None:
        """Wait until a frame is here, or so many seconds. To stop waiting loses none: gRPC bears no abandoned read."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(_seen)
        await asyncio.wait({self._reading}, timeout=timeout)

    async def messages(self, first: wire.Frame, layouts: Mapping[Kind, Layout]) -> list[Message]:
        """The messages of this frame, of which there may be two, or that it begins.

        Raises:
            WireError: one is none of those expected.
        """
        if first.WhichOneof("content") != "pair":
            return [await self.message(first, layouts)]
        both = [Arriving.begin(payload, layouts) for payload in (first.pair.first, first.pair.second)]
        if not all(arriving.complete for arriving in both):
            raise WireError("a pair of messages is not whole")
        return [_restored(arriving) for arriving in both]

    async def message(
        self, first: wire.Frame, layouts: Mapping[Kind, Layout], *, timeout: float | None = None
    ) -> Message:
        """The message that begins with this frame.

        Raises:
            WireError: it is none of those expected.
        """
        if first.WhichOneof("content") != "payload":
            raise WireError(f"a {first.WhichOneof('content')} frame came where a message was expected")
        arriving = Arriving.begin(first.payload, layouts)
        while not arriving.complete:
            frame = await self.frame(timeout=timeout)
            if frame.WhichOneof("content") != "chunk":
                raise WireError("a message was cut off by another frame")
            arriving.add(frame.chunk.data)
        return _restored(arriving)

    async def send(self, *items: wire.Frame | Message) -> None:
        """Send frames and messages in this order; two small messages share a frame."""
        frames = [frame for item in items for frame in self._frames(item)]
        if len(frames) == 2 and all(frame.WhichOneof("content") == "payload" for frame in frames):
            first, second = (frame.payload for frame in frames)
            if first.size + second.size <= CHUNK:
                frames = [wire.Frame(pair=wire.Pair(first=first, second=second))]
        for frame in frames:
            await self._send(frame)

    async def send_while(self, work: Callable[[], None], *items: wire.Frame | Message) -> None:
        """Send, and do some work of this process's own while it leaves."""
        sending = asyncio.ensure_future(self.send(*items))
        await asyncio.sleep(0)
        try:
            work()
        finally:
            await sending

    def _frames(self, item: wire.Frame | Message) -> list[wire.Frame]:
        if not isinstance(item, Message):
            return [item]
        return list(encode(item, dtype=None if item.kind is Kind.WEIGHTS else self._dtype))

    async def _send(self, frame: wire.Frame) -> None:
        if self._count is not None:
            self._count(0, frame.ByteSize())
        await self._write(frame)


def _restored(arriving: Arriving) -> Message:
    """The message, with numbers that were rounded for the wire widened again."""
    return arriving.message(restore=None if arriving.kind is Kind.WEIGHTS else torch.float32)


def _seen(reading: "asyncio.Future[object]") -> None:
    """Look at what became of a read that nobody may be waiting for any more."""
    if not reading.cancelled():
        reading.exception()
