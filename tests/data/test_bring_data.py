"""Data of one's own: folders of any pictures, tables, signals, several inputs, classes and regressions."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import nn

from unsplit.data import Dataset, Scaling, from_tensors, load, read_folder, stratified
from unsplit.errors import DataError, InputError
from unsplit.experiment import AuditConfig, audit, load_audit_config
from unsplit.metrics import baseline, likeness, performance, r2
from unsplit.randomness import generator
from unsplit.report import Pictures, write_report

QUICK = {"presets": ("joint-quick",), "states": ("after",), "label_setups": (), "epochs": 2, "row_knowledge": ()}


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def picture(path, size=(12, 10), mode="L", value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def table(tmp_path):
    return write_csv(
        tmp_path / "people.csv",
        [["age", "city", "height", "ill"]]
        + [[20 + at, ("Ankara", "Izmir")[at % 2], 150 + 2 * at, ("no", "yes")[at % 2]] for at in range(20)],
    )  # fmt: skip


def test_a_table_is_scaled_by_its_training_part_and_can_be_put_back(table):
    splits = load(table)
    assert splits.train.features == ("age", "city=Ankara", "city=Izmir", "height")
    assert splits.train.classes == ("no", "yes")
    assert (len(splits.train), len(splits.test)) == (16, 4)
    assert float(splits.train.images.min()) == 0
    assert float(splits.train.images.max()) == 1
    own = splits.train.scaling.to_own(splits.train.images.double())
    assert torch.allclose(own[:, 0] * 2 + 110, own[:, 3], atol=1e-4)
    assert set(own[:, 0].round().int().tolist()) <= set(range(20, 40))
    assert torch.equal(splits.train.labels, splits.train.images[:, 2].long())


def test_the_label_s_column_can_be_named_and_may_be_a_number(table):
    splits = load(table, label="height")
    assert splits.train.regression
    assert splits.train.classes == ()
    assert splits.train.outputs == 1
    assert splits.train.features[-1] == "ill=yes"
    assert float(splits.train.labels.mean()) == pytest.approx(0, abs=1e-6)
    assert float(splits.train.labels.std(unbiased=False)) == pytest.approx(1)
    targets = splits.test.one_per_class()
    assert len(targets) == 4
    assert torch.equal(targets.labels, targets.labels.sort().values)


BROKEN_TABLES = {
    "gap": ([["a", "b"], ["1", "x"], ["", "y"]], "lacks 1 of 2 values"),
    "nan": ([["a", "b"], ["1", "x"], ["NaN", "y"]], "column 'a'.* lacks 1"),
    "ragged": ([["a", "b"], ["1", "x"], ["2"]], "Row 3 .* has 1 values for 2 columns"),
    "short": ([["a", "b"], ["1", "x"]], "has 1 rows"),
    "unnamed": ([["a", "a"], ["1", "x"], ["2", "y"]], "does not name each column once"),
    "single": ([["a", "b"], ["1", "x"], ["2", "x"]], "is 'x' in every row"),
    "lonely": ([["b"], ["x"], ["y"]], "no column besides the label"),
}


@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_a_broken_table_is_one_sentence(tmp_path, name):
    rows, words = BROKEN_TABLES[name]
    with pytest.raises(DataError, match=words) as caught:
        load(write_csv(tmp_path / "t.csv", rows))
    assert "\n" not in str(caught.value)


def test_other_mistakes_with_tables_are_sentences(tmp_path, table):
    with pytest.raises(InputError, match="did you mean 'height'"):
        load(table, label="heigth")
    with pytest.raises(DataError, match="`label` names a column of a table"):
        load("digits", label="x")
    (tmp_path / "bad.csv").write_bytes(b"a,b\n\xff\xfe,1\n2,3\n")
    with pytest.raises(DataError, match="not UTF-8"):
        load(tmp_path / "bad.csv")


def test_arrays_of_signals_and_their_own_test_part(tmp_path):
    source = np.random.default_rng(0)
    path = tmp_path / "signals.npz"
    signals = source.normal(size=(30, 2, 16))
    np.savez(path, x=signals[:20], y=np.arange(20) % 3, x_test=signals[20:], y_test=np.arange(10) % 3)
    splits = load(path)
    assert splits.train.input_shape == (2, 16)
    assert splits.train.classes == ("0", "1", "2")
    assert (len(splits.train), len(splits.test)) == (20, 10)
    own = splits.train.scaling.to_own(splits.train.images)
    assert np.allclose(own.numpy(), signals[:20], atol=1e-5)


def test_bytes_are_taken_for_pictures_of_256_levels(tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, x=np.full((6, 1, 4, 4), 51, dtype=np.uint8), y=np.arange(6) % 2)
    assert float(load(path).train.images.max()) == pytest.approx(0.2)


def test_several_inputs_are_packed_with_their_shapes(tmp_path):
    path = tmp_path / "both.npz"
    images, ages = np.random.default_rng(0).random((10, 3, 4, 4)), np.arange(40.0).reshape(10, 4)
    np.savez(path, x_image=images, x_age=ages, y=np.arange(10) % 2)
    train = load(path).train
    assert train.inputs == (("image", (3, 4, 4)), ("age", (4,)))
    assert train.input_shape == (52,)
    assert float(train.images.max()) <= 1


BROKEN_ARRAYS = {
    "no inputs": ({"y": np.arange(3)}, r"has no array x \(it has y\)"),
    "no labels": ({"x": np.zeros((3, 2))}, "no labels y"),
    "lengths": ({"x": np.zeros((3, 2)), "y": np.arange(2)}, "3 inputs x and 2 labels y"),
    "NaN": ({"x": np.array([[0.0], [np.nan]]), "y": np.arange(2)}, "Sample 1 of the array x"),
    "text": ({"x": np.array([["a"], ["b"]]), "y": np.arange(2)}, "give numbers"),
    "bfloat16": ({"x": np.zeros((4, 2), "V2"), "y": np.arange(4)}, "turn bfloat16 and float8"),
    "columns": ({"x": np.zeros(4, [("event", "?"), ("days", "f8")]), "y": np.arange(4)}, "give numbers"),
    "flat": ({"x": np.zeros(3), "y": np.arange(3)}, r"give an array of shape \[samples, ...\]"),
    "one class": ({"x": np.zeros((3, 2)), "y": np.zeros(3, dtype=int)}, "0 everywhere"),
    "negative": ({"x": np.zeros((3, 2)), "y": np.array([-1, 0, 1])}, "the lowest is -1; give one class number"),
    "two forms": ({"x": np.zeros((3, 2)), "x_a": np.zeros((3, 2)), "y": np.arange(3)}, "both x and x_NAME"),
}


@pytest.mark.parametrize("name", BROKEN_ARRAYS)
def test_broken_arrays_are_one_sentence(tmp_path, name):
    arrays, words = BROKEN_ARRAYS[name]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=words) as caught:
        load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_python_objects_are_never_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object), y=np.arange(1))
    with pytest.raises(DataError, match="never read"):
        load(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "b.npz")


def test_pictures_of_all_kinds_come_to_one_size_and_range(tmp_path):
    picture(tmp_path / "a" / "grey.png", (20, 30))
    picture(tmp_path / "a" / "cmyk.jpg", (40, 30), "CMYK", (0, 255, 255, 0))
    Image.fromarray(np.full((9, 9), 32768, dtype=np.uint16)).save(tmp_path / "a" / "deep.png")
    picture(tmp_path / "b" / "rgb.png", (16, 8), "RGB", (255, 0, 0))
    frames = [Image.new("P", (16, 16), color) for color in (0, 1)]
    frames[0].save(tmp_path / "b" / "moving.gif", save_all=True, append_images=frames[1:])
    data = read_folder(tmp_path, image_size=(8, 12))
    assert data.images.shape == (5, 3, 8, 12)
    assert float(data.images[1].mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(data.images[2].mean()) == pytest.approx(128 / 255, abs=1e-3)
    with pytest.raises(DataError, match="`image_size"):
        read_folder(tmp_path)


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    for name in ("a", "b"):
        image = Image.fromarray(np.arange(50, dtype=np.uint8).reshape(5, 10))
        exif = image.getexif()
        exif[0x0112] = 6
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "p.png", exif=exif)
    assert read_folder(tmp_path).images.shape == (2, 1, 10, 5)


def test_huge_and_broken_pictures_are_sentences(tmp_path, monkeypatch):
    for name in ("a", "b"):
        picture(tmp_path / name / "p.png", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="too large"):
        read_folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    monkeypatch.setattr("unsplit.data.memory.room", lambda: 1000)
    with pytest.raises(DataError, match="GiB"):
        read_folder(tmp_path)
    (tmp_path / "a" / "p.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be read as a picture"):
        read_folder(tmp_path)


def test_a_labels_csv_takes_the_place_of_subfolders(tmp_path):
    for number in range(4):
        picture(tmp_path / f"{number}.png")
    write_csv(
        tmp_path / "labels.csv",
        [["file", "label"], *([f"{number}.png", "odd" if number % 2 else "even"] for number in range(4))],
    )
    data = read_folder(tmp_path)
    assert data.classes == ("even", "odd")
    assert data.labels.tolist() == [0, 1, 0, 1]
    write_csv(tmp_path / "labels.csv", [["file", "label"], ["0.png", "a"], ["9.png", "b"]])
    with pytest.raises(DataError, match=r"Row 3 .* names 9\.png"):
        read_folder(tmp_path)


def test_a_regression_s_data_are_checked_and_dealt_out():
    data = from_tensors(torch.rand((20, 3), generator=generator(0)), torch.arange(20.0))
    splits = stratified(data, 0.25, generator=generator(1))
    assert (len(splits.train), len(splits.test)) == (15, 5)
    with pytest.raises(DataError, match="no classes for a regression"):
        Dataset(name="x", images=torch.zeros(2, 1), labels=torch.zeros(2), classes=("a", "b"))
    with pytest.raises(DataError, match="NaN or infinity"):
        Dataset(name="x", images=torch.zeros(2, 1), labels=torch.tensor([0.0, torch.nan]), classes=())


def test_scores_of_a_regression():
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert performance(targets[:, None], targets) == 1.0
    assert r2(torch.full((4, 1), 2.5), targets) == 0.0
    assert r2(torch.zeros(4, 1), targets) == pytest.approx(1 - 30 / 5)
    assert baseline(targets) == 0.0
    assert likeness(targets[:, None], targets[:, None], targets) == 1.0
    assert performance(torch.eye(3), torch.arange(3)) == 1.0


def test_scaling_keeps_constant_columns_and_clips_what_it_has_not_seen():
    scaling = Scaling.of(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), each=True)
    assert scaling.to_unit(torch.tensor([[2.0, 5.0], [9.0, 5.0]])).tolist() == [[0.5, 0.0], [1.0, 0.0]]


def build_mlp():
    return nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 16), nn.ReLU(), nn.Linear(16, 2))


def build_regression():
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))


def build_signal_net():
    return nn.Sequential(
        nn.Conv1d(1, 12, 5), nn.ReLU(), nn.Conv1d(12, 8, 5), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 24, 3)
    )


class TwoInputs(nn.Module):
    """Looks at a picture and knows an age."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(1, 8, 3)
        self.know = nn.Linear(4, 16)
        self.mix = nn.Linear(8 * 36 + 16, 24)
        self.out = nn.Linear(24, 2)

    def forward(self, image, age):
        seen = torch.relu(self.look(image)).flatten(1)
        return self.out(torch.relu(self.mix(torch.cat([seen, torch.relu(self.know(age))], 1))))


