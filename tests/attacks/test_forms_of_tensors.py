"""Whatever form tensors have when they cross, parties, files and attacks take the numbers in them, and nothing else."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.attacks import TABLE, called, whole_view
from unsplit import Recorder, import_arrays, load_transcript, observe, save_transcript
from unsplit.attacks import readable
from unsplit.attacks.inversion import PRESETS, JointConfig
from unsplit.attacks.observed import class_numbers
from unsplit.data import Dataset
from unsplit.errors import InputError
from unsplit.experiment.traffic.attack import AttackConfig, attack_recorded
from unsplit.experiment.traffic.audit import RecordedConfig, audit_recorded
from unsplit.experiment.traffic.follow import follow
from unsplit.models import build, split
from unsplit.protocol.store import read_manifest
from unsplit.randomness import generator
from unsplit.types import InferredLabels, Kind, Message, Reconstruction, Selection, Transcript

# Quantised tensors are on their way out of torch, and there.
pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")


class Scan(torch.Tensor):
    """A tensor that knows where it came from, as MONAI's does."""


def scan(values):
    values = values.as_subclass(Scan)
    values.meta = {"filename_or_obj": "patient-7.nii.gz"}
    return values


FORMS = {
    "float32": lambda values: values.clone(),
    "bfloat16": lambda values: values.bfloat16(),
    "float16": lambda values: values.half(),
    "float64": lambda values: values.double(),
    "channels_last": lambda values: values.to(memory_format=torch.channels_last) if values.ndim == 4 else values,
    "subclass": scan,
    "parameter": nn.Parameter,
    "sparse": lambda values: values.to_sparse(),
    "quantised": lambda values: torch.quantize_per_tensor(values, 2**-7, 0, torch.qint8),
}
VALUES = torch.arange(4 * 2 * 3 * 3).reshape(4, 2, 3, 3) % 100 / 128  # exact in every form


def message(payload, step=0, kind=Kind.SMASHED):
    return Message(step=step, sender="client0", receiver="server", kind=kind, payload=payload)


def transcript(*messages):
    return Transcript(observer="server", messages=messages)


@pytest.mark.parametrize("form", FORMS)
def test_a_message_keeps_numbers_alone(form):
    crossed = FORMS[form](VALUES)
    kept = message(crossed).tensor
    assert type(kept) is torch.Tensor
    assert vars(kept) == {}
    assert not kept.requires_grad
    assert kept.layout is torch.strided
    assert torch.equal(kept.float(), VALUES)
    named = message({"bottom.weight": crossed}, kind=Kind.WEIGHTS).tensors["bottom.weight"]
    assert type(named) is torch.Tensor
    assert kept.data_ptr() != VALUES.data_ptr()


@pytest.mark.parametrize(
    ("payload", "said"),
    {
        "nested": (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged), "of the kind nest"),
        "meta": (torch.ones(2, device="meta"), "of the kind meta"),
    }.values(),
)
def test_what_holds_no_numbers_is_refused(payload, said):
    with pytest.raises(InputError, match=said):
        message(payload)


def test_a_transcript_is_made_of_messages():
    class Look:
        header, tensor = message(VALUES).header, VALUES.clone().requires_grad_() * 2

    view = transcript(message(VALUES))
    with pytest.raises(InputError, match="a Look is among these; make a Message of each"):
        replace(view, messages=[Look()])

    class Lazy(list):
        headers = (Look.header,)

    with pytest.raises(InputError, match="a Look is among these"):
        replace(view, messages=Selection(Lazy([Look()]), [0])).tensor(Kind.SMASHED)


@pytest.mark.parametrize("form", FORMS)
def test_recorder_and_store_keep_the_numbers(form, tmp_path):
    recorder = Recorder(observer="server", folder=tmp_path / "streamed")
    recorder.take(message(FORMS[form](VALUES)))
    saved = save_transcript(transcript(message(FORMS[form](VALUES))), tmp_path / "saved")
    for view in (recorder.transcript(), load_transcript(saved)):
        assert torch.equal(view.tensor(Kind.SMASHED).float(), VALUES)
        assert list(view.sizes) == [4]


@pytest.mark.filterwarnings("ignore:Tensors that cross in the observed loop carry:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_observe_and_import_keep_the_numbers(form, tmp_path):
    crossed = FORMS[form](VALUES)
    with observe(tmp_path / "observed") as server, server.step(crossed, labels=torch.arange(4), gradient=False):
        pass
    import_arrays({"smashed": crossed[None] if form != "quantised" else crossed.dequantize()[None]}, tmp_path / "made")
    for folder in ("observed", "made"):
        kept = load_transcript(tmp_path / folder).tensor(Kind.SMASHED)
        assert kept.dtype is torch.float32
        assert torch.equal(kept, VALUES)


@pytest.mark.parametrize("labels", ["int32", "int16", "int8", "uint8", "int64"])
def test_observe_and_import_keep_labels_of_any_whole_type(labels, tmp_path):
    crossed = torch.arange(4).to(getattr(torch, labels))
    with observe(tmp_path / "t") as server, server.step(VALUES, labels=crossed[:, None], gradient=False):
        pass
    import_arrays({"smashed": VALUES[None], "labels": crossed[None, :, None]}, tmp_path / "made")
    for folder in ("t", "made"):
        seen = readable(load_transcript(tmp_path / folder)).tensor(Kind.LABELS)
        assert torch.equal(seen, torch.arange(4))


@pytest.mark.parametrize(
    ("crossed", "expected"),
    {
        "binary floats": (torch.tensor([[1.0], [0.0]]), torch.tensor([1, 0])),
        "whole floats": (torch.tensor([3.0, 0.0]), torch.tensor([3, 0])),
        "one-hot": (torch.eye(3)[[2, 0]], torch.tensor([2, 0])),
        "regression": (torch.tensor([[1.5], [0.0]]), torch.tensor([[1.5], [0.0]])),
        "several outputs": (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [0.0, 1.0]])),
    }.values(),
)
def test_labels_are_classes_by_their_values(crossed, expected):
    assert torch.equal(class_numbers(crossed), expected)


