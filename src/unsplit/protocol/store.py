"""Transcripts on disk: a folder of safetensors shards and a JSON manifest, read message by message.

Each shard holds the payloads of consecutive messages and, in its own metadata, their headers; the manifest names
the shards with their checksums. Nothing in the format can run code.
"""

import bisect
import hashlib
import json
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, overload

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unsplit.errors import FormatError
from unsplit.files import explained
from unsplit.types import Header, Headers, Kind, Message, Payload, Transcript

FORMAT: Literal["unsplit-transcript"] = "unsplit-transcript"
VERSION = 1
MANIFEST = "manifest.json"


class Shard(BaseModel):
    """One file of a stored transcript."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^shard-\d{6,}\.safetensors$")
    messages: int
    first_step: int
    last_step: int
    sha256: str

    @property
    def number(self) -> int:
        """The number in its name."""
        return int(self.file.removeprefix("shard-").removesuffix(".safetensors"))


class Manifest(BaseModel):
    """The contents of `manifest.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["unsplit-transcript"] = FORMAT
    version: int = VERSION
    observer: str
    shards: tuple[Shard, ...] = ()
    notes: tuple[str, ...] = ()
    """What whoever recorded it has to say to those who audit it; left out of the file where there is nothing."""

    def as_json(self) -> str:
        """The text of the file."""
        return self.model_dump_json(indent=1, exclude=None if self.notes else {"notes"}) + "\n"


class StoredMessages(Sequence[Message]):
    """The messages of a transcript folder; headers are in memory, some bytes each, payloads are read when asked for.

    Raises:
        FormatError: a shard is missing, truncated or altered.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self.headers = Headers()
        self._files: list[str] = []
        self._firsts: list[int] = []
        """The number of the first message of each file."""
        self._open: OrderedDict[str, tuple[safe_open, dict[int, list[str]]]] = OrderedDict()
        self._sizes: array[int] | None = None
        for shard in manifest.shards:
            headers = _shard_headers(folder / shard.file)
            if len(headers) != shard.messages:
                raise _damaged(folder / shard.file, f"it holds {len(headers)} messages, not {shard.messages}")
            if headers:
                self._files.append(shard.file)
                self._firsts.append(len(self.headers))
            self.headers.extend(headers)

    def __len__(self) -> int:
        return len(self.headers)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        header = self.headers[index]
        file, position = self._place(range(len(self))[index])
        tensors = self._tensors(file, position)
        _check_finite(self._folder / file, header, tensors)
        payload: Payload = tensors if header.kind is Kind.WEIGHTS else tensors[header.kind.value]
        return Message(**header._asdict(), payload=payload)

    @property
    def sizes(self) -> Sequence[int]:
        """How many samples each message is of, without reading them; 1 of weights."""
        if self._sizes is None:
            self._sizes = array(
                "q",
                (
                    1 if header.kind is Kind.WEIGHTS else self._samples(*self._place(index))
                    for index, header in enumerate(self.headers)
                ),
            )
        return self._sizes

    def _place(self, index: int) -> tuple[str, int]:
        """The file that a message is in, and its number there."""
        number = bisect.bisect_right(self._firsts, index) - 1
        return self._files[number], index - self._firsts[number]

    def _samples(self, file: str, position: int) -> int:
        stream, names = self._opened(file)
        with _readable_errors(self._folder / file):
            shape = stream.get_slice(names[position][0]).get_shape()  # type: ignore[no-untyped-call]
        return int(shape[0]) if shape else 1

    def _tensors(self, file: str, position: int) -> dict[str, Tensor]:
        stream, names = self._opened(file)
        with _readable_errors(self._folder / file):
            return {name.partition("/")[2]: stream.get_tensor(name) for name in names[position]}  # type: ignore[no-untyped-call]

    def _opened(self, file: str) -> tuple[safe_open, dict[int, list[str]]]:
        """A shard, and the names of the tensors of each of its messages."""
        if file not in self._open:
            with _readable_errors(self._folder / file):
                stream = safe_open(self._folder / file, framework="pt")
                names: dict[int, list[str]] = {}
                for name in stream.keys():  # type: ignore[no-untyped-call]  # noqa: SIM118 - not a mapping
                    names.setdefault(int(name.partition("/")[0]), []).append(name)
            self._open[file] = (stream, names)
            if len(self._open) > 2:
                self._open.popitem(last=False)
        return self._open[file]


def load_transcript(folder: Path, *, verify: bool = True) -> Transcript:
    """Open a transcript; payloads are read from disk when they are needed.

    Args:
        folder: folder of a transcript, as written by `save_transcript` or a recorder.
        verify: whether to check every shard against its checksum first, which reads all of it once.

    Raises:
        FormatError: not a transcript, damaged, or written by a newer version.
    """
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file():
            raise _damaged(path, "it is missing")
        if verify and sha256_of(path) != shard.sha256:
            raise _damaged(path, "its contents differ from what was written")
    return Transcript(observer=manifest.observer, messages=StoredMessages(folder, manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a transcript folder.

    Raises:
        FormatError: not a transcript, damaged, or written by a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FormatError(
            f"{folder} is not a transcript: it has no {MANIFEST}; name a folder that a run recorded into."
        )
    try:
        with explained(path):
            content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise FormatError(f"{path} is of the format '{content['format']}', not '{FORMAT}'; name a transcript.")
        if content["version"] > VERSION:
            raise FormatError(
                f"{path} is of version {content['version']}, and this program reads up to {VERSION}; update unsplit."
            )
        return Manifest.model_validate(content)
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise FormatError(
            f"{path} is damaged and cannot be read as a transcript's manifest; record it again."
        ) from error


def _shard_headers(path: Path) -> list[Header]:
    with _readable_errors(path), safe_open(path, framework="pt") as stream:
        metadata = stream.metadata() or {}
    try:
        return [
            Header(int(step), str(sender), str(receiver), Kind(kind))
            for step, sender, receiver, kind in json.loads(metadata["messages"])
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(path, "its list of messages cannot be read") from error


def _check_finite(path: Path, header: Header, tensors: dict[str, Tensor]) -> None:
    for value in tensors.values():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise FormatError(
                f"The {header.kind.value} message of step {header.step} in {path} holds NaN or infinity; "
                "no attack can read it: record a run whose training does not diverge."
            )


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """Turn safetensors' errors about a file into ours."""
    try:
        yield
    except SafetensorError as error:
        raise _damaged(path, "it is truncated or not a safetensors file") from error
    except FileNotFoundError as error:
        raise _damaged(path, "it is missing") from error


def _damaged(path: Path, what: str) -> FormatError:
    return FormatError(f"The transcript file {path} is damaged: {what}; restore it or record the run again.")


def sha256_of(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        for block in iter(lambda: stream.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
