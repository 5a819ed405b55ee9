"""Weights that only the clients can read, and only as they were sealed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from helpers.checks import refused
from unsplit.errors import InputError
from unsplit.protocol.remote import security
from unsplit.protocol.remote.certificates import make_certificates
from unsplit.protocol.remote.security import Seal
from unsplit.randomness import generator

SECRET = bytes(range(32))
CONTEXT = b"run 12 client0 client1"


def weights():
    source = generator(3)
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    tensors = {f"of.{dtype}": (100 * torch.rand(3, 5, generator=source)).to(dtype) for dtype in dtypes}
    whole = torch.rand(6, 4, generator=source)
    # A transposed view, one that shares its memory, a number, nothing, and one that carries a graph.
    tensors |= {"turned": whole.T, "row": whole[2], "number": torch.tensor(2.5), "nothing": torch.empty(0, 3)}
    return tensors | {"learnt": torch.rand(4, generator=source).requires_grad_()}


def test_sealed_weights_come_back_as_they_were():
    seal = Seal(SECRET)
    for tensors in (weights(), {}):
        back = seal.open(seal.seal(tensors, context=CONTEXT), context=CONTEXT)
        assert back.keys() == tensors.keys()
        for name, value in tensors.items():
            assert back[name].dtype == value.dtype
            assert back[name].shape == value.shape
            assert not back[name].requires_grad
            assert torch.equal(back[name], value)
            back[name].zero_()  # Memory of its own, that can be written.


def test_nothing_of_the_weights_shows_and_no_two_seals_are_alike():
    tensors = {"bottom.weight": torch.arange(1000, dtype=torch.float32)}
    plain = save(tensors)
    first, second = (Seal(SECRET).seal(tensors, context=CONTEXT) for _ in range(2))
    assert len(first) == len(plain) + 28
    for sealed in (first, second):
        assert not any(plain[at : at + 8] in sealed for at in range(0, len(plain) - 8, 4))
        assert CONTEXT not in sealed
    assert first[:12] != second[:12]
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 0.02 * len(first)


SEALED = Seal(SECRET).seal({"a": torch.arange(4)}, context=CONTEXT)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(place, change):
    altered = bytearray(SEALED)
    altered[place] ^= change
    with pytest.raises(InputError):
        Seal(SECRET).open(bytes(altered), context=CONTEXT)


@given(st.integers(0, len(SEALED) - 1))
def test_a_part_is_refused(length):
    for part in (SEALED[:length], SEALED[-length or len(SEALED) :]):
        with pytest.raises(InputError):
            Seal(SECRET).open(part, context=CONTEXT)


@given(st.binary(max_size=40).filter(lambda context: context != CONTEXT))
def test_another_context_is_refused(context):
    with pytest.raises(InputError):
        Seal(SECRET).open(SEALED, context=context)


def test_another_key_is_refused():
    sentence = refused(Seal(SECRET[::-1]).open, SEALED, context=CONTEXT)
    assert "cannot be opened" in sentence
    assert "check that all clients have the same peer.key" in sentence


def test_what_was_sealed_but_is_no_weights_is_refused():
    seal = Seal(SECRET)
    nonce = bytes(12)
    for plain in (b"", b"no tensors", b"\xff" * 100):
        assert "cannot be opened" in refused(
            seal.open, nonce + seal._cipher.encrypt(nonce, plain, CONTEXT), context=CONTEXT
        )


def test_weights_too_large_to_seal(monkeypatch):
    monkeypatch.setattr(security, "MOST_SEALED", 1000)
    assert "too many to seal" in refused(Seal(SECRET).seal, {"a": torch.zeros(1000)}, context=b"")


def test_clients_share_their_seal_through_a_file(tmp_path):
    keys, foreign = tmp_path / "keys", tmp_path / "foreign"
    for folder in (keys, foreign):
        make_certificates(folder, hosts=["localhost"], clients=["client0"])
    sealed = Seal.read(keys / "peer.key").seal({"a": torch.arange(4)}, context=CONTEXT)
    assert torch.equal(Seal.read(keys / "peer.key").open(sealed, context=CONTEXT)["a"], torch.arange(4))
    assert "cannot be opened" in refused(Seal.read(foreign / "peer.key").open, sealed, context=CONTEXT)


def test_a_seal_does_not_show_its_key():
    seal = Seal(SECRET)
    assert repr(seal) == str(seal) == "Seal(...)"
    assert not any(isinstance(value, bytes | str) for value in vars(seal).values())


def test_the_files_key_is_not_the_ciphers():
    """What encrypts is derived for this purpose, so that the file may serve others."""
    direct = security.ChaCha20Poly1305(SECRET)
    with pytest.raises(security.InvalidTag):
        direct.decrypt(SEALED[:12], SEALED[12:], CONTEXT)


def test_what_is_no_key_of_the_clients(tmp_path):
    assert "There is no clients' key" in refused(Seal.read, tmp_path / "no.key")
    for content in (b"", b"00" * 31, b"00" * 33, b"zz" * 32, bytes(range(200, 232))):
        (tmp_path / "peer.key").write_bytes(content)
        assert "is not a clients' key (64 hex digits)" in refused(Seal.read, tmp_path / "peer.key")
    assert "has 31 bytes; it must have 32" in refused(Seal, bytes(31))
