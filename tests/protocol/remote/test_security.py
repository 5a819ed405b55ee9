"""Files that gRPC may have, addresses that need none, and tokens told apart."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import grpc
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from helpers.checks import refused
from unsplit.protocol.remote import pem, security
from unsplit.protocol.remote.certificates import make_certificates
from unsplit.protocol.remote.security import Tokens, channel_credentials, check_loopback, read_token, server_credentials

HOSTS = ["localhost", "127.0.0.1"]
CLIENTS = ["client0", "clinic_a"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_certificates(folder, hosts=HOSTS, clients=CLIENTS)
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Of another authority, with the same names."""
    folder = tmp_path_factory.mktemp("foreign")
    make_certificates(folder, hosts=HOSTS, clients=CLIENTS)
    return folder


@contextmanager
def echo(credentials):
    """A gRPC server on this machine that answers with the name in its caller's certificate; gives its port."""

    def answer(_request, context):
        return (context.auth_context().get("x509_common_name") or [b""])[0]

    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Call": handler}),))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def call(port, credentials):
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        return channel.unary_unary("/test.Echo/Call")(b"", timeout=20)


def test_grpc_takes_what_was_checked(keys, foreign):
    def client(folder, ca, name):
        paths = (None, None) if name is None else (folder / f"{name}.pem", folder / f"{name}.key")
        return channel_credentials(ca / "ca.pem", certificate=paths[0], key=paths[1])

    with echo(server_credentials(keys / "server.pem", keys / "server.key", client_ca=None)) as port:
        assert call(port, client(keys, keys, None)) == b""
        for ca in (client(keys, foreign, None), channel_credentials(None, certificate=None, key=None)):
            with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                call(port, ca)
    with echo(server_credentials(keys / "server.pem", keys / "server.key", client_ca=keys / "ca.pem")) as port:
        for name in CLIENTS:
            assert call(port, client(keys, keys, name)) == name.encode()
        for stranger in (client(keys, keys, None), client(foreign, keys, "client0"), client(keys, keys, "server")):
            with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                call(port, stranger)


def as_server(folder, *, certificate="server.pem", key="server.key", client_ca="ca.pem"):
    return server_credentials(folder / certificate, folder / key, client_ca=folder / client_ca)


def as_client(folder, *, certificate="client0.pem", key="client0.key", ca="ca.pem"):
    return channel_credentials(folder / ca, certificate=folder / certificate, key=folder / key)


@pytest.fixture
def damaged(keys, tmp_path):
    """The files, and among them some that are not what they should be."""
    for path in keys.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "cut.pem").write_text((keys / "server.pem").read_text()[:300])
    key = load_pem_private_key((keys / "server.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    (tmp_path / "locked.key").write_bytes(locked)
    return tmp_path


@pytest.mark.parametrize("make", [as_server, as_client])
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"certificate": "no.pem"}, "There is no certificate .*no.pem; name another"),
        ({"key": "no.key"}, "There is no key .*no.key; name another"),
        ({"certificate": "folder"}, "Cannot read the certificate .*folder: Is a directory; name a file"),
        ({"certificate": "empty"}, "empty is not a certificate in PEM form"),
        ({"certificate": "cut.pem"}, "cut.pem is not a certificate in PEM form"),
        ({"certificate": "server.key"}, "server.key is not a certificate in PEM form"),
        ({"key": "server.pem"}, "server.pem is not a private key in PEM form"),
        ({"key": "empty"}, "empty is not a private key in PEM form"),
        ({"key": "locked.key"}, "locked.key is encrypted with a password"),
        ({"key": "clinic_a.key"}, r"clinic_a.key is not the key of .*\.pem; name the two files"),
    ],
)
def test_files_that_make_no_credentials(damaged, make, changed, sentence):
    assert re.search(sentence, refused(make, damaged, **changed))


@pytest.mark.parametrize("name", ["no.pem", "empty", "ca.key", "folder"])
def test_files_that_are_no_authority(damaged, name):
    for sentence in (refused(as_server, damaged, client_ca=name), refused(as_client, damaged, ca=name)):
        assert re.search(rf"There is no certificate|Cannot read|{name} is not a certificate in PEM form", sentence)


def test_a_certificate_without_its_key(keys):
    for half in (
        {"certificate": keys / "client0.pem", "key": None},
        {"certificate": None, "key": keys / "client0.key"},
    ):
        assert "name both files, or neither" in refused(channel_credentials, keys / "ca.pem", **half)


