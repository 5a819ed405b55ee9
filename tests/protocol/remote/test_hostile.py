"""Whatever a peer sends, the server stands, its weights stay, and its answer is a sentence."""

import asyncio
import contextlib
import tracemalloc

import grpc
import pytest
import torch
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.parties import Trial
from unsplit.protocol.checkpoint import segment_tensors
from unsplit.protocol.remote import (
    ConnectOptions,
    ListenOptions,
    Telemetry,
    _join,
    admission,
    join,
    logger,
    serve,
    service,
)
from unsplit.protocol.remote import wire_pb2 as wire
from unsplit.protocol.remote.codec import Arriving, WireError, encode
from unsplit.protocol.remote.hosts import make_host
from unsplit.protocol.remote.layouts import batch_layouts, weights_layout
from unsplit.protocol.remote.wire_pb2_grpc import SplitLearningStub
from unsplit.randomness import generator
from unsplit.types import Kind, Message

AT_THE_CODEC, IN_A_SESSION = 4_000, 1_000
"""Hostile messages to the codec, and to a server's session; the network's tests send some hundred more."""
CALM = {"derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
SETTINGS = {"setup": "a", "clients": ["client0", "client1"], "turn": 3, "steps": 6, "cut": 3}


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    made = Trial(tmp_path_factory.mktemp("hostile"), **SETTINGS)
    yield made
    made.end()


@pytest.fixture(scope="module")
def layouts(trial):
    return {**batch_layouts(trial.plan), Kind.WEIGHTS: weights_layout(trial.plan, sealed=False)}


def smashed(step=0, batch=4, sender="client0", **changes):
    tensor = torch.rand(batch, 16, 8, 8, generator=generator(step))
    message = Message(step=step, sender=sender, receiver="server", kind=Kind.SMASHED, payload=tensor)
    (frame,) = encode(message)
    for name, value in changes.items():
        setattr(frame.payload, name, value)
    return frame


def labels(step=0, batch=4, sender="client0", fill=None):
    tensor = torch.arange(batch) % 10 if fill is None else torch.full((batch,), fill)
    message = Message(step=step, sender=sender, receiver="server", kind=Kind.LABELS, payload=tensor)
    (frame,) = encode(message)
    return frame


small = st.integers(0, 12)
sizes = st.lists(st.one_of(st.integers(-(2**62), 2**62), st.sampled_from([0, 1, 4, 8, 16, 64, 65])), max_size=20)
specs = st.builds(
    wire.TensorSpec,
    name=st.sampled_from(["smashed", "labels", "sealed", "bottom.conv1.weight", "../../etc", "", "x" * 300]),
    dtype=st.integers(0, 9),
    shape=sizes,
)
payloads = st.builds(
    wire.Payload,
    step=st.integers(0, 2**64 - 1),
    kind=small,
    sender=st.sampled_from(["client0", "client1", "server", "", "x" * 300]),
    receiver=st.sampled_from(["server", "client1", ""]),
    byte_order=st.integers(0, 3),
    tensors=st.lists(specs, max_size=4),
    size=st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 16384, 2**40])),
    data=st.binary(max_size=300),
)


