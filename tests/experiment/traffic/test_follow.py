"""The sidecar: sees what is written beside it, ends when that ends, and touches nothing."""

import json
import threading

import pytest
import torch

from helpers.checks import noise
from helpers.programs import program
from unsplit.attacks.inversion import JointConfig, presets
from unsplit.errors import FormatError, InputError
from unsplit.experiment.traffic import follow as following
from unsplit.experiment.traffic.attack import AttackConfig
from unsplit.experiment.traffic.follow import follow
from unsplit.models import build
from unsplit.protocol import Recorder, SplitConfig, TranscriptWriter, load_transcript, save_transcript, split_training
from unsplit.randomness import generator
from unsplit.types import Kind, Setup


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=3))


def record(setup, steps=12):
    config = SplitConfig(setup=setup, cut=1, batch_size=4)
    training = split_training(build("mnist-net", generator=generator(0)), *noise(), config, generator=generator(1))
    recorder = training.record(Recorder(observer="server"))
    training.run(steps)
    return recorder.transcript()


@pytest.fixture(scope="module")
def transcript():
    return record(Setup.C)


class Training(threading.Thread):
    """Writes a transcript as a training would, some messages at a time, and waits between them."""

    def __init__(self, folder, parts, wait):
        super().__init__()
        self.folder, self.parts, self.wait = folder, parts, wait

    def run(self):
        self.wait()
        writer = TranscriptWriter(self.folder, "server")
        for messages in self.parts:
            for message in messages:
                writer.append(message)
            writer.flush()
            self.wait()


def in_parts(transcript, size):
    messages = list(transcript)
    return [messages[start : start + size] for start in range(0, len(messages), size)]


def test_it_sees_what_is_written_beside_it_and_ends(transcript, tmp_path):
    """One attack after another: the training goes on when it was told of one."""
    told, go = [], threading.Semaphore(1)
    training = Training(tmp_path / "t", in_parts(transcript, 16), lambda: go.acquire(timeout=20))

    def tell(step, folder, found):
        told.append((step, folder.name, found.inputs))
        go.release()

    training.start()
    attacks = follow(tmp_path / "t", AttackConfig(), tmp_path / "out", quiet_for=3, tell=tell)
    go.release()
    training.join()
    assert told == [(step, f"step-{step:06d}", 4) for step in (3, 7, 11)]
    assert attacks == 3
    assert {path.name for path in (tmp_path / "out" / "step-000007").iterdir()} == {
        "attack.json", "reconstruction.safetensors"
    }  # fmt: skip
    save_transcript(transcript, tmp_path / "undisturbed")
    written = load_transcript(tmp_path / "t")
    for one, other in zip(written, load_transcript(tmp_path / "undisturbed"), strict=True):
        assert one.header == other.header
        assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


@pytest.mark.parametrize("request_", [AttackConfig(last=2), AttackConfig(goal="labels")], ids=["inputs", "labels"])
def test_it_changes_nothing(request_, transcript, tmp_path):
    folder = save_transcript(transcript, tmp_path / "t")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert follow(folder, request_, tmp_path / "out", quiet_for=0.2) == 1
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def test_labels_up_to_the_last_complete_step(transcript, tmp_path):
    last = max(index for index, header in enumerate(transcript.headers) if header.kind is Kind.FEATURE_GRAD)
    writer = TranscriptWriter(tmp_path / "t", "server")
    for message in transcript.messages[:last]:
        writer.append(message)
    writer.flush()
    told = []
    follow(
        tmp_path / "t",
        AttackConfig(goal="labels"),
        tmp_path / "out",
        quiet_for=0.2,
        tell=lambda *each: told.append(each),
    )
    ((step, folder, found),) = told
    assert (step, len(found.labels), found.steps) == (10, 44, tuple(range(11)))
    assert json.loads((folder / "attack.json").read_text())["attack"] == "surrogate"


