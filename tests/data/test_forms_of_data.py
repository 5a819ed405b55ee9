"""The same data in many forms are the same data: pictures of 8 and 12 bits, arrays of every kind of number, tables."""

import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from unsplit.attacks.inversion import JointConfig, presets
from unsplit.cli.data import verify as verify_command
from unsplit.data import SOURCES, as_read, from_tensors, load, verify
from unsplit.data.numbers import plain
from unsplit.errors import DataError, InputError, StorageError
from unsplit.experiment import AuditConfig, audit
from unsplit.experiment.inversion import presets_for
from unsplit.experiment.traffic.labels import read_known
from unsplit.experiment.traffic.truth import RecordedTruth, about_the_range, read_truth
from unsplit.randomness import generator, seeded
from unsplit.ranges import UNIT, InputRange
from unsplit.studies.tradeoff import TradeoffSelection, fitting_selection
from unsplit.studies.tradeoff._points import _values
from unsplit.verdict import verdict

SAMPLES = 24


def build_net():
    return nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 576, 2))


@pytest.fixture(scope="module")
def pixels(digits):
    """Pictures of 0 to 255 and of two classes, class by class; each darkest and brightest value occurs."""
    order = torch.cat([(digits.train.labels == label).nonzero()[: SAMPLES // 2, 0] for label in (0, 1)])
    return (digits.train.images[order] * 255).round()


LABELS = torch.arange(2).repeat_interleave(SAMPLES // 2)


def write_folder(path, pixels, levels):
    """PNGs of these levels in a folder a class."""
    for number, (picture, label) in enumerate(zip(pixels, LABELS.tolist(), strict=True)):
        file = path / str(label) / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        values = (picture[0] / 255 * levels).round().numpy()
        Image.fromarray(values.astype(np.uint16 if levels > 255 else np.uint8)).save(file)
    return path


def write_npz(path, x, y=LABELS):
    np.savez(path.with_suffix(".npz"), x=x, y=np.asarray(y))
    return path.with_suffix(".npz")


def write_safetensors(path, x, y=LABELS):
    save_file({"x": x.contiguous(), "y": y}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


FORMS = {
    "8-bit PNG": lambda path, x: write_folder(path, x, 255),
    "10 bits in 16-bit PNG": lambda path, x: write_folder(path, x, 1023),
    "12 bits in 16-bit PNG": lambda path, x: write_folder(path, x, 4095),
    "16-bit PNG": lambda path, x: write_folder(path, x, 65535),
    "npz uint8": lambda path, x: write_npz(path, x.numpy().astype(np.uint8)),
    "npz int16": lambda path, x: write_npz(path, x.numpy().astype(np.int16)),
    "npz uint16, 12 bits": lambda path, x: write_npz(path, (x / 255 * 4095).round().numpy().astype(np.uint16)),
    "npz int32": lambda path, x: write_npz(path, x.numpy().astype(np.int32)),
    "npz uint64": lambda path, x: write_npz(path, x.numpy().astype(np.uint64)),
    "npz big-endian": lambda path, x: write_npz(path, x.numpy().astype(">i2")),
    "npz column order": lambda path, x: write_npz(path, np.asfortranarray((x / 255).numpy())),
    "npz float16": lambda path, x: write_npz(path, (x / 255).numpy().astype(np.float16)),
    "npz float32 of 0 to 255": lambda path, x: write_npz(path, x.numpy()),
    "npz float64": lambda path, x: write_npz(path, (x / 255).double().numpy()),
    "npz float32 of a sixteenth": lambda path, x: write_npz(path, (x / 255 / 16).numpy()),
    "safetensors uint8": lambda path, x: write_safetensors(path, x.byte()),
    "safetensors uint16": lambda path, x: write_safetensors(path, x.to(torch.uint16)),
    "safetensors uint32": lambda path, x: write_safetensors(path, x.to(torch.uint32)),
    "safetensors bfloat16": lambda path, x: write_safetensors(path, (x / 255).bfloat16()),
    "safetensors float64": lambda path, x: write_safetensors(path, (x / 255).double()),
}
ATTACKED = ("8-bit PNG", "12 bits in 16-bit PNG", "npz float32 of a sixteenth", "safetensors bfloat16")


@pytest.mark.parametrize("form", FORMS)
def test_pictures_are_the_same_in_every_form(form, pixels, tmp_path):
    splits = load(FORMS[form](tmp_path / "set", pixels))
    expected = load(FORMS["npz uint8"](tmp_path / "reference", pixels))
    assert splits.train.classes == ("0", "1")
    assert torch.equal(splits.train.labels, expected.train.labels)
    assert splits.train.images.dtype is torch.float32
    for part, other in ((splits.train, expected.train), (splits.test, expected.test)):
        assert float((part.images - other.images).abs().max()) < 0.005


def test_verdicts_are_the_same_in_every_form(pixels, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "joint", lambda _: JointConfig(steps=100))
    rows, scores = [], []
    for number, form in enumerate(ATTACKED):
        config = AuditConfig(
            data=str(FORMS[form](tmp_path / str(number), pixels)), model=f"{__name__}:build_net", cuts=(1,), epochs=2,
            batch_size=8, presets=("joint",), states=("after",), label_setups=(), targets_per_class=2,
        )  # fmt: skip
        found = audit(config).result
        scores.append(next(score.score for score in verdict(found).scores if score.asset == "inputs"))
        rows += found.inversion
    for row, score in zip(rows, scores, strict=True):
        assert row.mse_best_trivial == pytest.approx(rows[0].mse_best_trivial, rel=0.02)
        assert row.mse == pytest.approx(rows[0].mse, rel=0.05)
        assert score == pytest.approx(scores[0], abs=0.03)


def test_what_was_decided_about_depth_is_said_and_can_be_set(pixels, tmp_path):
    deep = write_folder(tmp_path / "deep", pixels, 4095)
    assert "use 0 to 4095" in load(deep).train.notes[0]
    set_by_hand = load(deep, input_range=InputRange.of("0,8190")).train
    assert float(set_by_hand.images.max()) == pytest.approx(0.5)
    assert not set_by_hand.notes
    with pytest.raises(InputError, match="beyond the range 0 to 255"):
        load(deep, input_range=InputRange.of("0,255"))
    faint = write_npz(tmp_path / "faint", (pixels / 255 / 16).numpy())
    assert "a small part of 0 to 1" in load(faint).train.notes[0]
    assert float(load(faint, input_range=InputRange.of("0,1")).train.images.max()) == pytest.approx(1 / 16)
    with pytest.raises(DataError, match="leave it out"):
        load("digits", input_range=InputRange.of("0,255"))


def test_volumes_with_negative_values_are_scaled_by_what_they_span(tmp_path):
    volume = np.linspace(-1024, 3071, SAMPLES * 27).reshape(SAMPLES, 1, 3, 3, 3).astype(np.int16)
    train = load(write_npz(tmp_path / "ct", volume)).train
    assert train.input_shape == (1, 3, 3, 3)
    assert "-1024 to 3071" in train.notes[-1]
    assert set(train.scaling.to_own(train.images).round().int().flatten().tolist()) <= set(volume.flatten().tolist())


KINDS = {
    "double": lambda x: (x / 255).double(),
    "half": lambda x: (x / 255).half(),
    "bfloat16": lambda x: (x / 255).bfloat16(),
    "bytes": lambda x: x.byte(),
    "int32": lambda x: x.int(),
    "uint16": lambda x: x.to(torch.uint16),
    "sparse": lambda x: (x / 255).to_sparse(),
    "quantised": lambda x: torch.quantize_per_tensor(x / 255, 1 / 255, 0, torch.quint8),
    "with a graph": lambda x: (x / 255).requires_grad_(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*quantiz.*:DeprecationWarning", "ignore:.*quantiz.*:UserWarning")
def test_tensors_of_every_kind(kind, pixels):
    data = from_tensors(KINDS[kind](pixels), LABELS)
    assert data.images.dtype is torch.float32
    assert not data.images.requires_grad
    assert float((data.images - pixels / 255).abs().max()) < 0.005


def test_tensors_of_booleans_and_in_units_of_their_own(pixels):
    assert set(from_tensors(pixels > 100, LABELS).images.unique().tolist()) == {0.0, 1.0}
    data = from_tensors(pixels - 128, LABELS, input_range=(-128, 127))
    assert torch.allclose(data.images, pixels / 255)
    assert torch.allclose(data.scaling.to_own(data.images), pixels - 128, atol=1e-3)


CLASSES = {
    "int32": LABELS.int(), "uint8": LABELS.byte(), "bool": LABELS.bool(), "int16": LABELS.short(),
    "float": LABELS.float(), "double": LABELS.double(), "column": LABELS[:, None],
    "float column": LABELS[:, None].float(),
    "one-hot": nn.functional.one_hot(LABELS), "float one-hot": nn.functional.one_hot(LABELS).float(),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
def test_labels_are_told_by_their_values(kind, pixels, tmp_path):
    labels = CLASSES[kind]
    expected = load(write_npz(tmp_path / "reference", pixels.numpy())).train
    for path in (
        write_npz(tmp_path / "a", pixels.numpy(), labels.numpy()), write_safetensors(tmp_path / "b", pixels, labels),
    ):  # fmt: skip
        train = load(path).train
        assert train.classes == ("0", "1")
        assert torch.equal(train.labels, expected.labels)
        said = any("read as" in note for note in train.notes)
        assert said == ("float" in kind or "hot" in kind or kind == "double")
    data = from_tensors(pixels / 255, labels)
    assert (data.classes, data.labels.tolist()) == (("0", "1"), LABELS.tolist())


def test_labels_of_a_regression_stay_one_and_say_so_where_they_look_like_classes(tmp_path):
    x = np.random.default_rng(0).random((60, 3))
    assert load(write_npz(tmp_path / "a", x, x[:, 0])).train.regression
    counted = load(write_npz(tmp_path / "b", x, np.arange(60.0))).train
    assert counted.regression
    assert "give integers if they are classes" in counted.notes[0]
    assert from_tensors(
        torch.rand((4, 3), generator=generator(0)), torch.tensor([0.0, 1.0, 0.0, 1.0]), classes=()
    ).regression


class Embeds(nn.Module):
    """Reads tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 4)

    def forward(self, x):
        return self.table(x.long())


def build_tokens():
    with seeded(0):
        return nn.Sequential(Embeds(), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 2))


def build_bare():
    with seeded(0):
        return nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(24, 2))


class Mixed(nn.Module):
    """Reads a number, and a category by an embedding."""

    def __init__(self):
        super().__init__()
        self.table, self.rest = nn.Embedding(9, 4), nn.Linear(5, 2)

    def forward(self, x):
        return self.rest(torch.cat([self.table(x[:, 1].long()), x[:, :1]], 1))


def build_mixed():
    with seeded(0):
        return Mixed()


@pytest.fixture
def tokens(tmp_path):
    x = np.random.default_rng(0).integers(0, 50, (60, 6))
    return write_npz(tmp_path / "tokens", x, x[:, 0] % 2)


QUIET = {
    "presets": ("joint",),
    "states": ("after",),
    "epochs": 1,
    "label_steps": 4,
    "label_heads": (1,),
    "batch_size": 16,
}


def test_tokens_stay_whole_and_are_not_called_unrecovered(tokens, monkeypatch):
    seen = []
    forward = Embeds.forward
    monkeypatch.setattr(Embeds, "forward", lambda self, x: (seen.append(x.clone()), forward(self, x))[1])
    config = AuditConfig(data=str(tokens), model=f"{__name__}:build_tokens", cuts=(2,), label_setups=("b",), **QUIET)
    found = audit(config).result
    assert not found.inversion
    assert found.labels
    assert any("tokens" in note and "not measured" in note for note in found.training.notes)
    assert next(score for score in verdict(found).scores if score.asset == "inputs").score is None
    with np.load(tokens) as arrays:
        whole = arrays["x"]
    batches = [batch for batch in seen if len(batch) > 2]
    assert set(torch.cat(batches).flatten().int().tolist()) <= set(whole.flatten().tolist())
    assert max(float(batch.max()) for batch in batches) > 40


def test_tokens_alone_are_refused_in_a_sentence(tokens):
    config = AuditConfig(data=str(tokens), model=f"{__name__}:build_tokens", cuts=(2,), label_setups=(), **QUIET)
    with pytest.raises(InputError, match="no attack here recovers tokens"):
        audit(config)
    with pytest.raises(InputError, match=r"inputs\.long\(\)"):
        audit(AuditConfig(data=str(tokens), model=f"{__name__}:build_bare", cuts=(1,), **QUIET))


def test_one_column_that_an_embedding_reads_stays_whole(tmp_path):
    rows = [f"{0.5 * row},{row % 9},{'ab'[row % 2]}" for row in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["weight,city,ill", *rows]))
    train = load(tmp_path / "t.csv").train
    (read,) = as_read(build_mixed(), train)
    assert read.tokens == ("city",)
    assert set(read.images[:, 1].tolist()) == set(range(9))
    assert torch.equal(read.images[:, 0], train.images[:, 0])
    halves = [f"{row % 9},{0.5 * row},{'ab'[row % 2]}" for row in range(40)]
    (tmp_path / "u.csv").write_text("\n".join(["city,weight,ill", *halves]))
    with pytest.raises(DataError, match="they are not whole numbers"):
        as_read(build_mixed(), load(tmp_path / "u.csv").train)


ROWS = [(0.5, 1200, "Ankara"), (1.25, 3400, "Izmir"), (2.75, 800, "Ankara"), (3.5, 12000, "Izmir")] * 3


def table(separator=",", point=".", between="", *, index=False):
    lines = [separator.join([*([""] if index else []), "weight", "income", "city", "ill"])]
    for number, (weight, income, city) in enumerate(ROWS):
        cells = [str(weight).replace(".", point), f"{income:,}".replace(",", between), city, str(number % 2)]
        lines.append(separator.join([*([str(number)] if index else []), *cells]))
    return "\n".join(lines)


TABLES = {
    "t.csv": table().encode(),
    "semicolons.csv": table(";").encode(),
    "tabs.tsv": table("\t").encode(),
    "bars.csv": table("|").encode(),
    "decimal comma.csv": table(";", ",").encode(),
    "decimal comma and thousands.csv": table(";", ",", ".").encode(),
    "thousands.csv": table(";", ".", ",").encode(),
    "blanks.csv": table(";", ",", " ").encode(),
    "utf16.csv": table().encode("utf-16"),
    "bom.csv": table().encode("utf-8-sig"),
    "packed.csv.gz": gzip.compress(table().encode()),
    "index.csv": table(index=True).encode(),
    "UPPER.CSV": table().encode(),
    "returns.csv": table().replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_the_same_however_it_is_written(name, tmp_path):
    (tmp_path / "expected.csv").write_bytes(TABLES["t.csv"])
    (tmp_path / name).write_bytes(TABLES[name])
    expected, found = load(tmp_path / "expected.csv").train, load(tmp_path / name).train
    assert found.features == ("weight", "income", "city=Ankara", "city=Izmir")
    assert torch.equal(found.images, expected.images)
    assert found.classes == ("0", "1")
    assert bool(found.notes) == (name.startswith(("decimal", "blanks", "index")))


def test_columns_that_lack_values_are_named_at_once(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c,y\n1,,2,p\n2,3,NA,q\n3,4,,p\n")
    with pytest.raises(DataError, match=r"'b' of .* lacks 1 of 3 .* 'c' of .* lacks 2 of 3"):
        load(tmp_path / "t.csv")


def test_dates_and_names_are_named_rather_than_taken_for_categories(tmp_path):
    rows = [f"{row},2024-{1 + row % 12:02}-{1 + row % 28:02},person {row},{row % 2}" for row in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["n,date,name,y", *rows]))
    with pytest.raises(DataError, match=r"'date' \(60 values\), 'name' \(60 values\)") as caught:
        load(tmp_path / "t.csv")
    assert "turn dates into numbers" in str(caught.value)
    (tmp_path / "u.csv").write_text("\n".join(["id,x,y", *(f"{row},{row % 7},{row % 2}" for row in range(60))]))
    assert load(tmp_path / "u.csv").train.notes == (
        "The column 'id' counts the rows; remove it if it is not an input.",
    )
    (tmp_path / "v.csv").write_text(
        "\n".join(["x,y", *(f"{'oops' if row == 5 else row},{row % 2}" for row in range(9))])
    )
    with pytest.raises(DataError, match="holds 'oops' in row 7"):
        load(tmp_path / "v.csv")


@pytest.mark.parametrize("name", [
    "a.h5", "a.mat", "a.nii.gz", "a.dcm", "a.pkl", "a.pt", "a.xlsx", "a.zip", "a.png", "a.unknown", "noending",
])  # fmt: skip
def test_a_file_that_exists_is_never_an_unknown_data_set(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(DataError, match="of a kind that unsplit does not read") as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert ".parquet" in str(caught.value)


def test_a_parquet_file_is_read_or_says_what_reads_it(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"pyarrow|cannot be read as a table"):
        load(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["nothing.csv", "nothing.npz", "nothing.h5", "no/such"])
def test_a_file_that_is_missing_is_called_missing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="There is no f"):
        load(name)


def test_numbers_beyond_64_bits_and_texts_are_sentences():
    for array in (np.array([2**64 - 1], dtype=np.uint64), np.array(["a"]), np.array([1j])):
        with pytest.raises(DataError, match="give"):
            plain(array, "The array x")


def test_a_trade_off_of_a_table_leaves_out_what_makes_pictures(tmp_path):
    (tmp_path / "t.csv").write_bytes(TABLES["t.csv"])
    train = load(tmp_path / "t.csv").train
    chosen, said = fitting_selection(TradeoffSelection(), train)
    assert chosen.attacks == ("joint",)
    assert "'decoder' makes pictures and signals only" in said
    with pytest.raises(InputError, match=r"`attacks=\('joint',\)`"):
        fitting_selection(TradeoffSelection(attacks=("decoder",)), train)
    with pytest.raises(InputError, match="regression"):
        fitting_selection(TradeoffSelection(), from_tensors(train.images, train.images[:, 0]))


def test_a_trade_off_of_a_table_has_no_structural_similarity():
    inputs = {"mse": 0.1, "mse_best_trivial": 0.2, "skill": 0.5, "ssim": None, "clone_accuracy": 0.9}
    row = {"accuracy": 0.9, "chance": 0.5, "seconds": 0.1, "bytes": 64, "label_chance": 0.5,
           "labels": {"unaware": 0.7, "aware": 0.8}, "unaware": inputs, "aware": inputs}  # fmt: skip
    found = {metric for (metric, _), _, _ in _values([row])}
    assert {"mse", "skill", "clone_accuracy"} <= found
    assert "ssim" not in found


def test_a_trade_off_of_pictures_keeps_everything(digits):
    assert fitting_selection(TradeoffSelection(), digits.train) == (TradeoffSelection(), None)


def test_presets_that_cannot_make_such_inputs_are_left_out_and_named():
    assert presets_for(("strong", "joint"), (4,)) == (
        ("joint",),
        ("The preset strong makes pictures and signals only and was left out.",),
    )
    assert presets_for(("strong", "joint"), (1, 50)) == (("strong", "joint"), ())


def test_a_truth_that_fills_a_small_part_of_the_range_is_said_to():
    steps = torch.zeros(4, dtype=torch.int64)
    truth = RecordedTruth(steps=steps, labels=steps, inputs=torch.linspace(0, 1 / 16, 16).view(4, 4))
    assert "The truth fills only 0 to 0.0625" in about_the_range(truth, UNIT)[0]
    assert about_the_range(truth, InputRange.of((0, 1 / 16))) == ()


@pytest.mark.parametrize("labels", [LABELS.int(), LABELS.short(), LABELS.byte(), LABELS.bool(), LABELS[:, None]])
def test_a_truth_s_labels_of_any_whole_kind_are_classes(labels, pixels, tmp_path):
    save_file({"steps": LABELS * 0, "labels": labels.contiguous(), "inputs": (pixels / 255).half()}, tmp_path / "truth")
    truth = read_truth(tmp_path / "truth")
    assert torch.equal(truth.labels, LABELS)
    assert truth.inputs.dtype is torch.float32


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(StorageError, match=r"There is no .*known\.csv; check the name"):
        read_known(tmp_path / "known.csv")
    with pytest.raises(StorageError, match="is a folder; name a file"):
        read_known(tmp_path)
    (tmp_path / "wide.csv").write_bytes("0,1\n".encode("utf-16"))
    with pytest.raises(InputError, match="not a list of known samples"):
        read_known(tmp_path / "wide.csv")


def idx_files_in(folder, seed):
    """A small set under MNIST's names."""
    for part, name in (("train", "train"), ("test", "t10k")):
        pictures = np.random.default_rng(seed + len(part)).integers(0, 256, (20, 28, 28), dtype=np.uint8)
        labels = ((np.arange(20) + seed) % 10).astype(np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 20, 28, 28) + pictures.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 20) + labels.tobytes())


def sums(folder):
    return tuple(hashlib.md5((folder / name).read_bytes()).hexdigest() for name in SOURCES["mnist"].files)


def test_files_are_held_against_what_was_published(tmp_path, monkeypatch):
    """Clothes under the names of digits are refused, and files that nobody published are said to be so."""
    idx_files_in(tmp_path / "mnist", 0)
    idx_files_in(tmp_path / "clothes", 1)
    for name, folder in (("mnist", "mnist"), ("fashion-mnist", "clothes")):
        monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], md5=sums(tmp_path / folder)))
    assert not load("mnist", root=tmp_path).train.notes
    assert {status.status for status in verify("mnist", root=tmp_path)} == {"as published"}
    for name in SOURCES["mnist"].files:
        (tmp_path / "mnist" / name).write_bytes((tmp_path / "clothes" / name).read_bytes())
    with pytest.raises(DataError, match="is a file of fashion-mnist under the name of one of mnist"):
        load("mnist", root=tmp_path)
    first = verify("mnist", root=tmp_path)[0]
    assert (first.status, first.md5) == ("differs from the published file", sums(tmp_path / "clothes")[0])
    assert first.expected == SOURCES["mnist"].md5[0]
    idx_files_in(tmp_path / "mnist", 7)
    assert "Files of mnist that differ from the published ones" in load("mnist", root=tmp_path).train.notes[0]


def test_verify_names_the_sums_and_exits_with_1(tmp_path, capsys):
    idx_files_in(tmp_path / "mnist", 0)
    with pytest.raises(typer.Exit) as caught:
        verify_command("mnist", root=tmp_path, json=True)
    assert caught.value.exit_code == 1
    assert sums(tmp_path / "mnist")[0] in capsys.readouterr().out
