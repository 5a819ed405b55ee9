"""Transcripts in memory and on disk: complete, in order, streamed, and safe from accidents."""

import errno
import json
import threading
from pathlib import Path

import pytest
import torch

import unsplit.protocol.store as store
import unsplit.protocol.transcript_writer as transcript_writer
from helpers.checks import noise
from unsplit import files
from unsplit.errors import FormatError, InputError, StorageError, UnsplitError
from unsplit.models import build
from unsplit.protocol import SERVER, Recorder, SplitConfig, TranscriptWriter, load_transcript, save_transcript
from unsplit.protocol import split_training as make_training
from unsplit.randomness import generator
from unsplit.types import Kind, Message, Setup, Transcript


def record(*, train=6, **keep):
    config = SplitConfig(setup=Setup.C, cut=1, batch_size=4, clients=2, turn=2, hand_off_optimizer=True)
    training = make_training(build("mnist-net", generator=generator(0)), *noise(), config, generator=generator(1))
    recorder = training.record(Recorder(observer=SERVER, **keep))
    training.run(train)
    return recorder.transcript()


def assert_same(one, other):
    assert [message.header for message in one] == [message.header for message in other]
    for left, right in zip(one, other, strict=True):
        assert left.tensors.keys() == right.tensors.keys()
        for name, value in left.tensors.items():
            assert value.dtype == right.tensors[name].dtype
            assert torch.equal(value, right.tensors[name])


@pytest.fixture(scope="module")
def transcript():
    return record()


def test_round_trip(transcript, tmp_path):
    assert_same(load_transcript(save_transcript(transcript, tmp_path / "t")), transcript)


def test_labels_keep_their_type(tmp_path):
    message = Message(step=0, sender="client0", receiver=SERVER, kind=Kind.LABELS, payload=torch.tensor([3, 1]))
    loaded = load_transcript(save_transcript(Transcript(observer=SERVER, messages=(message,)), tmp_path / "t"))
    assert loaded.tensor(Kind.LABELS).dtype == torch.int64


def test_streaming_gives_what_memory_gives(transcript, tmp_path):
    assert_same(record(folder=tmp_path / "t"), transcript)


def test_many_shards(transcript, tmp_path):
    writer = TranscriptWriter(tmp_path, SERVER, shard_bytes=10_000)
    for message in transcript:
        writer.append(message)
    writer.flush()
    assert len(writer.manifest.shards) > 5
    assert_same(load_transcript(tmp_path), transcript)


def test_loading_reads_no_payload_until_asked(transcript, tmp_path, monkeypatch):
    save_transcript(transcript, tmp_path / "t")
    reads = []
    original = store.StoredMessages._tensors
    monkeypatch.setattr(store.StoredMessages, "_tensors", lambda *args: reads.append(args) or original(*args))
    loaded = load_transcript(tmp_path / "t")
    smashed = loaded.of(Kind.SMASHED).between(2, 4)
    assert smashed.steps == (2, 3, 4)
    assert reads == []
    assert smashed.tensor(Kind.SMASHED).shape == (12, 8, 24, 24)
    assert len(reads) == 3


@pytest.mark.parametrize("stored", [False, True])
def test_filters(transcript, tmp_path, stored):
    seen = load_transcript(save_transcript(transcript, tmp_path / "t")) if stored else transcript
    assert seen.steps == tuple(range(6))
    assert seen.last(2).steps == (4, 5)
    assert {header.kind for header in seen.of(Kind.FEATURES, Kind.CUT_GRAD).headers} == {Kind.FEATURES, Kind.CUT_GRAD}
    assert len(seen.where(lambda header: header.sender == "client1")) > 0
    assert [message.step for message in seen.of(Kind.SMASHED).messages[1:3]] == [1, 2]
    with pytest.raises(InputError, match="no labels message"):
        seen.tensor(Kind.LABELS)


def test_recorder_keeps_what_it_was_told_to():
    assert record(last=2).steps == (4, 5)
    assert record(steps={0, 3}).steps == (0, 3)
    assert {header.kind for header in record(kinds={Kind.SMASHED}).headers} == {Kind.SMASHED}


def test_a_recorder_cannot_do_everything_at_once(tmp_path):
    for wrong in ({"last": 0}, {"last": 1, "steps": {1}}, {"last": 1, "folder": tmp_path}):
        with pytest.raises(InputError, match="give at least 1, and neither `steps` nor `folder`"):
            Recorder(observer=SERVER, **wrong)