@settings(max_examples=AT_THE_CODEC // 2, **CALM)
@given(payload=payloads)
def test_made_up_headers_are_refused_in_a_sentence(layouts, payload):
    """Any kind, dtype, shape, size and byte order that are not exactly those that may come."""
    with pytest.raises(WireError) as refusal:
        Arriving.begin(payload, layouts)
    sentence = str(refusal.value)
    assert len(sentence) < 600
    assert "\n" not in sentence


@settings(max_examples=AT_THE_CODEC // 2, **CALM)
@given(data=st.data())
def test_altered_bytes_are_no_frame_or_refused_or_harmless(layouts, data):
    """A right frame, cut off, overwritten, or with bytes put in between."""
    good = smashed(batch=1).SerializeToString()
    kind = data.draw(st.sampled_from(["cut", "write", "insert"]))
    head = min(len(good), 120)  # the header; what follows are numbers, any of which are numbers
    place = data.draw(st.integers(0, head - 1))
    junk = data.draw(st.binary(min_size=1, max_size=8))
    bad = {
        "cut": good[:place],
        "write": good[:place] + junk + good[place + len(junk) :],
        "insert": good[:place] + junk + good[place:],
    }[kind]
    with contextlib.suppress(DecodeError, WireError):
        frame = wire.Frame.FromString(bad)
        if frame.WhichOneof("content") == "payload":
            arriving = Arriving.begin(frame.payload, layouts)
            if arriving.complete:
                assert arriving.message().tensor.shape == (1, 16, 8, 8)


def test_nothing_is_kept_before_it_was_checked(layouts):
    """Sizes as large as they can be announced; memory does not follow."""
    tracemalloc.start()
    try:
        for size in [2**30, 2**40, 2**63, 2**64 - 1] * 100:
            for shape in ([64, 16, 8, 2**40], [2**31, 2**31, 2**31], [2**62] * 8, [64] * 10_000):
                payload = smashed().payload
                payload.size = size
                payload.tensors[0].ClearField("shape")
                payload.tensors[0].shape.extend(shape)
                with pytest.raises(WireError):
                    Arriving.begin(payload, layouts)
        many = smashed().payload
        many.tensors.extend([wire.TensorSpec(name=str(number), dtype=1) for number in range(20_000)])
        with pytest.raises(WireError, match="tensors"):
            Arriving.begin(many, layouts)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * 2**20


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused(layouts, value):
    tensor = torch.zeros(2, 16, 8, 8)
    tensor[1, 3, 2, 1] = value
    message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=tensor)
    (frame,) = encode(message)
    with pytest.raises(WireError, match="NaN or infinity"):
        Arriving.begin(frame.payload, layouts).message()


kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.WEIGHTS])


@pytest.fixture(scope="module")
def host(trial, tmp_path_factory):
    return make_host(trial.plan, tmp_path_factory.mktemp("host"), Telemetry(log=logger(quiet=True)))


