"""PEM files, checked before gRPC gets them, whose own words for a bad one come late and tell little."""

from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from unsplit.errors import InputError


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no {what} {path}; name another, or make some with unsplit certs.") from error
    except OSError as error:
        raise InputError(f"Cannot read the {what} {path}: {error.strerror}; name a file that can be read.") from error


def read_authority(path: Path) -> bytes:
    """An authority's certificate, or several of them.

    Raises:
        InputError: missing, unreadable, not PEM, or none valid today.
    """
    content = read_file(path, "certificate")
    # A bundle may hold expired authorities beside good ones.
    _check_dates(path, max(_certificates(path, content), key=lambda found: found.not_valid_after_utc))
    return content


def read_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """A key and its certificate, in gRPC's order.

    Raises:
        InputError: missing, unreadable, not PEM, not valid today, encrypted, or not of one another.
    """
    certificate_pem, key_pem = read_file(certificate, "certificate"), read_file(key, "key")
    chain = _certificates(certificate, certificate_pem)
    for one in chain:
        _check_dates(certificate, one)
    try:
        public = load_pem_private_key(key_pem, password=None).public_key()
        theirs = chain[0].public_key()
    except TypeError as error:
        raise InputError(f"{key} is encrypted with a password; write it without one.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key} is not a private key in PEM form; name another file.") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != theirs.public_bytes(*form):
        raise InputError(f"{key} is not the key of {certificate}; name the two files that were made together.")
    return key_pem, certificate_pem


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise InputError(f"{path} is not a certificate in PEM form; name another file.") from error


def _check_dates(path: Path, certificate: x509.Certificate) -> None:
    if certificate.not_valid_after_utc < _now():
        raise InputError(f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; get a new certificate.")
    if certificate.not_valid_before_utc > _now():
        day = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise InputError(f"{path} is not valid before {day}; set this machine's clock, or get another certificate.")


def _now() -> datetime:
    return datetime.now(timezone.utc)