def test_an_unknown_observer_is_refused():
    training = make_training(
        build("mnist-net", generator=generator(0)), *noise(), SplitConfig(batch_size=4), generator=generator(1)
    )
    with pytest.raises(InputError, match=r"no party 'client7'.*client0, server"):
        training.record(Recorder(observer="client7"))


def test_forgetting_the_steps_after_a_checkpoint(transcript, tmp_path):
    writer = TranscriptWriter(tmp_path, SERVER, shard_bytes=30_000)
    for message in transcript:
        writer.append(message)
    writer.forget_from(3)
    assert_same(load_transcript(tmp_path), transcript.between(0, 2))


def test_forgetting_leaves_files_that_are_named_as_they_were(transcript, tmp_path):
    """One who reads with the old manifest finds its files whole or gone, never with other contents."""
    writer = TranscriptWriter(tmp_path, SERVER, shard_bytes=30_000)
    for message in transcript:
        writer.append(message)
    writer.flush()
    before = {shard.file: (tmp_path / shard.file).read_bytes() for shard in writer.manifest.shards}
    writer.forget_from(3)
    after = {shard.file for shard in writer.manifest.shards}
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", *after}
    assert all((tmp_path / name).read_bytes() == before[name] for name in after & before.keys())
    for message in transcript.where(lambda header: header.sent_during >= 3):
        writer.append(message)
    writer.flush()
    assert_same(load_transcript(tmp_path), transcript)


def test_forgetting_reaches_what_is_not_yet_on_disk(transcript, tmp_path):
    writer = TranscriptWriter(tmp_path, SERVER)
    for message in transcript:
        writer.append(message)
    writer.forget_from(3)
    writer.flush()
    assert_same(load_transcript(tmp_path), transcript.where(lambda header: header.sent_during < 3))


