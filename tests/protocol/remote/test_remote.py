"""Parties in processes of their own train to the same weights, bit for bit, as in one process."""

import json

import pytest
import torch

from helpers.parties import Trial, assert_same_messages, assert_same_tensors, assert_same_training
from unsplit.protocol.checkpoint import segment_tensors
from unsplit.types import Kind, Setup

THREE = {"clients": ["client0", "client1", "client2"], "turn": 6, "steps": 30}


@pytest.fixture
def trial(tmp_path):
    """Makes a trial in a folder of its own, and ends what is left of it."""
    made = []

    def make(**settings):
        (tmp_path / str(len(made))).mkdir()
        made.append(Trial(tmp_path / str(len(made)), **settings))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.mark.slow
@pytest.mark.parametrize("setup", [setup.value for setup in Setup])
def test_two_processes(trial, setup):
    parties = trial(setup=setup, steps=12)
    assert set(parties.start().wait().values()) == {0}, parties.log("server")
    assert_same_training(parties)


@pytest.mark.slow
@pytest.mark.parametrize("setup", [setup.value for setup in Setup])
def test_four_processes_that_take_turns(trial, setup):
    parties = trial(setup=setup, **THREE, hand_off_optimizer=setup == "c")
    assert set(parties.start().wait().values()) == {0}, parties.log("server")
    assert_same_training(parties)


@pytest.mark.slow
def test_weights_from_peer_to_peer_stay_hidden_from_the_server(trial):
    """The same weights as through the server, of which it sees nothing: not in its transcript, nor in its files."""
    parties = trial(setup="c", **THREE, hand_off="peer")
    parties.flags = ("--peer-key", str(parties.certs / "peer.key"))
    assert set(parties.start().wait().values()) == {0}, parties.log("server")
    assert_same_training(parties)
    assert not any(message.kind is Kind.WEIGHTS for message in parties.transcript())
    secrets = [value.numpy().tobytes() for value in parties.client("client1").values() if value.numel() > 8]
    for path in (parties.folder / "server").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


@pytest.mark.slow
def test_through_the_server_the_weights_are_in_its_transcript(trial):
    parties = trial(setup="a", **THREE)
    parties.start().wait()
    senders = [message.sender for message in parties.transcript() if message.kind is Kind.WEIGHTS]
    assert senders == ["client0", "server", "client1", "server", "client2", "server", "client0", "server"]


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["a", "c"])
def test_splitfed_gives_the_averages_of_one_process(trial, setup):
    parties = trial(setup=setup, mode="splitfed", clients=["client0", "client1"], turn=5, steps=15)
    assert set(parties.start().wait().values()) == {0}, parties.log("server")
    training, transcripts = parties.splitfed_in_process()
    kept = parties.body()
    for name, pair, seen in zip(parties.names, training.pairs, transcripts, strict=True):
        prefix = f"{name}|"
        body = {key.removeprefix(prefix): value for key, value in kept.items() if key.startswith(prefix)}
        assert_same_tensors(body, segment_tensors(pair.server.segments()))
        assert_same_tensors(parties.client(name), segment_tensors(pair.clients[0].segments()))
        assert_same_messages(parties.transcript(f"transcript-{name}"), seen)


@pytest.mark.slow
def test_a_client_that_never_comes_is_skipped(trial):
    """Its turns are left out whole, and the others go on from one another."""
    parties = trial(setup="a", clients=["client0", "client1", "client2"], turn=5, steps=20, wait=3)
    for name in ("server", "client0", "client2"):
        parties.run(name)
    assert set(parties.wait().values()) == {0}, parties.log("server")
    summary = json.loads((parties.folder / "server" / "serve.json").read_text())
    assert summary == {"steps": 20, "skipped": [[5, "client1"]]}
    reference = _without_the_second_turn(parties)
    body = {name.removeprefix("turns|"): value for name, value in parties.body().items() if name.startswith("turns|")}
    assert_same_tensors(body, segment_tensors(reference.server.segments()))
    assert_same_tensors(parties.client("client0"), segment_tensors(reference.clients[0].segments()))


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["float16", "bfloat16"])
def test_numbers_may_be_rounded_on_the_wire(trial, wire):
    """What the server then records are numbers of that form; it is not the training of full numbers, but near it."""
    parties = trial(setup="a", steps=12, wire=wire)
    assert set(parties.start().wait().values()) == {0}, parties.log("server")
    dtype = getattr(torch, wire)
    seen = parties.transcript().tensor(Kind.SMASHED)
    assert torch.equal(seen, seen.to(dtype).float())
    _, exact = parties.in_process()
    assert not torch.equal(seen, exact.tensor(Kind.SMASHED))
    assert torch.allclose(seen[:64], exact.tensor(Kind.SMASHED)[:64], rtol=0.01, atol=1e-3)


def _without_the_second_turn(parties):
    """In one process: client0's first turn, then client2's, which takes over from client0, then client0's second."""
    training = parties.in_one_process()
    training.run(5)
    training.clients[2].receive(training.clients[0].hand_off(4, "server", optimizer=False))
    training.steps_done = 10
    for step in range(10, 15):
        training._deliver(training.clients[2].begin(step))
    training.clients[0].receive(training.clients[2].hand_off(14, "server", optimizer=False))
    for step in range(15, 20):
        training._deliver(training.clients[0].begin(step))
    return training