def build_two():
    return TwoInputs()


def saved(folder, bunch, name):
    names = [*bunch.feature_names, name]
    rows = [[*row, label] for row, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True)]
    return write_csv(folder / f"{name}.csv", [names, *rows])


def model(function):
    return f"{__name__}:{function}"


def test_an_audit_of_a_table_with_classes(tmp_path):
    data = str(saved(tmp_path, load_breast_cancer(), "benign"))
    config = AuditConfig(data=data, model=model("build_mlp"), cuts=(0,), **QUICK | {"epochs": 40})
    found = audit(config)
    row = found.result.inversion[0]
    assert row.ssim is None
    assert row.reference_accuracy > 0.8
    assert row.mse < 10
    assert row.guesses["mean picture"] > 0
    assert found.result.training.input_shape == (30,)


def test_an_audit_of_a_regression_scores_by_r2_and_says_what_it_left_out(tmp_path):
    config = AuditConfig(
        data=str(saved(tmp_path, load_diabetes(), "progress")), model=model("build_regression"), cuts=(0,),
        **QUICK | {"label_setups": ("b",), "epochs": 30, "presets": ("strong-quick", "joint")},
    )  # fmt: skip
    found = audit(config)
    training = found.result.training
    assert training.score == "r2"
    assert training.loss == "mse, mean"
    assert 0 < training.accuracy < 1
    assert not found.result.labels
    assert any("regression" in note for note in training.notes)
    assert any("strong-quick" in note for note in training.notes)
    assert [row.preset for row in found.result.inversion] == ["joint"]
    assert found.result.inversion[0].clone_chance == 0
    page = write_report(
        tmp_path / "out", found.result, Pictures(originals=found.originals, reconstructions=found.reconstructions)
    )
    assert "R²" in page.read_text()