@settings(max_examples=IN_A_SESSION, **CALM)
@given(
    step=st.integers(-3, 9),
    kind=kinds,
    sender=st.sampled_from(["client0", "client1", "server", "stranger"]),
    batch=st.integers(1, 5),
    begun=st.booleans(),
)
def test_messages_out_of_place_change_nothing(host, step, kind, sender, batch, begun):
    """Another client's, another step's, another kind's or of another size, before and within a step."""
    session = host.sessions["turns"]
    session.undo()
    if begun:
        session.receive(Arriving.begin(smashed().payload, batch_layouts(host.plan)).message())
    before = {name: value.clone() for name, value in segment_tensors(session.server.segments()).items()}
    shape = {Kind.SMASHED: (16, 8, 8), Kind.CUT_GRAD: (16, 8, 8), Kind.LABELS: ()}.get(kind, (84,))
    dtype = torch.int64 if kind is Kind.LABELS else torch.float32
    message = Message(
        step=step, sender=sender, receiver="server", kind=kind, payload=torch.zeros(batch, *shape, dtype=dtype)
    )
    in_place = sender == "client0" and step == 0 and (kind, begun, batch if begun else 4) in [
        (Kind.SMASHED, False, 4), (Kind.LABELS, True, 4),
    ]  # fmt: skip
    again = sender == "client0" and step == 0 and begun and kind is Kind.SMASHED
    if again:
        assert session.receive(message) == []
    elif not in_place:
        with pytest.raises(WireError):
            session.receive(message)
    if not in_place:
        assert session.steps_done == 0
        after = segment_tensors(session.server.segments())
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_fault_of_ours_leaves_the_lane_where_it_was(host, monkeypatch):
    session = host.sessions["turns"]
    session.undo()
    layouts = batch_layouts(host.plan)
    session.receive(Arriving.begin(smashed().payload, layouts).message())
    monkeypatch.setattr(session.server, "answer", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.receive(Arriving.begin(labels().payload, layouts).message())
    monkeypatch.undo()
    assert session.steps_done == 0
    session.receive(Arriving.begin(smashed().payload, layouts).message())
    assert len(session.receive(Arriving.begin(labels().payload, layouts).message())) == 1


# Over the network. Each case: who calls, whether it begins with a hello, and what it sends then.
HELLO = object()


def hello(trial, name="client0", **changes):
    fields = {"version": 1, "name": name, "digest": trial.config.digest(), "samples": 2000, "stored": [0]}
    return wire.Frame(hello=wire.Hello(**{**fields, **changes}))


CASES = {
    "no hello": [smashed()],
    "nonsense first": [wire.Frame(over=wire.Over(step=3))],
    "an empty frame": [HELLO, wire.Frame()],
    "hello twice": [HELLO, HELLO],
    "labels first": [HELLO, labels()],
    "a later step": [HELLO, smashed(step=2)],
    "a step before": [HELLO, smashed(step=2**63)],
    "in another's name": [HELLO, smashed(sender="client1")],
    "to another": [HELLO, smashed(receiver="client1")],
    "big-endian": [HELLO, smashed(byte_order=2)],
    "no byte order": [HELLO, smashed(byte_order=0)],
    "a size too large": [HELLO, smashed(size=2**40)],
    "too few bytes": [HELLO, smashed(data=b"123"), wire.Frame(chunk=wire.Chunk(data=b""))],
    "bytes left over": [HELLO, smashed(data=b"0" * 2**20)],
    "a chunk alone": [HELLO, wire.Frame(chunk=wire.Chunk(data=b"1234"))],
    "a message within another": [HELLO, smashed(data=b"1234"), smashed()],
    "another number of labels": [HELLO, smashed(), labels(batch=3)],
    "labels above": [HELLO, smashed(), labels(fill=10)],
    "labels below": [HELLO, smashed(), labels(fill=-1)],
    "a batch too large": [HELLO, smashed(batch=65)],
    "a pair of one": [HELLO, wire.Frame(pair=wire.Pair(first=smashed().payload))],
    "a beginning in setup a": [HELLO, wire.Frame(begin=wire.Begin(step=0))],
    "over at once": [HELLO, wire.Frame(over=wire.Over(step=3))],
    "over and far": [HELLO, wire.Frame(over=wire.Over(step=2**64 - 1))],
    "a turn of its own making": [HELLO, wire.Frame(turn=wire.Turn(first=0, end=9))],
    "the end": [HELLO, wire.Frame(finished=wire.Finished(steps=9))],
}


class Caller:
    """Calls a server as a client that may do anything."""

    def __init__(self, trial, address, name="client0"):
        certs = trial.certs
        self.trial, self.name = trial, name
        self.connect = ConnectOptions(
            address=address, ca=certs / "ca.pem", certificate=certs / f"{name}.pem", key=certs / f"{name}.key"
        )

    async def send(self, frames, greeting=None):
        """Send frames, and give the status that comes of it."""
        async with self.connect.channel() as channel:
            call = SplitLearningStub(channel).Train()
            try:
                for frame in frames:
                    await call.write((greeting or hello(self.trial, self.name)) if frame is HELLO else frame)
                await call.done_writing()
                while await call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError:
                pass
            except asyncio.InvalidStateError:
                pass
            code, details = await call.code(), await call.details()
            assert "Traceback" not in details
            assert "/" not in details
            return code, details


async def serving(trial, folder, entries):
    """A server, for as long as the loop over its address lasts; then the training goes on to its end."""
    certs = trial.certs
    listen = ListenOptions(
        address="localhost:0", certificate=certs / "server.pem", key=certs / "server.key", client_ca=certs / "ca.pem"
    )

    class Log:
        def __getattr__(self, level):
            return lambda event, **about: entries.append((level, event, about))

    listening = asyncio.get_running_loop().create_future()
    server = asyncio.ensure_future(
        serve(trial.plan, listen, folder / "server", Telemetry(log=Log()), listening=listening.set_result)
    )
    yield f"localhost:{await listening}"
    quiet = Telemetry(log=logger(quiet=True))
    parties = [
        join(trial.plan, trial.plan.make_client(name), Caller(trial, f"localhost:{listening.result()}", name).connect,
             folder / name, quiet)
        for name in trial.names
    ]  # fmt: skip
    assert await asyncio.gather(*parties) == [True, True]
    assert await server


@pytest.fixture
def unhurried(monkeypatch):
    """More joins than a client would need are let through, and silence is short."""
    monkeypatch.setattr(admission, "_JOINS", 10_000)
    monkeypatch.setattr(service, "_HELLO_SECONDS", 0.5)


@pytest.mark.usefixtures("unhurried")
def test_hostile_clients_do_not_disturb_the_training(tmp_path):
    """All cases, ten times each, and a client out of its turn, before the honest run."""
    trial, entries, told = Trial(tmp_path, **SETTINGS), [], []

    async def run():
        async for address in serving(trial, tmp_path, entries):
            caller = Caller(trial, address)
            told.extend([await caller.send(frames) for frames in list(CASES.values()) * 10])
            told.extend([await Caller(trial, address, "client1").send([HELLO, smashed(sender="client1")])])

    asyncio.run(run())
    assert len(told) == 10 * len(CASES) + 1
    refused = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)
    assert {code for code, _ in told} <= {*refused, grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}
    assert sum(code in refused for code, _ in told) > 0.8 * len(told)
    assert not [entry for entry in entries if entry[0] == "error"]
    training, _ = trial.in_process()
    body = {name.removeprefix("turns|"): value for name, value in trial.body().items() if name.startswith("turns|")}
    reference = segment_tensors(training.server.segments())
    assert all(torch.equal(body[name], value) for name, value in reference.items())


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"version": 9}, "FAILED_PRECONDITION", "speaks version 9"),
        ({"digest": "0" * 64}, "FAILED_PRECONDITION", "the configuration 000000000000"),
        ({"samples": 0}, "FAILED_PRECONDITION", "0 samples"),
        ({"stored": list(range(500))}, "FAILED_PRECONDITION", "500 stored states"),
        ({"name": "client1"}, "PERMISSION_DENIED", "Not admitted"),
        ({"name": "stranger"}, "PERMISSION_DENIED", "Not admitted"),
        ({"live": 2**63, "begun": True, "stored": [2**62]}, "OK", ""),
    ],
)  # fmt: skip
def test_hellos_that_do_not_fit(tmp_path, changes, code, sentence):
    """Among them another client's name under one's own certificate."""
    trial, told = Trial(tmp_path, **SETTINGS), []

    async def run():
        async for address in serving(trial, tmp_path, []):
            told.extend([await Caller(trial, address).send([HELLO], hello(trial, **changes))])

    asyncio.run(run())
    assert told[0][0].name == code
    assert sentence in told[0][1]


