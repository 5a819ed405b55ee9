"""`unsplit certs`: certificates that lead to their authority and serve for one thing only, and files for each party."""

import ipaddress
import os
import shlex
import socket
import ssl
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from cryptography.x509.verification import PolicyBuilder, Store

from helpers.checks import refused
from unsplit import files
from unsplit.cli.app import main
from unsplit.errors import StorageError
from unsplit.protocol.remote.certificates import make_certificates

HOSTS = ["localhost", "127.0.0.1", "::1", "split.example.org"]
CLIENTS = ["client0", "clinic_a"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_certificates(folder, hosts=HOSTS, clients=[*CLIENTS, "localhost"])
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Of another authority, with the same names."""
    folder = tmp_path_factory.mktemp("foreign")
    make_certificates(folder, hosts=HOSTS, clients=CLIENTS)
    return folder


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_every_certificate_verifies_for_its_use_and_no_other(keys):
    store = Store([certificate(keys / "ca.pem")])
    for host in HOSTS:
        subject = x509.DNSName(host) if host[-1].isalpha() else x509.IPAddress(ipaddress.ip_address(host))
        verifier = PolicyBuilder().store(store).build_server_verifier(subject)
        chain = verifier.verify(certificate(keys / "server.pem"), [])
        assert chain[-1] == certificate(keys / "ca.pem")
        with pytest.raises(x509.verification.VerificationError):
            verifier.verify(certificate(keys / "localhost.pem"), [])
    for name in CLIENTS:
        found = PolicyBuilder().store(store).build_client_verifier().verify(certificate(keys / f"{name}.pem"), [])
        assert found.subjects == [x509.DNSName(name)]
    with pytest.raises(x509.verification.VerificationError):
        PolicyBuilder().store(store).build_client_verifier().verify(certificate(keys / "server.pem"), [])


def test_a_certificate_says_what_it_is_for(keys):
    authority = certificate(keys / "ca.pem")
    limits = authority.extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS)
    assert limits.critical
    assert limits.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    for name, use in {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client0": ExtendedKeyUsageOID.CLIENT_AUTH}.items():
        found = certificate(keys / f"{name}.pem")
        assert found.subject.rfc4514_string() == f"CN={name}"
        assert list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [use]
        assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        issuer = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert issuer.key_identifier == identifier.digest
        assert found.signature_hash_algorithm.name == "sha256"
        assert found.public_key().curve.name == "secp256r1"
        assert timedelta(days=30) <= found.not_valid_after_utc - found.not_valid_before_utc < timedelta(days=30.1)


def handshake(server, client):
    """A TLS connection over a pair of sockets: the name in the client's certificate, or the error that ends it."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    theirs.settimeout(20)

    def serve():
        with ours, server.wrap_socket(ours, server_side=True) as line:
            line.sendall(line.recv(2))
            return dict(part[0] for part in line.getpeercert()["subject"])["commonName"] if server.verify_mode else None

    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve)
        with theirs, client.wrap_socket(theirs, server_hostname="localhost") as line:
            line.sendall(b"hi")
            # In TLS 1.3 the client learns only from its first read that the server refused its certificate.
            assert line.recv(2) == b"hi"
        return served.result()


def server_side(folder, *, name="server", client_ca=None):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_side(folder, *, ca, name=None):
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_handshake_with_the_server_alone(keys):
    assert handshake(server_side(keys), client_side(keys, ca=keys / "ca.pem")) is None


@pytest.mark.parametrize("name", CLIENTS)
def test_mutual_handshake_tells_who_the_client_is(keys, name):
    found = handshake(server_side(keys, client_ca=keys / "ca.pem"), client_side(keys, ca=keys / "ca.pem", name=name))
    assert found == name


def test_a_client_of_another_authority_is_refused(keys, foreign):
    server = server_side(keys, client_ca=keys / "ca.pem")
    for name in (None, "client0"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(server, client_side(foreign, ca=keys / "ca.pem", name=name))


def test_a_server_of_another_authority_is_refused(keys, foreign):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_side(foreign), client_side(keys, ca=keys / "ca.pem"))


def test_a_client_cannot_pose_as_the_server(keys):
    """Not even one that is called as the server's host is."""
    with pytest.raises(ssl.SSLCertVerificationError, match=r"purpose|usage"):
        handshake(server_side(keys, name="localhost"), client_side(keys, ca=keys / "ca.pem"))


def test_secrets_are_for_the_owner_only(keys):
    secret = {
        "ca.key",
        "server.key",
        "peer.key",
        *(f"{n}.{s}" for n in [*CLIENTS, "localhost"] for s in ("key", "token")),
    }
    public = {"ca.pem", "server.pem", "tokens.yaml", *(f"{n}.pem" for n in [*CLIENTS, "localhost"])}
    assert {path.name for path in keys.iterdir()} == secret | public
    mask = os.umask(0)
    os.umask(mask)
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.name in secret else 0o666 & ~mask)


def test_a_private_file_is_private_before_anything_is_in_it(tmp_path):
    (tmp_path / "f").write_text("old and readable")
    with files.replacing(tmp_path / "f", private=True) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("new")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_no_two_secrets_are_the_same(keys, foreign):
    assert len({(folder / f"{name}.token").read_text() for folder in (keys, foreign) for name in CLIENTS}) == 4
    assert (keys / "peer.key").read_text() != (foreign / "peer.key").read_text()


