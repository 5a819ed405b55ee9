"""Who may speak and who may read: TLS from files that were checked first, tokens, and sealed weights."""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import torch
import yaml
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from unsplit.errors import InputError
from unsplit.protocol.remote.pem import read_authority, read_file, read_pair

_ADDRESS = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):[0-9]{1,5}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,512}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NONCE = 12
_TAG = 16
MOST_SEALED = 2**31 - 1
"""Most bytes that the cipher takes at once."""


def server_credentials(
    certificate: Path, key: Path, *, client_ca: Path | None, began: Callable[[], None] | None = None
) -> grpc.ServerCredentials:
    """TLS for a server.

    Args:
        certificate: PEM file of its certificate, followed by any that lead to the authority.
        key: PEM file of the certificate's key, not encrypted.
        client_ca: PEM file of the authority of the clients' certificates, without one of which nobody gets in; None
            asks clients for no certificate.
        began: function that is called, in a thread of gRPC, when a handshake begins.

    Raises:
        InputError: a file is missing, unreadable or not PEM, the key is of another certificate, or a certificate is
            not valid today.
    """
    pair = read_pair(certificate, key)
    authority = None if client_ca is None else read_authority(client_ca)
    if began is not None:
        # Before each handshake gRPC asks for certificates; None is: those of before.
        return grpc.dynamic_ssl_server_credentials(
            grpc.ssl_server_certificate_configuration([pair], authority),
            began,  # type: ignore[arg-type]
            require_client_authentication=authority is not None,
        )
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


def channel_credentials(ca: Path | None, *, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials:
    """TLS for a client.

    Args:
        ca: PEM file of the authority of the server's certificate; None trusts the public ones that gRPC knows.
        certificate: PEM file of the client's own certificate, for a server that asks for one.
        key: PEM file of the certificate's key, not encrypted.

    Raises:
        InputError: a file is missing, unreadable or not PEM, the key is of another certificate, a certificate is not
            valid today, or there is only one of certificate and key.
    """
    if (certificate is None) != (key is None):
        raise InputError("A client's certificate and its key go together; name both files, or neither.")
    authority = None if ca is None else read_authority(ca)
    if certificate is None or key is None:
        return grpc.ssl_channel_credentials(authority)
    return grpc.ssl_channel_credentials(authority, *read_pair(certificate, key))


def check_loopback(address: str) -> None:
    """Check that an address without TLS cannot be reached from, or lead to, another machine.

    Args:
        address: host:port or [IPv6]:port.

    Raises:
        InputError: its host is not localhost, in 127.0.0.0/8, or ::1.
    """
    parts = _ADDRESS.fullmatch(address)
    host = "" if parts is None else parts[1] or parts[2]
    try:
        loopback = host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InputError(
            f"{address!r} is not an address of this machine alone, such as 127.0.0.1:50051, and `insecure` is for "
            "these only; give certificates instead (unsplit certs makes some)."
        )


class Tokens:
    """The clients' tokens as the server knows them: by their SHA-256.

    Args:
        digests: SHA-256 of each client's token in hex, by the client's name.
    """

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = dict(digests)

    def __repr__(self) -> str:
        return f"Tokens(names={self.names})"

    @property
    def names(self) -> tuple[str, ...]:
        """Clients that have a token."""
        return tuple(self._digests)

    @classmethod
    def read(cls, path: Path) -> "Tokens":
        """The tokens in a file like tokens.yaml.

        Raises:
            InputError: no such file, or not a list of names and hashes, each a hash of its own.
        """
        try:
            content = yaml.safe_load(read_file(path, "list of tokens").decode())
        except (yaml.YAMLError, ValueError):
            content = None  # The parser's words are left out: they could quote a secret put there by mistake.
        right = isinstance(content, dict) and all(
            isinstance(name, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest)
            for name, digest in content.items()
        )
        if not content or not right:
            raise InputError(f"{path} is not a list of tokens; write 'name: SHA-256 of its token in hex' on each line.")
        if len(set(content.values())) < len(content):
            raise InputError(f"Two clients in {path} have the same token; give each its own.")
        return cls(content)

    def owner(self, token: str) -> str | None:
        """Whose token this is, if anybody's; how long the answer takes tells nothing of the tokens."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        found = [name for name, known in self._digests.items() if hmac.compare_digest(known, digest)]
        return found[0] if found else None


def read_token(path: Path) -> str:
    """The token in a file like NAME.token.

    Raises:
        InputError: no such file, or not a token.
    """
    token = read_file(path, "token").decode("ascii", "replace").strip()
    if _TOKEN.fullmatch(token) is None:
        raise InputError(
            f"{path} holds no token (43 or more letters, digits, - and _); name the NAME.token that was made for the "
            "client."
        )
    return token


class Seal:
    """Encryption of handed-over weights from client to client, by a key that the server does not have.

    Threat model: the server, and whoever reads the wire, learns that weights passed, when, from whom to whom and how
    long they are, and nothing of their values. It can hold them back, but cannot alter them, nor pass them off as
    those of another training or step, so long as `context` names these (a training that is run again needs another
    name or another key, or weights of the run before would pass for its own). Any client with the key can read all
    weights that pass, and make weights in another client's name: clients trust one another here, as in the paper. The
    key does not change: who gets it later can read what was recorded before.

    ChaCha20-Poly1305, with a key derived by HKDF-SHA256 and a fresh random nonce each time, of 96 bits, so that one
    file is good for 2**32 messages.

    Args:
        secret: 32 bytes that all clients share.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise InputError(f"The clients' key has {len(secret)} bytes; it must have 32.")
        kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"unsplit handed-over weights 1")
        self._cipher = ChaCha20Poly1305(kdf.derive(secret))

    def __repr__(self) -> str:
        return "Seal(...)"

    @classmethod
    def read(cls, path: Path) -> "Seal":
        """The seal of a file like peer.key.

        Raises:
            InputError: no such file, or not 32 bytes in hex.
        """
        text = read_file(path, "clients' key").decode("ascii", "replace").strip().lower()
        if _DIGEST.fullmatch(text) is None:
            raise InputError(
                f"{path} is not a clients' key (64 hex digits); name the peer.key that unsplit certs makes."
            )
        return cls(bytes.fromhex(text))

    def seal(self, tensors: Mapping[str, Tensor], *, context: bytes) -> bytes:
        """Encrypt named tensors.

        Args:
            tensors: tensors by name, of any dtypes and shapes; they may share memory.
            context: bytes that the reader must know to open them (run, step, giver, taker), in a form that no other
                such four have. It is not part of the result.

        Raises:
            InputError: they take 2 GiB or more.
        """
        copies = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
        }
        plain = tensors_to_bytes(copies)
        if len(plain) + _TAG > MOST_SEALED:
            raise InputError(f"These weights take {len(plain)} bytes, too many to seal; hand them over by the server.")
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, *, context: bytes) -> dict[str, Tensor]:
        """Decrypt what `seal` gave, on the CPU.

        Raises:
            InputError: sealed with another key or for another context, altered, or cut short.
        """
        try:
            if not _NONCE + _TAG <= len(sealed) <= MOST_SEALED + _NONCE:
                raise InvalidTag
            return tensors_from_bytes(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], context))
        except (InvalidTag, SafetensorError) as error:
            raise InputError(
                "The sealed weights cannot be opened: they were altered on their way, or meant for another step or "
                "client; check that all clients have the same peer.key."
            ) from error