AS_THEY_ARE = (Kind.LABELS, Kind.WEIGHTS)


def in_form(one, form):
    """A message as it would have crossed in another form; labels and weights as they are."""
    if one.kind in AS_THEY_ARE:
        return one
    return replace(one, payload=FORMS[form](one.tensor))


def empty(one, step):
    return replace(one, step=step, payload=one.tensor[:0])


def view_in(form):
    """What a server of the U-shape saw, had it crossed in this form."""
    seen = whole_view()
    if form == "empty batch":
        last = {one.kind: one for one in seen if one.kind is not Kind.WEIGHTS}
        return transcript(*seen, *(empty(one, 20) for one in last.values()))
    return transcript(*(in_form(one, form) for one in seen))


@functools.cache
def found_in_numbers(function, rounded):
    """What an attack finds in plain numbers, those of half precision or exact ones."""
    seen = view_in(rounded)
    numbers = [one if one.kind in AS_THEY_ARE else replace(one, payload=one.tensor.float()) for one in seen]
    return called(function, transcript(*numbers))


@pytest.mark.parametrize("form", ["bfloat16", "float16", "float64", "channels_last", "subclass", "empty batch"])
@pytest.mark.parametrize("function", TABLE)
def test_every_attack_takes_every_form(function, form):
    found = called(function, view_in(form))
    expected = found_in_numbers(function, form if form.endswith("float16") else "float32")
    for part in ("inputs", "residual") if isinstance(found, Reconstruction) else ("labels",):
        mine, other = (getattr(one, part, one) for one in (found, expected))
        if isinstance(found, torch.Tensor | Reconstruction | InferredLabels):
            assert torch.equal(mine.nan_to_num(), other.nan_to_num())


def test_a_data_set_keeps_numbers_alone():
    data = Dataset(name="scans", images=scan(VALUES.clone()), labels=torch.arange(4), classes=tuple("abcd"))
    assert type(data.images) is torch.Tensor
    assert vars(data.images) == {}


def observed_scans(folder):
    """Traffic of scans that a server received with their names, the last batch of none."""
    bottom, _ = split(build("mnist-net", generator=generator(0)), 1)
    server = observe(folder)
    for count in (3, 0):
        with torch.no_grad():
            sent = scan(bottom(torch.rand(count, 1, 28, 28, generator=generator(1))))
        with server.step(sent, labels=torch.ones(count, 1), gradient=False):
            pass
    with pytest.warns(UserWarning, match="carry more than numbers"):
        server.close()
    return server


def test_what_is_carried_across_is_named_and_not_kept(tmp_path):
    """By the names of attributes; no file of the recording has their values."""
    server = observed_scans(tmp_path / "t")
    assert "meta[filename_or_obj]" in server.carried["smashed"]
    assert all(b"patient" not in file.read_bytes() for file in (tmp_path / "t").iterdir())
    assert "meta[filename_or_obj]" in read_manifest(tmp_path / "t").notes[0]
    with observe(tmp_path / "plain") as server, server.step(VALUES, gradient=False):
        pass
    assert server.carried == {}
    assert "notes" not in (tmp_path / "plain" / "manifest.json").read_text()


def test_the_last_batch_with_samples_is_attacked(tmp_path, monkeypatch):
    observed_scans(tmp_path / "t")
    monkeypatch.setitem(PRESETS, "joint-quick", lambda *_: JointConfig(steps=2))
    found = attack_recorded(tmp_path / "t", AttackConfig(preset="joint-quick"), tmp_path / "a")
    assert found.inputs == 3
    told = []
    request = AttackConfig(preset="joint-quick")
    follow(tmp_path / "t", request, tmp_path / "f", quiet_for=0.2, tell=lambda step, *_: told.append(step))
    assert told == [0]
    audited = audit_recorded(tmp_path / "t", RecordedConfig(presets=("joint-quick",))).result.recorded
    assert (audited.inversion[0].step, audited.inversion[0].samples, audited.steps) == (0, 3, 2)
    assert (audited.labels[0].attack, audited.labels[0].counts) == ("sent", (0, 3))
    assert "meta[filename_or_obj]" in audited.notes[0]