def test_an_audit_of_signals_recovers_them_better_than_a_guess(tmp_path):
    time = torch.linspace(0, 6, 32)
    source = generator(0)
    labels = torch.arange(300) % 3
    shift = torch.rand((300, 1), generator=source)
    signals = torch.sin(time * (1 + labels[:, None]) + 6 * shift)[:, None]
    np.savez(tmp_path / "waves.npz", x=signals.numpy(), y=labels.numpy())
    config = AuditConfig(
        data=str(tmp_path / "waves.npz"),
        model=model("build_signal_net"),
        cuts=(1,),
        targets_per_class=10,
        **QUICK | {"presets": ("joint",)},
    )
    row = audit(config).result.inversion[0]
    assert row.skill > 0.3
    assert row.ssim is None


def test_an_audit_of_several_inputs_tells_their_errors_apart(tmp_path):
    source = np.random.default_rng(0)
    np.savez(
        tmp_path / "both.npz", x_image=source.random((60, 1, 8, 8)), x_age=source.random((60, 4)), y=np.arange(60) % 2
    )
    config = AuditConfig(data=str(tmp_path / "both.npz"), model=model("build_two"), cuts=(0,), batch_size=16, **QUICK)
    row = audit(config).result.inversion[0]
    assert set(row.by_input) == {"image", "age"}
    sizes = {"image": 64, "age": 4}
    assert sum(sizes[name] * value for name, value in row.by_input.items()) / 68 == pytest.approx(row.mse, rel=1e-4)
    with pytest.raises(InputError, match="name a model that takes them"):
        audit(AuditConfig(data=str(tmp_path / "both.npz"), cuts=(0,), **QUICK))


