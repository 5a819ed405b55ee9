"""What operators rely on: agreements, refusals, health, metrics, logs, the live view, a client's own data and seed."""

import asyncio
import dataclasses
import json
import socket
import stat
import threading
import urllib.request
from io import StringIO

import grpc
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from rich.console import Console

from helpers.parties import Trial, free_port
from unsplit.cli.join import own_seed
from unsplit.cli.live import size, view
from unsplit.errors import InputError
from unsplit.protocol.remote import (
    ConnectOptions,
    ListenOptions,
    RunConfig,
    Telemetry,
    join,
    logger,
    make_plan,
    read_config,
    serve,
)
from unsplit.protocol.remote.handshake import refusal
from unsplit.protocol.remote.hosts import make_host
from unsplit.randomness import generator


@pytest.fixture
def trial(tmp_path):
    """Makes a trial, and ends what is left of it."""
    made = []

    def make(**settings):
        made.append(Trial(tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.end()


class Lines(StringIO):
    """A log that remembers."""

    def entries(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def log():
    """What is logged to it."""
    return Lines()


async def together(trial, telemetry, *, listen=None):
    """A server in this process, for as long as the loop over its address lasts."""
    certs = trial.certs
    listen = listen or ListenOptions(
        address="localhost:0", certificate=certs / "server.pem", key=certs / "server.key", client_ca=certs / "ca.pem"
    )
    listening = asyncio.get_running_loop().create_future()
    server = asyncio.ensure_future(
        serve(trial.plan, listen, trial.folder / "server", telemetry, listening=listening.set_result)
    )
    await asyncio.wait({server, listening}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield f"localhost:{listening.result()}", server
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


def connect_of(trial, address, name="client0", **settings):
    certs = trial.certs
    chosen = {"certificate": certs / f"{name}.pem", "key": certs / f"{name}.key", "patience": 5.0, **settings}
    return ConnectOptions(address=address, ca=certs / "ca.pem", **chosen)


def test_both_sides_say_what_differs(trial, log):
    """The client names the settings, the server's log has the refusal."""
    parties = trial(steps=4)
    other = make_plan(parties.config.model_copy(update={"batch_size": 32, "steps": 5}))

    async def run():
        async for address, _ in together(parties, Telemetry(log=logger(stream=log))):
            client = other.make_client("client0")
            connect = connect_of(parties, address)
            await join(other, client, connect, parties.folder / "c", Telemetry(log=logger(quiet=True)))

    with pytest.raises(InputError, match=r"batch_size is 32 here and 64 at the server; steps is 5 here and 4"):
        asyncio.run(run())
    refused = [entry for entry in log.entries() if entry["event"] == "refused"]
    assert "client0 has the configuration" in refused[0]["sentence"]


REFUSED = {
    "nobody": r"ended the TLS handshake: it asks for a certificate of the client; give `certificate` and `key`",
    "another authority": r"ended the TLS handshake: it does not accept .*client0\.pem; give `certificate` and `key`",
    "stranger to us": r"certificate of the server at localhost:\d+ is not trusted \(.*issuer certificate\); .* `ca`",
    "another name": r"is not trusted \(Hostname mismatch, .*'other.example'\); .*by a name in its certificate",
    "without TLS": r"speaks TLS; leave out `insecure`, and give `ca`",
}


@pytest.mark.parametrize("who", REFUSED)
def test_whom_tls_refuses_hears_why_at_once_and_so_does_the_server(trial, tmp_path, log, who, monkeypatch):
    """Long before the client's patience ends; and no key, certificate or token stands in what is said."""
    monkeypatch.setattr("unsplit.protocol.remote.handshake.GRACE", 0.3)
    parties = trial(steps=4)
    (tmp_path / "other").mkdir()
    others = Trial(tmp_path / "other", steps=4).certs
    telemetry = Telemetry(log=logger(stream=log))

    async def run():
        async for address, _ in together(parties, telemetry):
            options = {
                "nobody": connect_of(parties, address, certificate=None, key=None),
                "another authority": connect_of(
                    parties, address, certificate=others / "client0.pem", key=others / "client0.key"
                ),
                "stranger to us": dataclasses.replace(connect_of(parties, address), ca=others / "ca.pem"),
                "another name": connect_of(parties, address, server_name="other.example"),
                "without TLS": ConnectOptions(address=address, insecure=True),
            }
            connect = dataclasses.replace(options[who], patience=300.0)
            client = parties.plan.make_client("client0")
            try:
                await join(parties.plan, client, connect, parties.folder / "c", Telemetry(log=logger(quiet=True)))
            finally:
                await asyncio.sleep(0.6)

    with pytest.raises(InputError, match=REFUSED[who]) as said:
        asyncio.run(asyncio.wait_for(run(), 60))
    assert "\n" not in str(said.value)
    assert not [entry for entry in log.entries() if entry["event"] == "joined"]
    refused = [entry for entry in log.entries() if entry["event"] == "refused"]
    assert {entry["reason"] for entry in refused} == {"tls"}
    assert "ended before any call" in refused[0]["sentence"]
    assert telemetry.registry.get_sample_value("unsplit_refused_total", {"reason": "tls"}) == len(refused)
    assert "PRIVATE" not in log.getvalue() + str(said.value)


def test_a_server_without_tls_is_called_so(tmp_path):
    """And one that is not there, or hangs up before it has said anything, is no refusal: it may come back."""
    asked = {"ca": Trial(tmp_path, steps=4).certs / "ca.pem", "certificate": None, "key": None}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer(what):
            with listener.accept()[0] as stream:
                stream.recv(1000)
                stream.sendall(what)

        for what, words in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"), (b"", None)):
            thread = threading.Thread(target=answer, args=(what,))
            thread.start()
            found = refusal(f"127.0.0.1:{port}", **asked)
            thread.join()
            assert found is None if words is None else words in found
    assert refusal(f"127.0.0.1:{port}", **asked) is None


def test_health_and_metrics(trial, log):
    """Health asks for a token like everything else; metrics are on this machine only, and count what happened."""
    parties = trial(steps=3)
    certs, port = parties.certs, free_port()
    listen = ListenOptions(
        address="localhost:0",
        certificate=certs / "server.pem",
        key=certs / "server.key",
        tokens=certs / "tokens.yaml",
        metrics=port,
    )
    token = (certs / "client0.token").read_text().strip()

    async def run():
        telemetry = Telemetry(log=logger(stream=log))
        async for address, server in together(parties, telemetry, listen=listen):
            connect = connect_of(parties, address, certificate=None, key=None, token=certs / "client0.token")
            async with connect.channel() as channel:
                ask = health_pb2_grpc.HealthStub(channel).Check
                for metadata in ((), (("authorization", "Bearer " + "x" * 43),)):
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await ask(health_pb2.HealthCheckRequest(), metadata=metadata)
                    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
                    assert refused.value.details() == "Not admitted."
                answer = await ask(health_pb2.HealthCheckRequest(), metadata=connect.metadata())
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert 'unsplit_refused_total{reason="token"} 2.0' in await asyncio.to_thread(_page, port)
            client = parties.plan.make_client("client0")
            quiet = Telemetry(log=logger(quiet=True))
            assert await join(parties.plan, client, connect, parties.folder / "c", quiet)
            assert await server
            assert telemetry.registry.get_sample_value("unsplit_steps_total", {"client": "client0"}) == 3
            text = StringIO()
            Console(file=text, width=100).print(view(telemetry, "trial"))
            assert "client0" in text.getvalue()
            assert "3/3" in text.getvalue()

    asyncio.run(run())
    assert token not in log.getvalue()
    assert {"listening", "joined", "turn", "finished"} <= {entry["event"] for entry in log.entries()}


def _page(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return answer.read().decode()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batchsize": 3}, "there is no setting 'batchsize': did you mean 'batch_size'?"),
        ({"client_optimizer": {"lrr": 1}}, "no setting 'client_optimizer.lrr': did you mean 'lr'?"),
        ({"client_optimizer": {"name": "addam"}}, "Unknown optimiser 'addam'"),
        ({"clients": ["a", "b"]}, "need turns of a stated length"),
        ({"clients": ["a", "a"], "turn": 2}, "the same name"),
        ({"clients": ["../up"]}, "clients.0: String should match pattern"),
        ({"clients": [f"c{number}" for number in range(17)], "turn": 2}, "at most 16 items"),
        ({"wire": "float8"}, "'float32', 'float16' or 'bfloat16'"),
        ({"mode": "splitfed", "turn": 2, "hand_off": "peer"}, "SplitFed averages"),
        ({"batch_size": 0}, "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_is_one_sentence(tmp_path, settings, sentence):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(settings))
    with pytest.raises(InputError) as error:
        read_config(path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_the_digest_is_of_the_settings_and_not_of_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("steps: 5\nbatch_size: 64\n")
    (tmp_path / "b.yaml").write_text("# the same\n{batch_size: 64, steps: 5}\n")
    first, second = read_config(tmp_path / "a.yaml"), read_config(tmp_path / "b.yaml")
    assert first.digest() == second.digest() != RunConfig(steps=6).digest()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"insecure": True, "address": "0.0.0.0:5"}, "`insecure`"),
        ({"insecure": True, "address": "example.org:50051"}, "`insecure`"),
        ({}, "needs `certificate` and `key`"),
    ],
)
def test_no_server_without_tls_but_on_loopback(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        ListenOptions(**settings)


def test_a_client_with_its_own_data_draws_from_its_own_seed(tmp_path):
    """Its first weights and order are not those of the configuration's seed, which the server knows."""
    source = generator(0)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = torch.randint(256, (28, 28), generator=source, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(tmp_path / "photos" / name / f"{number}.png")
    plan = make_plan(RunConfig(classes=10, batch_size=4))
    seed = own_seed(tmp_path)
    assert seed == own_seed(tmp_path)
    assert stat.S_IMODE((tmp_path / "seed").stat().st_mode) == 0o600
    client = plan.make_client("client0", data=str(tmp_path / "photos"), seed=seed)
    public = plan.make_client("client0", data=str(tmp_path / "photos"), seed=plan.config.seed)
    assert client.samples == 16
    weights = [each.bottom.module.state_dict()["conv1.weight"] for each in (client, public)]
    assert not torch.equal(*weights)
    assert torch.equal(weights[1], plan.model(plan.config.seed).state_dict()["conv1.weight"])


def test_two_processes_do_not_share_a_folder(trial):
    parties = trial(steps=4)
    host = make_host(parties.plan, parties.folder / "server", Telemetry(log=logger(quiet=True)))
    assert host.awaited() == ("client0",)

    async def run():
        telemetry = Telemetry(log=logger(quiet=True))
        async for _ in together(parties, telemetry):
            listen = ListenOptions(address="localhost:0", insecure=True)
            await serve(parties.plan, listen, parties.folder / "server", telemetry)

    with pytest.raises(InputError, match="Another process uses"):
        asyncio.run(run())


def test_a_folder_of_another_training_is_refused(trial):
    parties = trial(steps=4)
    quiet = Telemetry(log=logger(quiet=True))
    make_host(parties.plan, parties.folder / "server", quiet)._next()
    other = make_plan(parties.config.model_copy(update={"seed": 1}))
    with pytest.raises(InputError, match="states of a training with another configuration"):
        make_host(other, parties.folder / "server", Telemetry(log=logger(quiet=True)))


def test_a_server_started_again_in_the_first_turn_keeps_its_steps(trial):
    """Before any turn is over there is no state between turns, only those within the first."""
    parties = trial(steps=12, checkpoint_every=2)
    quiet, folder = Telemetry(log=logger(quiet=True)), parties.folder / "server"
    host, client = make_host(parties.plan, folder, quiet), parties.plan.make_client("client0")
    for step in range(5):
        for message in client.begin(step):
            for answer in host.sessions["turns"].receive(message):
                client.receive(answer)
        host.sessions["turns"].settle()
    again = make_host(parties.plan, folder, Telemetry(log=logger(quiet=True)))
    assert again.sessions["turns"].steps_done == 4
    assert len(parties.transcript()) == 4 * 3


def test_nobody_uses_up_no_turns(trial):
    """However often a server is started in vain, the training is still to be had."""
    parties = trial(clients=["client0", "client1", "client2"], turn=4, steps=12)
    for _ in range(3):
        host = make_host(parties.plan, parties.folder / "server", Telemetry(log=logger(quiet=True)))
        for name in parties.names[:2]:
            host._last_heard[name] = float("-inf")
            assert host.give_up_on_the_silent() == [name]
        host._last_heard[parties.names[2]] = float("-inf")
        with pytest.raises(InputError, match="kept as of step 0"):
            host.give_up_on_the_silent()
        assert (host.first, host.skipped) == (0, [])
    again = make_host(parties.plan, parties.folder / "server", Telemetry(log=logger(quiet=True)))
    assert (again.first, again.skipped, again.awaited()) == (0, [], ("client0",))


def test_sizes_are_for_people():
    assert [size(count) for count in (5, 2048, 3 * 2**20, 2**41)] == ["5 B", "2.0 KiB", "3.0 MiB", "2.0 TiB"]