@pytest.mark.parametrize(("days", "sentence"), [(31, "expired on "), (-1, "is not valid before .* UTC; set this")])
def test_certificates_of_another_day(keys, monkeypatch, days, sentence):
    today = pem._now()
    monkeypatch.setattr(pem, "_now", lambda: today + timedelta(days=days))
    pair = {"certificate": keys / "client0.pem", "key": keys / "client0.key"}
    for found in (
        refused(server_credentials, *pair.values(), client_ca=None),
        refused(channel_credentials, None, **pair),
    ):
        assert re.search(f"client0.pem {sentence}", found)
    alone = refused(channel_credentials, keys / "ca.pem", certificate=None, key=None)
    assert re.search(f"ca.pem {sentence}", alone)


def test_one_valid_authority_among_expired_ones_will_do(keys, tmp_path, monkeypatch):
    make_certificates(tmp_path / "long", hosts=["localhost"], clients=["client0"], days=90)
    bundle = tmp_path / "bundle.pem"
    bundle.write_text((keys / "ca.pem").read_text() + (tmp_path / "long" / "ca.pem").read_text())
    today = pem._now()
    monkeypatch.setattr(pem, "_now", lambda: today + timedelta(days=60))
    assert channel_credentials(bundle, certificate=None, key=None)
    assert "expired" in refused(channel_credentials, keys / "ca.pem", certificate=None, key=None)


@pytest.mark.parametrize("address", ["localhost:1", "LOCALHOST:50051", "127.0.0.1:0", "127.9.8.7:65535", "[::1]:50051"])
def test_addresses_of_this_machine(address):
    check_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0:50051", "[::]:50051", "192.168.1.2:50051", "example.org:1", "localhost.example.org:1"),
        *("localhost", "::1", "::1:50051", "", ":50051", "127.0.0.1:", "127.1:5", "127.0.0.1.org:1", "unix:/tmp/s"),
        *("dns:///localhost:5", "localhost:5\n", "localhost:5,10.0.0.1:5", "[10.0.0.1]:5", "localhost@10.0.0.1:5"),
    ],
)
def test_addresses_of_others(address):
    assert "`insecure` is for these only; give certificates instead" in refused(check_loopback, address)


def test_a_token_has_one_owner(keys):
    tokens = Tokens.read(keys / "tokens.yaml")
    assert tokens.names == tuple(CLIENTS)
    for name in CLIENTS:
        token = read_token(keys / f"{name}.token")
        assert tokens.owner(token) == name
        assert tokens.owner(token[:-1]) is None
        assert tokens.owner(hashlib.sha256(token.encode()).hexdigest()) is None
        assert token not in (keys / "tokens.yaml").read_text()
    for stranger in ("", "client0", "ä", "\udc80"):
        assert tokens.owner(stranger) is None


def test_every_token_is_compared_whoever_asks(keys, monkeypatch):
    compared = []

    def compare(known, asked):
        compared.append(known)
        return known == asked

    monkeypatch.setattr(security.hmac, "compare_digest", compare)
    tokens = Tokens.read(keys / "tokens.yaml")
    for token in ("", read_token(keys / "client0.token"), read_token(keys / "clinic_a.token")):
        compared.clear()
        tokens.owner(token)
        assert len(compared) == len(CLIENTS)


def test_tokens_do_not_show(keys):
    content = yaml.safe_load((keys / "tokens.yaml").read_text())
    shown = repr(Tokens.read(keys / "tokens.yaml")) + str(Tokens.read(keys / "tokens.yaml"))
    assert "client0" in shown
    assert not any(digest in shown for digest in content.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "a",
        "a: b",
        "1: " + "0a" * 32,
        "a: " + "0A" * 32,
        "a: [" + "0a" * 32 + "]",
        "a: 2026-99-99",
        "a: ]",
        "\x00",
    ],
)
def test_what_is_no_list_of_tokens(tmp_path, text):
    (tmp_path / "tokens.yaml").write_text(text)
    sentence = refused(Tokens.read, tmp_path / "tokens.yaml")
    assert "is not a list of tokens; write 'name: SHA-256" in sentence


def test_lists_of_tokens_that_cannot_be_used(tmp_path):
    assert "There is no list of tokens" in refused(Tokens.read, tmp_path / "no.yaml")
    path = tmp_path / "tokens.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    assert "is not a list of tokens" in refused(Tokens.read, path)
    path.write_text(f"a: {'0a' * 32}\nb: {'0a' * 32}\n")
    assert "have the same token; give each its own" in refused(Tokens.read, path)


def test_what_is_no_token(tmp_path):
    assert "There is no token" in refused(read_token, tmp_path / "no.token")
    path = tmp_path / "a.token"
    for content in (b"", b"short", b"a" * 42, b"a" * 50 + b" b", b"a" * 600, b"\xff" * 50):
        path.write_bytes(content)
        sentence = refused(read_token, path)
        assert "holds no token" in sentence
        assert len(content) < 40 or content[:40].decode("ascii", "replace") not in sentence
