"""Dumped arrays become the transcript that a recorder would have left; what is none is refused with a sentence."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers.programs import program, run
from unsplit.errors import DataError, InputError
from unsplit.protocol import load_transcript
from unsplit.protocol.importing import import_arrays
from unsplit.protocol.observe import observe
from unsplit.randomness import generator
from unsplit.types import Kind

STEPS, BATCH = 3, 4


def arrays():
    """What crosses in setup (a), of the shape [steps, batch, ...]."""
    source = generator(0)
    return {
        "smashed": torch.rand(STEPS, BATCH, 2, 5, generator=source),
        "cut_grad": torch.randn(STEPS, BATCH, 2, 5, generator=source),
        "labels": torch.randint(10, (STEPS, BATCH), generator=source),
    }


def flat(some):
    return {name: value.flatten(0, 1) for name, value in some.items()}


def numpy(some):
    return {name: value.numpy() for name, value in some.items()}


@pytest.fixture
def recorded(tmp_path):
    """The same, as a recorder leaves it."""
    some = arrays()
    with observe(tmp_path / "recorded") as server:
        for smashed, gradient, labels in zip(*some.values(), strict=True):
            received = smashed.clone().requires_grad_()
            with server.step(received, labels=labels):
                (received * gradient).sum().backward()
    return load_transcript(tmp_path / "recorded")


def same(ours, theirs):
    assert ours.observer == theirs.observer
    assert list(ours.headers) == list(theirs.headers)
    for one, other in zip(ours, theirs, strict=True):
        assert one.tensor.dtype == other.tensor.dtype
        assert torch.equal(one.tensor, other.tensor)


def npz(some, folder):
    np.savez(folder / "arrays.npz", **numpy(some))
    return folder / "arrays.npz"


def compressed(some, folder):
    np.savez_compressed(folder / "arrays.npz", **numpy(some))
    return str(folder / "arrays.npz")


def safetensors(some, folder):
    save_file({name: value.contiguous() for name, value in some.items()}, folder / "arrays.safetensors")
    return folder / "arrays.safetensors"


def npy(some, folder):
    (folder / "dump").mkdir()
    for name, value in numpy(some).items():
        np.save(folder / "dump" / f"{name}.npy", value)
    return folder / "dump"


def mapping(some, _):
    return some


def lists(some, _):
    return {name: value.tolist() for name, value in some.items()}


@pytest.mark.parametrize("axes", ["steps", "batch size", "step"])
@pytest.mark.parametrize("form", [npz, compressed, safetensors, npy, mapping, lists])
def test_every_form_gives_what_a_recorder_leaves(form, axes, recorded, tmp_path):
    some, options = arrays(), {}
    if axes != "steps":
        some = flat(some)
    if axes == "step":
        some["step"] = torch.arange(STEPS).repeat_interleave(BATCH)
    if axes == "batch size":
        options["batch_size"] = BATCH
    made = import_arrays(form(some, tmp_path), tmp_path / "imported", **options)
    same(load_transcript(tmp_path / "imported"), recorded)
    assert made.steps == STEPS
    assert made.shapes == {"smashed": (BATCH, 2, 5), "labels": (BATCH,), "cut_grad": (BATCH, 2, 5)}


def test_the_command_maps_names_and_leaves_out_others(recorded, tmp_path, monkeypatch, capsys):
    some = arrays()
    renamed = {"acts": some["smashed"], "grads": some["cut_grad"], "labels": some["labels"], "epoch": torch.arange(3)}
    options = ["--smashed", "acts", "--cut-grad", "grads", "--ignore", "epoch", "--out", str(tmp_path / "imported")]
    found = run("import", str(npz(renamed, tmp_path)), *options, "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.output)["shapes"]["cut_grad"] == [BATCH, 2, 5]
    same(load_transcript(tmp_path / "imported"), recorded)
    code, printed = program(monkeypatch, capsys, "import", tmp_path / "arrays.npz", *options)
    assert code == 2
    assert "holds a transcript already" in printed.err
    options[-1] = str(tmp_path / "other")
    code, printed = program(monkeypatch, capsys, "import", tmp_path / "arrays.npz", *options)
    assert code == 0
    assert printed.out.startswith("3 steps in ")


def test_numbers_of_steps_and_batches_of_other_sizes(tmp_path):
    steps = np.array([4, 4, 4, 7, 9, 9], np.uint16)
    features = np.arange(12.0, dtype=">f8").reshape(6, 2)
    gradient = np.ones((6, 2), np.float16)
    import_arrays({"features": features, "feature_grad": gradient, "step": steps}, tmp_path, client="ann")
    view = load_transcript(tmp_path)
    assert view.steps == (4, 7, 9)
    assert [len(message.tensor) for message in view.of(Kind.FEATURES)] == [3, 1, 2]
    assert torch.equal(view.tensor(Kind.FEATURES), torch.arange(12.0).reshape(6, 2))
    assert [(header.sender, header.receiver) for header in view.headers[:2]] == [("server", "ann"), ("ann", "server")]


def test_the_last_batch_may_be_smaller(tmp_path):
    import_arrays({"smashed": np.ones((7, 3), np.float32)}, tmp_path, batch_size=3)
    assert [len(message.tensor) for message in load_transcript(tmp_path)] == [3, 3, 1]


def test_bfloat16_tensors(tmp_path):
    some = {"smashed": arrays()["smashed"].bfloat16()}
    import_arrays(safetensors(some, tmp_path), tmp_path / "imported")
    assert torch.equal(
        load_transcript(tmp_path / "imported").tensor(Kind.SMASHED), some["smashed"].flatten(0, 1).float()
    )


def changed(**others):
    """The arrays with some others, or without those that are None."""
    return {name: value for name, value in (numpy(arrays()) | others).items() if value is not None}


def spoilt(value):
    smashed = arrays()["smashed"].numpy()
    smashed[1, 2, 0, 3] = value
    return smashed


TRACES = np.array(["a"] * 12).reshape(3, 4)
REFUSED = {
    "neither 'smashed' nor 'features' among labels": (changed(smashed=None, cut_grad=None), {}),
    "'cut_grad' without 'smashed'": (changed(smashed=None, features=arrays()["smashed"], labels=None), {}),
    "has the shape (3, 4, 2) and 'smashed' (3, 4, 2, 5)": (changed(cut_grad=np.ones((3, 4, 2))), {}),
    "'labels' has the shape [2, 4, ...] and 'smashed' has the shape [3, 4, ...]": (changed(labels=np.ones((2, 4))), {}),
    "write `names={'smashed': 'smahsed'}`": (changed(smahsed=np.ones(3)), {}),
    "leave it out by `ignore=['epoch']`": (changed(epoch=np.ones(3)), {}),
    "by `ignore=['labels']`": (changed(features=arrays()["smashed"]), {}),
    "Unknown array to map to 'smash'": (changed(), {"names": {"smash": "x"}}),
    "There is no array 'acts'; the source holds cut_grad": (changed(), {"names": {"smashed": "acts"}}),
    "There is no array 'lr'": (changed(), {"ignore": ("lr",)}),
    "Both 'acts' and 'smashed' would be 'smashed'": (changed(acts=np.ones(3)), {"names": {"smashed": "acts"}}),
    "must not decrease": ({"smashed": np.ones((3, 2)), "step": np.array([0, 2, 1])}, {}),
    "from 0": ({"smashed": np.ones((3, 2)), "step": np.array([-1, 0, 1])}, {}),
    "give one of them": ({"smashed": np.ones((3, 2)), "step": np.arange(3)}, {"batch_size": 2}),
    "'step' has 2 samples and 'smashed' has 3 samples": ({"smashed": np.ones((3, 2)), "step": np.arange(2)}, {}),
    "say how many samples a step has": ({"smashed": np.ones((3, 2))}, {}),
    "The batch size is 0": ({"smashed": np.ones((3, 2))}, {"batch_size": 0}),
    "not that of the server": (changed(), {"client": "server"}),
}  # fmt: skip
UNREADABLE = {
    "'smashed' holds NaN or infinity in step 1": spoilt(np.nan),
    "holds NaN or infinity": spoilt(-np.inf),
    "NaN or infinity in step 0": np.full((3, 4, 2, 5), 1e300),
    "of the type int64; floating-point numbers are expected": np.ones((3, 4, 2, 5), np.int64),
    "of the type complex128": np.ones((3, 4, 2, 5), np.complex128),
    "of the type <U1": TRACES,
    "of the type object": TRACES.astype(object),
    # As numpy keeps bfloat16: two bytes, without their meaning.
    "of the type |V2; turn bfloat16 and float8": np.zeros((3, 4, 2, 5), "V2"),
    "must hold some samples": np.ones((3, 0, 4)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_arrays_that_disagree_get_a_sentence(reason, tmp_path):
    some, options = REFUSED[reason]
    with pytest.raises(InputError) as caught:
        import_arrays(some, tmp_path / "imported", **options)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("reason", UNREADABLE)
def test_arrays_of_something_else_get_a_sentence(reason, tmp_path):
    with pytest.raises(DataError) as caught:
        import_arrays({"smashed": UNREADABLE[reason]}, tmp_path / "imported")
    assert reason in str(caught.value)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("wrong", [{"labels": TRACES}, {"step": np.ones(3)}, {"smashed": torch.ones(3, 4, 2, 5).int()}])
def test_types_of_other_arrays_are_checked(wrong, tmp_path):
    with pytest.raises(DataError, match="numbers are expected"):
        import_arrays(numpy(flat(arrays())) | wrong if "step" in wrong else changed(**wrong), tmp_path / "imported")


def test_numbers_of_a_type_that_numpy_writes_and_cannot_read_get_a_sentence(tmp_path):
    """As float8_e5m2 of JAX is written, under a name that numpy does not have."""
    np.save(tmp_path / "smashed.npy", np.ones((3, 4), np.uint8))
    written = (tmp_path / "smashed.npy").read_bytes()
    (tmp_path / "smashed.npy").write_bytes(written.replace(b"'|u1'", b"'<f1'"))
    with pytest.raises(DataError, match="turn bfloat16 and float8"):
        import_arrays(tmp_path, tmp_path / "imported")


class Harmful:
    """An object whose loading would be noticed."""

    def __reduce__(self):
        return (open, ("loaded", "w"))


def objects(folder):
    np.savez(folder / "arrays.npz", smashed=np.array([Harmful()], object))
    return folder / "arrays.npz"


def an_object_file(folder):
    (folder / "dump").mkdir()
    np.save(folder / "dump" / "smashed.npy", np.array([Harmful()], object))
    return folder / "dump"


def pickled(folder):
    (folder / "arrays.pt").write_bytes(pickle.dumps(Harmful()))
    return folder / "arrays.pt"


def pickled_under_another_name(folder):
    (folder / "arrays.npz").write_bytes(pickle.dumps(Harmful()))
    return folder / "arrays.npz"


def test_what_is_left_out_is_not_read(tmp_path):
    np.savez(tmp_path / "arrays.npz", smashed=np.ones((2, 3, 4)), meta=np.array([Harmful()], object))
    import_arrays(tmp_path / "arrays.npz", tmp_path / "imported", ignore=["meta"])
    assert load_transcript(tmp_path / "imported").steps == (0, 1)


def cut_off(folder):
    path = npz(arrays(), folder)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def altered(folder):
    path = npz(arrays(), folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    return path


def no_safetensors(folder):
    (folder / "arrays.safetensors").write_bytes(b"nothing of the kind")
    return folder / "arrays.safetensors"


def missing(folder):
    return folder / "arrays.npz"


@pytest.mark.parametrize(
    "source",
    [objects, an_object_file, pickled, pickled_under_another_name, cut_off, altered, no_safetensors, missing],
)
def test_no_file_is_unpickled_or_half_read(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = source(tmp_path)
    (tmp_path / "loaded").unlink(missing_ok=True)
    with pytest.raises(DataError) as caught:
        import_arrays(path, tmp_path / "imported")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "loaded").exists()
    assert not (tmp_path / "imported").exists()


def test_a_folder_without_arrays(tmp_path):
    with pytest.raises(InputError, match="among no arrays"):
        import_arrays(tmp_path, tmp_path / "imported")