def test_only_pictures_can_be_made_by_a_decoder(tmp_path):
    data = str(saved(tmp_path, load_breast_cancer(), "benign"))
    config = AuditConfig(data=data, model=model("build_mlp"), cuts=(0,), **QUICK | {"presets": ("strong",)})
    with pytest.raises(InputError, match=r"use `presets=\('joint',\)`"):
        audit(config)


def test_a_file_says_what_the_command_line_says(tmp_path):
    path = tmp_path / "audit.yaml"
    path.write_text(
        "data: photos/\nimage_size: [32, 48]\nmodel: net:build\ncuts: [1, layer2]\npresets: joint\n"
        "optimizer: sgd:lr=0.1,momentum=0.9\nlabel_optimizers: [adam]\nloss: bce\nu_shape: [1, 2]\nseed: 7\n"
    )
    config = load_audit_config(path)
    assert config.image_size == (32, 48)
    assert config.cuts == (1, "layer2")
    assert config.presets == ("joint",)
    assert (config.optimizer.name, config.optimizer.lr) == ("sgd", 0.1)
    assert config.loss.name == "bce"
    assert config.u_shape == (1, 2)
    assert config.seed == 7


BROKEN_FILES = {
    "dat: digits": "did you mean 'data'",
    "epochs: many": "give a whole number",
    "- 1": "holds no settings",
    "a: [": "is not YAML",
    "optimizer: adm": "Unknown optimiser",
    "image_size: 5": "give a height and a width",
    "presets: [jont]": "did you mean 'joint'",
}


@pytest.mark.parametrize("text", BROKEN_FILES)
def test_a_broken_file_of_settings_is_one_sentence(tmp_path, text):
    path = tmp_path / "audit.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=BROKEN_FILES[text]) as caught:
        load_audit_config(path)
    assert "\n" not in str(caught.value)


def test_targets_are_capped():
    config = AuditConfig(cuts=(1,), most_targets=4, **QUICK | {"epochs": 1})
    assert len(audit(config).originals) == 4


def test_results_say_which_score_they_hold():
    config = AuditConfig(cuts=(), **QUICK | {"epochs": 1})
    found = audit(config)
    assert json.loads(found.result.model_dump_json())["training"]["score"] == "accuracy"
