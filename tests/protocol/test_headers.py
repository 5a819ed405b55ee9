"""Headers and labels of many steps take little memory, and read as if each were an object of its own."""

import sys

import pytest
import torch

from unsplit.protocol import SERVER, Recorder, TranscriptWriter, load_transcript, transcript_writer
from unsplit.tensors import gathered
from unsplit.types import Header, Headers, Kind, Message, Transcript

STEPS = 500
ALL = [
    Header(step, *route)
    for step in range(STEPS)
    for route in ((SERVER, f"client{step % 3}", Kind.FEATURES), (f"client{step % 3}", SERVER, Kind.FEATURE_GRAD))
]


def messages(steps):
    return [
        Message(
            step=step, sender=SERVER, receiver="client0", kind=Kind.FEATURES, payload=torch.full((1, 2), float(step))
        )
        for step in range(steps)
    ]


def test_headers_are_what_went_in():
    headers = Headers(ALL)
    assert list(headers) == ALL
    assert (headers[0], headers[-1], headers[7]) == (ALL[0], ALL[-1], ALL[7])
    assert list(headers[3:9:2]) == ALL[3:9:2]
    assert len(headers) == len(ALL)
    with pytest.raises(IndexError):
        headers[len(ALL)]


def test_headers_of_many_messages_take_some_bytes_each():
    headers = Headers(ALL)
    columns = sum(sys.getsizeof(value) for value in vars(headers).values())
    assert columns < 24 * len(ALL)


def test_a_choice_of_stored_messages_keeps_places_only(tmp_path):
    writer = TranscriptWriter(tmp_path, SERVER)
    for message in messages(40):
        writer.append(message)
    writer.flush()
    view = load_transcript(tmp_path).of(Kind.FEATURES).between(10, 30).last(5).to(torch.device("cpu"))
    assert view.steps == (26, 27, 28, 29, 30)
    assert view.headers[-1] == Header(30, SERVER, "client0", Kind.FEATURES)
    assert list(view.sizes) == [1] * 5
    assert [float(message.tensor[0, 0]) for message in view] == [26, 27, 28, 29, 30]
    assert view.messages[-1].step == 30


def test_many_small_messages_fill_a_shard_too(tmp_path, monkeypatch):
    monkeypatch.setattr(transcript_writer, "_SHARD_MESSAGES", 8)
    writer = TranscriptWriter(tmp_path, SERVER)
    for message in messages(20):
        writer.append(message)
    writer.flush()
    assert [shard.messages for shard in writer.manifest.shards] == [8, 8, 4]
    assert load_transcript(tmp_path).steps == tuple(range(20))


@pytest.mark.parametrize("stored", [False, True])
def test_a_recorder_keeps_what_is_made_of_a_message(tmp_path, stored):
    def keep(message):
        if message.step % 2:
            return None
        return Message(**message.header._asdict(), payload=message.tensor[:, :1])

    recorder = Recorder(observer=SERVER, keep=keep, folder=tmp_path / "t" if stored else None)
    for message in messages(6):
        recorder.take(message)
    view = recorder.transcript()
    assert view.steps == (0, 2, 4)
    assert view.tensor(Kind.FEATURES).tolist() == [[0], [2], [4]]


def test_parts_are_joined_in_order():
    parts = [(torch.arange(size), torch.full((size, 2), float(size))) for size in (*range(700), 0, 3)]
    for joined, wanted in zip(gathered(iter(parts)), zip(*parts, strict=True), strict=True):
        assert torch.equal(joined, torch.cat(wanted))


def test_all_payloads_of_a_kind_are_one_tensor():
    view = Transcript(observer=SERVER, messages=messages(600))
    assert torch.equal(view.tensor(Kind.FEATURES), torch.arange(600.0)[:, None].expand(-1, 2))