def test_an_accident_while_forgetting_leaves_what_was_there(transcript, tmp_path, monkeypatch):
    save_transcript(transcript, tmp_path / "t")
    writer = TranscriptWriter(tmp_path / "t", SERVER)

    def fail(*_args, **_kwargs):
        raise StorageError("No space left")

    for part in ("write_tensors", "write_text"):
        monkeypatch.setattr(transcript_writer, part, fail)
        with pytest.raises(StorageError):
            writer.forget_from(3)
        assert_same(load_transcript(tmp_path / "t"), transcript)
        monkeypatch.undo()
    writer.forget_from(3)
    assert_same(load_transcript(tmp_path / "t"), transcript.where(lambda header: header.sent_during < 3))


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk that takes a shard only when told to: the shards that were begun, and what lets them through."""
    begun, go = [], threading.Semaphore(0)
    original = transcript_writer.write_tensors

    def write(path, *arguments):
        begun.append(path.name)
        go.acquire()
        original(path, *arguments)

    monkeypatch.setattr(transcript_writer, "write_tensors", write)
    return begun, go


def test_who_records_does_not_wait_for_the_disk_and_holds_two_shards(tmp_path, slow_disk):
    begun, go = slow_disk
    messages = [
        Message(step=step, sender="c", receiver=SERVER, kind=Kind.SMASHED, payload=torch.full((1, 100), float(step)))
        for step in range(6)
    ]
    writer = TranscriptWriter(tmp_path, SERVER, shard_bytes=800)
    for message in messages[:3]:
        writer.append(message)  # the disk has the first two of them and is busy
    assert writer.manifest.shards == ()
    blocked = threading.Thread(target=lambda: [writer.append(message) for message in messages[3:]])
    blocked.start()
    blocked.join(0.2)
    assert blocked.is_alive()  # a second shard is full, so that the next message has to wait
    assert len(begun) == 1
    for _ in range(3):
        go.release()
    blocked.join()
    writer.flush()
    assert begun == [f"shard-{number:06d}.safetensors" for number in range(3)]
    assert_same(load_transcript(tmp_path), Transcript(observer=SERVER, messages=messages))


def test_a_full_disk_is_told_of_by_the_next_call_and_loses_nothing(transcript, tmp_path, monkeypatch):
    full = threading.Event()

    def fail(*_args, **_kwargs):
        full.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "save_file", fail)
    writer = TranscriptWriter(tmp_path, SERVER, shard_bytes=1)
    messages = list(transcript)
    writer.append(messages[0])
    assert full.wait(10)
    with pytest.raises(StorageError, match=r"No space left to write .*; free some space and run the command again"):
        writer.append(messages[1])
    with pytest.raises(StorageError, match="No space left"):
        writer.flush()
    assert len(load_transcript(tmp_path)) == 0
    monkeypatch.undo()
    for message in messages[2:]:
        writer.append(message)
    writer.flush()
    assert_same(load_transcript(tmp_path), transcript)


def _truncate(path: Path):
    path.write_bytes(path.read_bytes()[:100])


def _alter(path: Path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _manifest(folder: Path, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _shard(folder: Path, **changes):
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    _manifest(folder, shards=[shards[0] | changes])


DAMAGE = {
    "truncated shard": (lambda f: _truncate(f / "shard-000000.safetensors"), "differ from what was written"),
    "altered shard": (lambda f: _alter(f / "shard-000000.safetensors"), "differ from what was written"),
    "missing shard": (lambda f: (f / "shard-000000.safetensors").unlink(), "it is missing"),
    "foreign format": (lambda f: _manifest(f, format="other"), "of the format 'other'"),
    "future version": (lambda f: _manifest(f, version=99), "update unsplit"),
    "unknown field": (lambda f: _manifest(f, extra=1), "damaged"),
    "a file elsewhere": (lambda f: _shard(f, file="../shard-000000.safetensors"), "damaged"),
    "not JSON": (lambda f: (f / "manifest.json").write_text("{"), "damaged"),
    "JSON of another type": (lambda f: (f / "manifest.json").write_text("[1]"), "damaged"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "it has no manifest.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence(transcript, tmp_path, damage):
    folder = save_transcript(transcript, tmp_path / "t")
    do, words = DAMAGE[damage]
    do(folder)
    with pytest.raises(FormatError, match=words) as caught:
        load_transcript(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_shard_is_found_even_unverified(transcript, tmp_path):
    folder = save_transcript(transcript, tmp_path / "t")
    _truncate(folder / "shard-000000.safetensors")
    with pytest.raises(FormatError, match="truncated or not a safetensors file"):
        load_transcript(folder, verify=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_payload_that_is_not_finite_is_refused(tmp_path, value):
    message = Message(step=7, sender="c", receiver=SERVER, kind=Kind.SMASHED, payload=torch.tensor([[1.0, value]]))
    folder = save_transcript(Transcript(observer=SERVER, messages=(message,)), tmp_path / "t")
    with pytest.raises(FormatError, match=r"step 7 .* NaN or infinity"):
        load_transcript(folder).tensor(Kind.SMASHED)


def test_a_folder_holds_one_transcript(transcript, tmp_path):
    save_transcript(transcript, tmp_path / "t")
    with pytest.raises(InputError, match="holds a transcript already"):
        save_transcript(transcript, tmp_path / "t")
    with pytest.raises(InputError, match="transcript of server, not of client0"):
        TranscriptWriter(tmp_path / "t", "client0")


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(OSError(errno.ENOSPC, "No space left on device"), StorageError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_an_accident_while_writing_leaves_what_was_there(transcript, tmp_path, monkeypatch, failure, expected):
    writer = TranscriptWriter(tmp_path, SERVER)
    messages = list(transcript)
    for message in messages[:5]:
        writer.append(message)
    writer.flush()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_args, **_kwargs):
        raise failure

    monkeypatch.setattr(files, "save_file", fail)
    writer.append(messages[5])
    with pytest.raises(expected):
        writer.flush()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    writer.flush()
    assert_same(load_transcript(tmp_path), Transcript(observer=SERVER, messages=messages[:6]))


def test_a_place_that_cannot_be_written(transcript, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnsplitError, match="choose a place that can be written"):
        save_transcript(transcript, tmp_path / "file" / "t")


def test_nothing_of_ours_runs_what_a_pickle_says():
    source = Path(store.__file__).parents[1]
    loads = {}
    for path in source.rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text
        if "torch.load(" in text:
            loads[path.name] = text.count("torch.load("), text.count("weights_only=True")
    # The weights of a published network come so; of them torch reads tensors only.
    assert loads == {"weights.py": (1, 1)}
