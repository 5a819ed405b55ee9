"""A private certificate authority for trials: every file that a server and its clients need to trust one another."""

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from unsplit.errors import InputError
from unsplit.files import explained, write_text
from unsplit.protocol.remote.settings import NAME

MOST_DAYS = 3650
_SKEW = timedelta(minutes=5)
"""How far the parties' clocks may lag behind the clock of the machine that made the files."""
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_TAKEN = ("ca", "server", "peer")
"""Names that the files of no client may have, since other files have them."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Which file goes to whom.

    Args:
        server: files of the server.
        clients: files of each client, by its name.
        offline: the authority's key: who has it can pose as anybody, and nobody needs it in a training.
    """

    server: tuple[Path, ...]
    clients: dict[str, tuple[Path, ...]]
    offline: Path


def make_certificates(folder: Path, *, hosts: Sequence[str], clients: Sequence[str], days: int = 30) -> Certificates:
    """Make a certificate authority for a trial, and what it certifies.

    All keys are on the curve P-256, all signatures with SHA-256. Keys and tokens come from the operating system's
    randomness, not from a `torch.Generator`: what can be made again from a seed is no secret. Files with a secret
    are readable by their owner only from the moment they exist.

    Args:
        folder: folder to write, made if need be.
        hosts: DNS names and IP addresses under which clients reach the server, at least one.
        clients: names of the clients, at least one.
        days: number of days for which the certificates are valid, 1 to 3650.

    Returns:
        Which of the files goes to whom: ca.pem; server.pem and server.key; for each client NAME.pem, NAME.key and
        NAME.token (32 random bytes as text); tokens.yaml (each client's name and its token's SHA-256, for the
        server); peer.key (32 random bytes in hex, for the clients only: see `Seal`); ca.key.

    Raises:
        InputError: no host or a host that is none, a client's name that cannot be used or that two have, days out of
            range, or a folder that holds such files already.
        StorageError: the folder cannot be written.
    """
    alternatives = [_alternative(host) for host in dict.fromkeys(hosts)]
    if not alternatives:
        raise InputError("No host was named; name at least one under which clients reach the server, e.g. localhost.")
    _check_clients(clients)
    if not 1 <= days <= MOST_DAYS:
        raise InputError(f"The certificates would be valid for {days} days; choose from 1 to {MOST_DAYS}.")

    authority = _Authority(days)
    tokens = {name: secrets.token_urlsafe(32) for name in clients}
    public: dict[str, str] = {}
    private = {"peer.key": secrets.token_hex(32) + "\n"}
    public["server.pem"], private["server.key"] = authority.issue(
        "server", alternatives, ExtendedKeyUsageOID.SERVER_AUTH
    )
    for name, token in tokens.items():
        public[f"{name}.pem"], private[f"{name}.key"] = authority.issue(
            name, [x509.DNSName(name)], ExtendedKeyUsageOID.CLIENT_AUTH
        )
        private[f"{name}.token"] = token + "\n"
    # The hash of 32 random bytes tells nothing of them, so that this file is no secret.
    public["tokens.yaml"] = yaml.safe_dump(
        {name: hashlib.sha256(token.encode()).hexdigest() for name, token in tokens.items()}, sort_keys=False
    )
    public["ca.pem"], private["ca.key"] = _pem(authority.certificate), _key_pem(authority.key)

    with explained(folder):
        present = next((name for name in ("ca.pem", *public, *private) if (folder / name).exists()), None)
    if present is not None:
        raise InputError(f"{folder} already holds {present}; name another folder, or move these files away first.")
    for name, text in private.items():
        write_text(folder / name, text, private=True)
    for name, text in public.items():
        write_text(folder / name, text)

    def paths(*names: str) -> tuple[Path, ...]:
        return tuple(folder / name for name in names)

    return Certificates(
        server=paths("ca.pem", "server.pem", "server.key", "tokens.yaml"),
        clients={name: paths("ca.pem", f"{name}.pem", f"{name}.key", f"{name}.token", "peer.key") for name in clients},
        offline=folder / "ca.key",
    )


class _Authority:
    """A key that signs, and its certificate by itself."""

    def __init__(self, days: int) -> None:
        self._start = datetime.now(timezone.utc) - _SKEW
        self._end = self._start + _SKEW + timedelta(days=days)
        self._name = _common_name("unsplit trial authority")
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        self.certificate = self._sign(
            self._name,
            self.key.public_key(),
            x509.BasicConstraints(ca=True, path_length=0),
            _usage(signs_certificates=True),
        )

    def issue(
        self, name: str, alternatives: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier
    ) -> tuple[str, str]:
        """A certificate for one use, and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            _common_name(name),
            key.public_key(),
            x509.BasicConstraints(ca=False, path_length=None),
            _usage(signs_certificates=False),
            x509.ExtendedKeyUsage([usage]),
            x509.SubjectAlternativeName(alternatives),
        )
        return _pem(certificate), _key_pem(key)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._start)
            .not_valid_after(self._end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), critical=False
            )
        )
        for extension in extensions:
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())


def _check_clients(clients: Sequence[str]) -> None:
    if not clients:
        raise InputError("No client was named; name at least one, for example client0.")
    seen: dict[str, str] = {}
    for name in clients:
        # Files are named after clients, and neither every file system nor DNS tells "A" from "a".
        small = name.lower()
        if NAME.fullmatch(name) is None:
            raise InputError(
                f"A client cannot be called {name!r}; use up to 63 letters, digits, - and _, a letter or digit first."
            )
        if small in _TAKEN:
            raise InputError(
                f"A client cannot be called {name!r}, since other files have that name; rename the client."
            )
        if small in seen:
            raise InputError(f"Two clients are called {seen[small]!r} and {name!r}; give each a name of its own.")
        seen[small] = name


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        labels = host.split(".")
        # A name whose last part is a number is a mistyped address.
        if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
            raise InputError(
                f"{host!r} is neither a DNS name nor an IP address; write for example localhost or 127.0.0.1, without "
                "a port."
            ) from None
        return x509.DNSName(host)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