def test_a_training_that_goes_back_is_followed(transcript, tmp_path, monkeypatch):
    """A writer that forgets and writes again all the time is never taken for a damaged transcript."""
    seen, stop = [], threading.Event()
    monkeypatch.setattr(following, "attack_recorded", lambda view, *_, **__: seen.append(view.tensor(Kind.SMASHED)))
    monkeypatch.setattr(following, "_PAUSE", 0.0)

    def train():
        writer = TranscriptWriter(tmp_path / "t", "server", shard_bytes=1)
        number = 0
        while not stop.is_set():
            start = 0 if number == 0 else 5
            for message in transcript.where(lambda header, start=start: header.step >= start):
                writer.append(message)
            writer.flush()
            writer.forget_from(5 if number % 3 else 0)
            start = 0 if number % 3 == 0 else 5
            number += 1
            for message in transcript.where(lambda header, start=start: start <= header.step < 5):
                writer.append(message)

    training = threading.Thread(target=train)
    training.start()

    def tell(*_):
        if len(seen) == 40:
            stop.set()

    try:
        attacks = follow(tmp_path / "t", AttackConfig(), tmp_path / "out", quiet_for=2, tell=tell)
    finally:
        stop.set()
        training.join()
    assert attacks >= 40
    assert all(values.shape == (4, 8, 24, 24) for values in seen)


def test_steps_that_come_again_are_attacked_again(transcript, tmp_path, monkeypatch):
    monkeypatch.setattr(following, "attack_recorded", lambda view, *_, **__: view.steps[-1])
    writer = TranscriptWriter(tmp_path / "t", "server")
    for message in transcript:
        writer.append(message)
    writer.flush()
    told, gone = [], threading.Event()
    original = following._newest

    def newest(*arguments):
        step = original(*arguments)
        if step == 4:
            gone.set()
        return step

    monkeypatch.setattr(following, "_newest", newest)

    def tell(step, _folder, _found):
        told.append(step)
        if len(told) == 1:
            writer.forget_from(5)

            def go_on():
                gone.wait(20)
                for message in transcript.between(5, 8):
                    writer.append(message)
                writer.flush()

            threading.Thread(target=go_on).start()

    assert follow(tmp_path / "t", AttackConfig(), tmp_path / "out", quiet_for=2, tell=tell) == 2
    assert told == [11, 8]


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_real_damage_is_told(how, transcript, tmp_path):
    folder = save_transcript(transcript, tmp_path / "t")
    shard = folder / "shard-000000.safetensors"
    if how == "missing":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(FormatError, match=how):
        follow(folder, AttackConfig(), tmp_path / "out", quiet_for=5)


def test_nothing_to_attack(transcript, tmp_path):
    with pytest.raises(InputError, match=r"No smashed data were stored in .* within 0.1 seconds"):
        follow(tmp_path / "t", AttackConfig(), tmp_path / "out", quiet_for=0.1)
    folder = save_transcript(transcript.of(Kind.SMASHED), tmp_path / "t")
    with pytest.raises(InputError, match="No cut gradients were stored"):
        follow(folder, AttackConfig(goal="labels"), tmp_path / "out", quiet_for=0.1)


def test_an_attack_that_cannot_work_says_why(transcript, tmp_path):
    folder = save_transcript(transcript, tmp_path / "t")
    with pytest.raises(InputError, match="name that with `cut`"):
        follow(folder, AttackConfig(cut="conv2"), tmp_path / "out", quiet_for=60)
    with pytest.raises(InputError, match="name a file of them with `known`"):
        follow(folder, AttackConfig(goal="labels", label_attack="nearest"), tmp_path / "out", quiet_for=0.1)


def test_the_command(transcript, tmp_path, monkeypatch, capsys):
    folder = save_transcript(transcript, tmp_path / "t")
    common = ("attack", folder, "--follow", "0.2", "--out", tmp_path / "out")
    code, printed = program(monkeypatch, capsys, *common)
    assert code == 0
    assert printed.out.startswith("Step 11: 4 inputs and a clone in ")
    code, printed = program(monkeypatch, capsys, *common, "--json", "--goal", "labels")
    assert code == 0
    (line,) = printed.out.splitlines()
    found = json.loads(line)
    assert (found["step"], found["goal"], len(found["labels"])) == (11, "labels", 48)
    assert found["folder"] == str(tmp_path / "out" / "step-000011")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--follow", "0"), "above 0"),
        (("--follow", "0.1"), "No smashed data were stored"),
        (("--follow", "1", "--out", "t/out"), "only read"),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed = program(monkeypatch, capsys, "attack", "t", *arguments)
    assert code == 2
    assert words in printed.err
    assert printed.err.count("\n") == 1