def test_who_gets_what(tmp_path):
    made = make_certificates(tmp_path / "new" / "keys", hosts=["localhost"], clients=["a", "b"])
    assert [path.name for path in made.server] == ["ca.pem", "server.pem", "server.key", "tokens.yaml"]
    assert [path.name for path in made.clients["b"]] == ["ca.pem", "b.pem", "b.key", "b.token", "peer.key"]
    assert made.offline.name == "ca.key"
    everything = {*made.server, *made.clients["a"], *made.clients["b"], made.offline}
    assert everything == set((tmp_path / "new" / "keys").iterdir())


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"hosts": []}, "name at least one under which clients reach"),
        ({"hosts": ["localhost:50051"]}, "neither a DNS name nor an IP address"),
        ({"hosts": ["127.0.0.300"]}, "neither a DNS name nor an IP address"),
        ({"hosts": [""]}, "neither a DNS name nor an IP address"),
        ({"hosts": ["bücher.example"]}, "neither a DNS name nor an IP address"),
        ({"hosts": [".".join(["a" * 60] * 5)]}, "neither a DNS name nor an IP address"),
        ({"clients": []}, "name at least one, for example client0"),
        ({"clients": ["a/../b"]}, "up to 63 letters"),
        ({"clients": ["a\n"]}, "up to 63 letters"),
        ({"clients": ["-a"]}, "up to 63 letters"),
        ({"clients": ["a" * 64]}, "up to 63 letters"),
        ({"clients": ["Server"]}, "since other files have that name"),
        ({"clients": ["peer"]}, "since other files have that name"),
        ({"clients": ["a", "b", "a"]}, "Two clients are called 'a' and 'a'"),
        ({"clients": ["a", "A"]}, "Two clients are called 'a' and 'A'"),
        ({"days": 0}, "choose from 1 to 3650"),
        ({"days": 10**9}, "choose from 1 to 3650"),
    ],
)
def test_what_cannot_be_certified(tmp_path, changed, sentence):
    arguments = {"hosts": ["localhost"], "clients": ["client0"], **changed}
    assert sentence in refused(make_certificates, tmp_path / "keys", **arguments)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("name", ["ca.pem", "server.key", "client0.token"])
def test_nothing_is_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    sentence = refused(make_certificates, tmp_path, hosts=["localhost"], clients=["client0"])
    assert f"already holds {name}; name another folder" in sentence
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="choose a place that can be written"):
        make_certificates(tmp_path / "file", hosts=["localhost"], clients=["client0"])


def program(monkeypatch, capsys, line):
    monkeypatch.setattr(sys, "argv", ["unsplit", *shlex.split(line)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code, capsys.readouterr()


def test_the_command_makes_the_files_and_says_whose_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed = program(monkeypatch, capsys, "certs keys --host localhost --host ::1 --client clinic --clients 2")
    assert code == 0
    assert printed.err == ""
    assert printed.out.splitlines()[:4] == [
        "server: ca.pem, server.pem, server.key, tokens.yaml",
        "clinic: ca.pem, clinic.pem, clinic.key, clinic.token, peer.key",
        "client0: ca.pem, client0.pem, client0.key, client0.token, peer.key",
        "client1: ca.pem, client1.pem, client1.key, client1.token, peer.key",
    ]
    assert "ca.key stays offline" in printed.out
    names = certificate(tmp_path / "keys" / "server.pem").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert list(map(str, names.value.get_values_for_type(x509.IPAddress))) == ["::1"]
    secrets = [(tmp_path / "keys" / name).read_text().strip() for name in ("client0.token", "peer.key")]
    assert not any(secret in printed.out for secret in secrets)


def test_the_command_can_be_quiet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed = program(monkeypatch, capsys, "certs keys --host localhost --clients 1 --days 1 --quiet")
    assert (code, printed.out, printed.err) == (0, "", "")
    left = certificate(tmp_path / "keys" / "ca.pem").not_valid_after_utc - datetime.now(timezone.utc)
    assert timedelta(hours=23) < left <= timedelta(days=1)


@pytest.mark.parametrize(
    ("line", "sentence"),
    {
        "certs keys": "No host was named",
        "certs keys --host localhost": "No client was named",
        "certs keys --host localhost --clients -1": "No client was named",
        "certs keys --host localhost --client client0 --clients 1": "Two clients are called",
        "certs keys --host local/host --clients 1": "neither a DNS name nor an IP address",
        "certs keys --host localhost --client ../a": "up to 63 letters",
        "certs keys --host localhost --clients 1 --days 0": "choose from 1 to 3650",
        "certs old --host localhost --clients 1": "already holds ca.pem",
        "certs old/ca.pem --host localhost --clients 1": "choose a place that can be written",
    }.items(),
)
def test_bad_input_of_the_command(tmp_path, monkeypatch, capsys, line, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "ca.pem").touch()
    code, printed = program(monkeypatch, capsys, line)
    assert code == 2
    assert printed.out == ""
    assert printed.err.startswith("unsplit: ")
    assert printed.err.count("\n") == 1
    assert sentence in printed.err


def test_the_commands_help(monkeypatch, capsys):
    code, printed = program(monkeypatch, capsys, "certs --help")
    assert code == 0
    for part in ("--host", "--client", "--clients", "--days", "Examples"):
        assert part in printed.out