def test_silence_too_many_joins_and_random_bytes(tmp_path, monkeypatch):
    trial, told = Trial(tmp_path, **SETTINGS), []
    monkeypatch.setattr(service, "_HELLO_SECONDS", 0.3)
    monkeypatch.setattr(admission, "_JOINS", 5)

    async def run():
        async for address in serving(trial, tmp_path, []):
            caller = Caller(trial, address)
            async with caller.connect.channel() as channel:
                silent = SplitLearningStub(channel).Train()
                assert await silent.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                raw = channel.stream_stream("/unsplit.v1.SplitLearning/Train")
                for junk in (b"\xff" * 50, b"\x0a\xff\xff\xff\x7f", b"GET / HTTP/1.1"):
                    call = raw()
                    await call.write(junk)
                    await call.done_writing()
                    assert await call.code() is not grpc.StatusCode.OK
                    assert "Traceback" not in await call.details()
            monkeypatch.setattr(_join, "OPTIONS", ())  # a caller without our limits
            async with caller.connect.channel() as channel:
                huge = channel.stream_stream("/unsplit.v1.SplitLearning/Train")()
                await huge.write(b"0" * 3 * 2**20)
                assert await huge.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            told.extend([(await caller.send([HELLO]))[0] for _ in range(7)])
            await asyncio.sleep(0.1)
            monkeypatch.setattr(admission, "_JOINS", 10_000)

    asyncio.run(run())
    assert told.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 2
