"""Settings as plain values, the named parts of inputs, signals through the decoder, and sets that do not fit."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from helpers.checks import refused
from unsplit import import_arrays
from unsplit.attacks.inversion import AmortisedConfig, JointConfig, LearningConfig, invert, total_variation
from unsplit.data import from_tensors, load, read_folder
from unsplit.errors import DataError, InputError
from unsplit.experiment import AuditConfig
from unsplit.experiment.auditing.fitting import fitting, named_inputs, network_for, targets_of
from unsplit.knowledge import ClientArchitecture
from unsplit.protocol import load_transcript
from unsplit.randomness import generator, seeded
from unsplit.types import Kind, Message, Transcript

SETTINGS = {
    "cuts": [("1,conv2", (1, "conv2")), ([1, "conv2"], (1, "conv2")), (2, (2,)), ("none", ()), (None, ())],
    "presets": [("joint", ("joint",)), ("joint,strong", ("joint", "strong")), ([], ())],
    "image_size": [("64,48", (64, 48)), ([64, 48], (64, 48)), (None, None), ("none", None)],
    "u_shape": [("1:1", (1, 1)), (["conv1", 2], ("conv1", 2)), ("none", None)],
    "label_heads": [("1,2", (1, 2)), (3, (3,))],
    "model": [("net:build", "net:build"), ("none", None)],
}


@pytest.mark.parametrize(("key", "given", "expected"), [
    (key, given, expected) for key, pairs in SETTINGS.items() for given, expected in pairs
])  # fmt: skip
def test_settings_take_what_the_command_line_takes(key, given, expected):
    assert getattr(AuditConfig.of({key: given}), key) == expected


def test_settings_of_optimisers_losses_and_ranges():
    config = AuditConfig.of(
        {"optimizer": "sgd:lr=0.1", "label_optimizers": ["adam", "sgd:lr=0.5,momentum=0.9"],
         "loss": "cross_entropy:label_smoothing=0.1", "input_range": [0, 4095], "label": 3, "data": "x.npz"}
    )  # fmt: skip
    assert (config.optimizer.name, config.optimizer.lr) == ("sgd", 0.1)
    assert [one.lr for one in config.label_optimizers] == [0.001, 0.5]
    assert config.loss.label_smoothing == 0.1
    assert config.input_range.bounds == ((0.0, 4095.0),)
    assert config.label == "3"
    assert AuditConfig.of({}) == AuditConfig()


@pytest.mark.parametrize(("settings", "words"), [
    ({"epochs": 1.5}, "whole number"), ({"epochs": True}, "whole number"), ({"cuts": [1.5]}, "a name, or a list"),
    ({"presets": [1]}, "a name, or a list"), ({"label_heads": "a"}, "whole numbers"),
    ({"u_shape": "1"}, "a cut and a head"),
    ({"loss": "bce:smooth=0.1"}, "label_smoothing"), ({"loss": "bce:label_smoothing=x"}, "label_smoothing"),
    ({"optimizer": 5}, "adam:lr"), ({"data": 1.5}, "in quotes"), ({"input_range": "5"}, "0,255"),
    ({"cut": 1}, "did you mean 'cuts'"), ({"epochs": 0}, "at least 1"),
])  # fmt: skip
def test_settings_that_cannot_be_are_one_sentence(settings, words):
    assert words in refused(AuditConfig.of, settings, source="audit.yaml")


def write_several(path, images, ages):
    np.savez(path, x_image=images, x_age=ages, y=np.arange(len(ages)) % 2)
    return path


def test_named_inputs_are_repacked_with_their_scales(tmp_path):
    source = np.random.default_rng(0)
    images, ages = source.random((20, 1, 3, 3)), 20 + 60 * source.random((20, 2))
    train = load(write_several(tmp_path / "a.npz", images, ages)).train
    turned = train.repacked(["age", "image"])
    assert (turned.parts, train.parts) == ({"age": (0, 2), "image": (2, 11)}, {"image": (0, 9), "age": (9, 11)})
    assert torch.equal(turned.images, torch.cat([train.images[:, 9:], train.images[:, :9]], 1))
    own = turned.scaling.to_own(turned.images.double())
    rows = {tuple(row) for row in np.round(ages, 3).tolist()}
    assert {tuple(row) for row in own[:, :2].numpy().round(3).tolist()} <= rows
    assert named_inputs(turned)[0].numbers == 2
    with pytest.raises(DataError, match="the same names"):
        train.repacked(["age"])


class Two(nn.Module):
    """Takes its inputs in another order than the file has them."""

    def __init__(self):
        super().__init__()
        self.know, self.look, self.out = nn.Linear(2, 3), nn.Conv2d(1, 2, 3), nn.Linear(5, 2)

    def forward(self, age, image):
        return self.out(torch.cat([torch.relu(self.know(age)), torch.relu(self.look(image)).flatten(1)], 1))


def build_two():
    return Two()


def test_data_are_packed_in_the_order_in_which_the_network_takes_them(tmp_path):
    source = np.random.default_rng(0)
    splits = load(write_several(tmp_path / "a.npz", source.random((20, 1, 3, 3)), source.random((20, 2))))
    config = AuditConfig(model=f"{__name__}:build_two", cuts=(0,))
    _, name, packed = network_for(config, splits, torch.device("cpu"))
    assert name == config.model
    assert [key for key, _ in packed.train.inputs] == ["age", "image"]
    assert torch.equal(packed.test.images[:, 2:], splits.test.images[:, :9])


def test_columns_of_a_table_are_named_with_their_units(tmp_path):
    rows = [f"{number},{100 + number},{'ab'[number % 2]}" for number in range(10)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,z", *rows]))
    train = load(tmp_path / "t.csv").train
    first, second = named_inputs(train)
    assert (first.name, second.name, first.numbers) == ("x", "y", 1)
    assert second.low == pytest.approx(first.low + 100)
    assert second.high == pytest.approx(first.high + 100)


def test_targets_are_spread_over_the_classes_and_capped(digits):
    targets = targets_of(digits.test, AuditConfig(most_targets=5, targets_per_class=2))
    assert targets.labels.tolist() == [0, 2, 5, 7, 9]


def test_one_array_a_file_beside_the_others(tmp_path):
    x = np.random.default_rng(0).random((12, 3))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(12) % 2)
    np.save(tmp_path / "unrelated.npy", np.array([{}], dtype=object))
    splits = load(tmp_path / "x.npy")
    assert splits.train.name == tmp_path.name
    assert len(splits.train) + len(splits.test) == 12
    with pytest.raises(DataError, match=r"save the inputs as x\.npy"):
        load(tmp_path / "unrelated.npy")


LARGE = {
    "npz": lambda path: np.savez(path / "a.npz", x=np.zeros((40, 50)), y=np.arange(40) % 2),
    "safetensors": lambda path: save_file(
        {"x": torch.zeros(40, 50), "y": torch.arange(40) % 2}, path / "a.safetensors"
    ),
    "csv": lambda path: (path / "a.csv").write_text("x,y\n" + "1,2\n" * 4000),
}


@pytest.mark.parametrize("kind", LARGE)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(kind, tmp_path, monkeypatch):
    LARGE[kind](tmp_path)
    monkeypatch.setattr("unsplit.data.memory.room", lambda: 10_000)
    with pytest.raises(DataError, match="GiB of memory"):
        load(tmp_path / f"a.{kind}")


def test_palettes_with_degrees_of_transparency_and_broken_exif_are_read(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image = Image.new("P", (6, 4), 1)
        image.putpalette([0, 0, 0, 200, 10, 30])
        image.save(tmp_path / name / "p.png", transparency=bytes([0, 128]))
        Image.new("RGB", (6, 4), (1, 2, 3)).save(tmp_path / name / "q.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    data = read_folder(tmp_path)
    assert data.images.shape == (4, 3, 4, 6)
    assert (data.images[0, :, 0, 0] * 255).round().tolist() == [200, 10, 30]


def test_signals_pass_the_decoder():
    with seeded(0):
        bottom = nn.Sequential(nn.Conv1d(2, 6, 5), nn.ReLU())
    inputs = torch.rand((20, 2, 24), generator=generator(1))
    with torch.no_grad():
        message = Message(step=0, sender="client0", receiver="server", kind=Kind.SMASHED, payload=bottom(inputs))
    quick = AmortisedConfig(
        candidates=2, finalists=2, steps=12, refit_steps=2, learning=LearningConfig(batch=8, width=8, blocks=1)
    )
    view = Transcript(observer="server", messages=(message,))
    found = invert(view, ClientArchitecture.of(bottom, (2, 24)), quick, generator=generator(0))
    assert found.inputs.shape == inputs.shape
    assert 0 <= float(found.inputs.min()) <= float(found.inputs.max()) <= 1


def test_variation_along_signals_alone():
    sensors = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])[:, None]
    assert float(total_variation(sensors, "signal")) < 1e-5
    assert float(total_variation(sensors, "isotropic")) > 0.1
    assert float(total_variation(sensors.transpose(2, 3), "signal")) > 0.1
    with pytest.raises(InputError, match="did you mean 'signal'"):
        JointConfig(variation="signals")


def test_a_regression_leaves_out_label_inference(tmp_path):
    x = torch.rand((30, 4), generator=generator(0))
    data = from_tensors(x, x[:, 0])
    assert data.regression
    np.savez(tmp_path / "a.npz", x=x.numpy(), y=x[:, 0].numpy())
    splits = load(tmp_path / "a.npz")
    with seeded(0):
        model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    kept, notes = fitting(AuditConfig(presets=("joint",)), splits, model)
    assert kept.label_setups == ()
    assert "regression" in notes[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("labels", [torch.int32, torch.uint8, torch.int16])
def test_arrays_of_every_kind_are_imported_as_the_same_numbers(dtype, labels, tmp_path):
    smashed = torch.arange(24.0).view(3, 2, 4)
    save_file(
        {"smashed": smashed.to(dtype), "labels": torch.arange(6).view(3, 2).to(labels)}, tmp_path / "a.safetensors"
    )
    import_arrays(tmp_path / "a.safetensors", tmp_path / "traffic")
    view = load_transcript(tmp_path / "traffic")
    assert torch.equal(view.tensor(Kind.SMASHED), smashed.flatten(0, 1))
    assert view.tensor(Kind.LABELS).tolist() == list(range(6))


def test_big_endian_and_column_ordered_arrays_are_imported_as_the_same_numbers(tmp_path):
    smashed = np.arange(24.0).reshape(3, 2, 4)
    np.savez(tmp_path / "a.npz", smashed=np.asfortranarray(smashed.astype(">f4")))
    import_arrays(tmp_path / "a.npz", tmp_path / "traffic")
    found = load_transcript(tmp_path / "traffic").tensor(Kind.SMASHED)
    assert np.array_equal(found.numpy(), smashed.reshape(6, 4))
