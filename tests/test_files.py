"""Writing files loses nothing; choosing devices and seeds disturbs nothing."""

import errno
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError

from unsplit import files
from unsplit.devices import device
from unsplit.errors import InputError, StorageError
from unsplit.randomness import draw_seed, generator, seeded

_HELD = """
import fcntl, sys
stream = open({path!r}, "w")
fcntl.flock(stream, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)  # fmt: skip
def test_a_failure_half_way_leaves_the_old_file(tmp_path, failure, expected):
    path = tmp_path / "f"
    files.write_text(path, "old")

    def half():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(expected):
        half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    """And nothing else: neither what a living one writes, nor files that only look alike."""
    for name in (".a.json.abcd1234.part", ".b.safetensors.x_9zzzzz.part", ".other.part", "c.abcd1234.part"):
        (tmp_path / name).write_text("half")
    living = subprocess.Popen(
        [sys.executable, "-c", _HELD.format(path=str(tmp_path / ".held.json.aaaaaaaa.part"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with living:
        living.stdout.readline()
        files.write_text(tmp_path / "new", "text")
        left = {entry.name for entry in tmp_path.iterdir()}
        living.stdin.close()
    assert left == {"new", ".other.part", "c.abcd1234.part", ".held.json.aaaaaaaa.part"}


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left to write .* free some"):
        files.write_text(tmp_path / "f", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for call in (files.writable_folder, lambda path: files.write_text(path, "x")):
        with pytest.raises(StorageError, match="choose a place that can be written"):
            call(tmp_path / "file" / "below")


@pytest.mark.parametrize("name", ["cuda:99", "no-such-device", "meta", "tpu"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(InputError, match="use `device='cpu'`"):
        device(name)
    assert device("cpu") == torch.device("cpu")


def test_a_lent_seed_is_given_back():
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    with pytest.raises(RuntimeError, match="negative"), seeded(3):
        torch.rand(-1)
    assert torch.equal(torch.get_rng_state(), before)
    assert draw_seed(generator(1)) == draw_seed(generator(1)) != draw_seed(generator(2))


def test_a_full_disk_under_tensors_is_called_so(tmp_path, monkeypatch):
    """As safetensors says it: in words, whatever is being written."""

    def full(*_args, **_kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(StorageError, match=r"No space left to write .* free some"):
        files.write_tensors(tmp_path / "f", {"a": torch.zeros(2)})
    assert list(tmp_path.iterdir()) == []


def test_what_safetensors_refuses_for_another_reason_is_our_fault(tmp_path):
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        files.write_tensors(tmp_path / "f", {"a": shared, "b": shared[:2]})
