"""Any network can be cut: its stages compute, learn and split as the whole does, and what cannot be cut says why."""

import copy
import functools
import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.checks import noise, refused
from helpers.equality import assert_identical, split_and_whole
from helpers.storages import held_storages
from unsplit.knowledge import Blueprint
from unsplit.models import NamedInputs, batch_norm_note, build, build_for, cuts, depth_of, sequential_of, split
from unsplit.optim import OptimizerSpec
from unsplit.protocol import SplitConfig
from unsplit.randomness import generator, seeded

RGB = (3, 32, 32)
FACES = {"image": (3, 8, 8), "age": (4,)}
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(autouse=True)
def _layers_draw_from_a_seed():
    with seeded(0):
        yield


def builder(name):
    """Builds a network that other people wrote; the test is skipped where their library is not installed."""
    make = getattr(importlib.import_module("foreign"), name)
    try:
        make()
    except ModuleNotFoundError as error:
        pytest.skip(f"needs {error.name}")
    return make


@functools.cache
def foreign(name):
    """Such a network in stages; not to be changed."""
    return build(builder(name), generator=generator(0), input_shape=RGB)


class Net(nn.Module):
    """Written as people do: activations as functions, sizes from shapes, a residual block, an in-place sum."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(4 * 4 * 4, 10)

    def forward(self, x):
        x = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 2)
        y = self.conv2(x)
        y += x
        x = self.act(y)
        b, c, h, w = x.shape
        x = self.drop(x.view(b, c * h * w))
        return functional.log_softmax(self.fc(functional.dropout(x, 0.1, self.training)), dim=1)


class Signal(nn.Module):
    """A one-dimensional network with a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(1, 4, 5, stride=2), nn.Conv1d(4, 8, 5, stride=2)])
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for conv in self.convs:
            x = self.act(conv(x))
        return self.head(x.mean(-1))


class Sizes(nn.Module):
    """Sizes in every way: len, ones of the batch's size, a range, a tensor that is no buffer, a slice that is set."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(16, 3)
        self.register_buffer("mean", torch.tensor(0.5))
        self.scale = torch.tensor(2.0)

    def forward(self, x):
        x = self.conv((x - self.mean) * self.scale)
        x = x + torch.arange(x.shape[-1], dtype=x.dtype)
        x = torch.cat([x, x.new_ones(x.size(0), 4, *x.shape[2:])], 1)[:, :4]
        x[:, 0] = 1
        x = x.mul_(2) if x.dim() == 4 else x
        x = functional.adaptive_avg_pool2d(x, 2)
        return self.fc(x.reshape(len(x), -1))


class Sequence(nn.Module):
    """A recurrent layer, whose output is a tuple, then attention over a class token and positions."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(6, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 10, 8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x, _ = self.recurrent(x)
        x = torch.cat([self.token.expand(x.size(0), -1, -1), x + self.position], 1)
        seen, _ = self.attention(x, x, x)
        return self.head(self.norm(x + seen)[:, 0])


def made(make, shape=(1, 8, 8)):
    return build(make, generator=generator(0), input_shape=shape)


def statistics(network):
    return sorted(float(value.sum()) for name, value in network.named_buffers() if "running" in name)


def assert_same_network(make, shape, outputs=None):
    """Outputs in evaluation mode, and gradients and buffers in training mode, of the whole and of the stages."""
    whole = make()
    model = sequential_of(copy.deepcopy(whole), shape)
    x = torch.rand(6, *shape, generator=generator(1))
    assert torch.equal(model.eval()(x), whole.eval()(x))
    gradients = []
    for network in (model.train(), whole.train()):
        with seeded(2):
            network(x.clone()).square().sum().backward()
        gradients.append([value.grad for value in network.parameters() if value.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    by_size = [sorted((tuple(g.shape), float(g.sum()), float(g.abs().max())) for g in found) for found in gradients]
    assert by_size[0] == by_size[1]
    assert statistics(model) == statistics(whole)
    assert outputs is None or [name for name, _ in model.named_children()] == outputs


def test_stages_of_a_network_written_with_functions():
    assert_same_network(
        Net, (1, 8, 8),
        ["conv1", "norm1", "relu", "max_pool2d", "add", "act", "view", "drop", "dropout", "fc", "log_softmax"],
    )  # fmt: skip
    kinds = [type(module).__name__ for module in made(Net)]
    assert kinds[:4] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert kinds[5:10] == ["ReLU", "Flatten", "Dropout", "Dropout", "Linear"]


def test_stages_of_a_network_for_signals():
    assert_same_network(Signal, (1, 128), ["convs-0", "act", "convs-1", "act_1", "mean", "head"])


def test_stages_of_a_network_full_of_sizes():
    names = ["sub", "mul", "conv", "add", "cat", "with_item", "mul_1", "adaptive_avg_pool2d", "reshape", "fc"]
    assert_same_network(Sizes, (1, 8, 8), names)


def test_stages_of_a_network_for_sequences():
    assert_same_network(Sequence, (10, 6), ["recurrent", "add", "cat", "add_1", "norm", "getitem", "head"])


FOREIGN = [
    "pytorchcv_resnet10", "pytorchcv_preresnet10", "pytorchcv_mobilenetv2", "pytorchcv_shufflenetv2",
    "pytorchcv_seresnet10", "efficientnet_b0", "vit", "simple_vit", "monai_resnet10", "monai_unet",
    "timm_resnet10t", pytest.param("monai_densenet121", marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_networks_that_others_wrote(name):
    assert_same_network(builder(name), RGB)


@pytest.mark.parametrize(
    ("make", "shape", "cut"),
    [(Net, (1, 8, 8), "act"), (Signal, (1, 128), "convs.0"), (lambda: NamedInputs(Faces(), FACES), (196,), "norm")]
    + [(name, RGB, cut) for name, cut in (("pytorchcv_resnet10", "features.stage1"), ("vit", "to_patch_embedding"))],
)
def test_split_training_of_stages_is_that_of_the_whole(make, shape, cut):
    model = foreign(make) if isinstance(make, str) else made(make, shape)
    spec = OptimizerSpec(name="sgd", lr=0.05)
    config = SplitConfig(cut=cut, batch_size=4, client_optimizer=spec, server_optimizer=spec)
    labels = torch.randint(3, (8,), generator=generator(3))
    assert_identical(*split_and_whole(model, config, steps=2, samples=8, shape=shape, labels=labels))


def test_stages_share_the_network_s_weights():
    net = Net()
    model = sequential_of(net, (1, 8, 8))
    assert {id(value) for value in model.parameters()} == {id(value) for value in net.parameters()}
    assert model.conv1 is net.conv1


def test_a_cut_by_the_path_that_the_module_had():
    model = foreign("pytorchcv_resnet10")
    names = [name for name, _ in model.named_children()]
    assert names[depth_of(model, "features.init_block")] == "features-init_block-pool"
    assert names[depth_of(model, "features.stage2")] == "features-stage2-unit1-activ"
    assert names[depth_of(model, "features.stage2.unit1.activ")] == "features-stage2-unit1-activ"
    assert depth_of(model, "features-stage2-unit1-activ") == depth_of(model, str(depth_of(model, "features.stage2")))
    rebuilt = nn.Sequential()
    for name, module in model.named_children():
        rebuilt.add_module(name, module)
    assert depth_of(rebuilt, "features.stage2") == depth_of(model, "features.stage2")


def test_a_list_of_modules_ends_with_its_last():
    model = made(Signal, (1, 128))
    assert depth_of(model, "convs") == depth_of(model, "convs-1") == 2


def test_a_cut_inside_a_block_says_what_crosses():
    said = refused(depth_of, foreign("pytorchcv_resnet10"), "features.stage2.unit1.body.conv1")
    shortcut, inside = "features.stage2.unit1.identity_conv.bn", "features.stage2.unit1.body.conv1.activ"
    assert f"2 tensors cross there, {shortcut} (128, 4, 4) and {inside} (128, 4, 4)" in said
    assert "(features-stage2-unit1-activ)" in said
    said = refused(depth_of, foreign("monai_unet"), "model.1.submodule.0")
    assert "2 tensors cross there" in said


def test_of_many_cuts_the_nearest_are_listed():
    model = foreign("pytorchcv_mobilenetv2")
    assert len(model) > 70
    said = refused(depth_of, model, "features.stage4.unit2.conv1.conv")
    assert "(features-stage4-unit1-conv3-bn)" in said
    assert "(features-stage4-unit2-add)" in said
    assert len(said) < 900
    assert "more from 0 (features-init_block-conv) to" in said


class Tied(nn.Module):
    """Two layers with the same weights."""

    def __init__(self):
        super().__init__()
        self.encode, self.act, self.decode = nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.last(self.decode(self.act(self.encode(x))))


def test_tied_weights_stay_together():
    model = made(Tied, (8,))
    assert [name for name, _ in model.named_children()] == ["decode", "last"]
    assert "the weights encode.weight are used on both sides" in refused(depth_of, model, "act")
    assert_same_network(Tied, (8,))
    tied = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3))
    tied[2].weight = tied[0].weight
    assert len(sequential_of(tied, (8,))) == 2


def test_a_layer_without_weights_may_occur_twice_in_a_sequence():
    act = nn.ReLU()
    whole = nn.Sequential(nn.Linear(8, 8), act, nn.Linear(8, 8), act, nn.Linear(8, 3))
    model = sequential_of(whole, (8,))
    assert len(cuts(model, (8,))) == 4
    bottom, top = split(model, 3)
    x = torch.rand(2, 8, generator=generator(0))
    assert torch.equal(top(bottom(x)), whole(x))


def test_an_unchanged_sequence_is_the_user_s_own():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    assert sequential_of(model) is model
    assert not model[1].inplace


def branch(forward, **parts):
    """A network with this forward and, beside its own parts, layers `one` and `two`."""

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 3)
            for name, value in parts.items():
                setattr(self, name, value)

    Branching.forward = forward
    return Branching()


def deciding(self, x):
    x = self.one(x)
    return self.two(x) if x.sum() > 0 else self.two(-x)


def by_batch(self, x):
    return self.two(self.one(x) * (2 if len(x) == 3 else 1))


def by_mode(self, x):
    return self.two(self.one(x) * (2 if self.training else 1))


def without_gradient(self, x):
    with torch.no_grad():
        x = self.one(x)
    return self.two(x)


def all_samples(self, x):
    return torch.stack([self.two(self.one(row)) for row in x])


def in_a_view(self, x):
    y = self.one(x)
    y[:, :2].zero_()
    return self.two(y)


def in_reduced_precision(self, x):
    with torch.autocast("cpu", torch.bfloat16):
        return self.two(self.one(x))


REFUSED = {
    "values": (lambda: branch(deciding), "reads the values of a tensor (bool), so the model cannot be cut"),
    "batch": (lambda: branch(by_batch), "decides by how large the batch is"),
    "mode": (lambda: branch(by_mode), "has other outputs or gradients in training mode than as a whole"),
    "no gradient": (lambda: branch(without_gradient), "switches gradients off or on"),
    "sample by sample": (lambda: branch(all_samples), "goes through the batch sample by sample"),
    "buffer": (
        lambda: branch(lambda self, x: self.two(self.one(x)) + self.count.add_(1), count=nn.Parameter(torch.zeros(1))),
        "changes a parameter or a buffer in place",
    ),
    "in place": (lambda: branch(in_a_view), "tensors that it changes in place"),
    "tuple in training": (
        lambda: branch(lambda self, x: (x, self.two(x)) if self.training else self.two(self.one(x))),
        "gives a tuple and must give one tensor",
    ),
    "tuple": (lambda: branch(lambda self, x: (self.two(x), x)), "gives a tuple and must give one tensor"),
    "dict": (lambda: branch(lambda self, x: {"logits": self.two(x)}), "gives a dict and must give one tensor"),
    "nan": (lambda: branch(lambda self, x: self.two(x) / 0 * 0), "gives NaN for random inputs"),
    "one layer": (
        lambda: branch(lambda self, x: self.two(x)),
        "cannot be cut: there is no place between its layers where",
    ),
    "residual": (
        lambda: branch(lambda self, x: self.two(self.one(x)) + x.mean()),
        "2 tensors cross there, two (3,) and mean ()",
    ),
    "constant": (lambda: branch(lambda self, _: self.two(self.one.weight)), "does not depend on its input"),
    "half": (lambda: branch(lambda self, x: self.two(x)).half(), "is in float16 and must be in float32; call .float()"),
    "half sequence": (
        lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)).half(),
        "'0.weight' is in float16 and must",
    ),
    "double sequence": (lambda: nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)).double(), "is in float64 and must be"),
    "autocast": (
        lambda: branch(in_reduced_precision),
        "switches to reduced precision (torch.autocast), so the model cannot",
    ),
    "meta": (lambda: branch(lambda self, x: self.two(x)).to("meta"), "is on the meta device"),
    "shape": (lambda: branch(lambda self, x: self.two(x.view(-1, 9))), "do not fit the model"),
    "not a module": (lambda: "resnet18", "returned a str; it must return an nn.Module"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_cut_says_why(case):
    make, words = REFUSED[case]
    assert words in refused(made, make, (8,))


class Tokens(nn.Module):
    """Whole numbers, as an embedding reads them."""

    def forward(self, x):
        return (9 * x).round().long()


def test_no_cut_lies_before_whole_numbers():
    """Nothing of a gradient passes back through them, so a client that ends there could not learn."""
    words = branch(
        lambda self, x: self.two(self.one(self.table(self.tokens(x)).mean(1))),
        tokens=Tokens(),
        table=nn.Embedding(10, 8),
    )
    model = sequential_of(words, (5,))
    assert [cut.name for cut in cuts(model, (5,))] == ["table", "mean", "one"]
    assert "no gradient passes back through what follows" in refused(lambda: depth_of(model, "tokens"))
    chain = sequential_of(nn.Sequential(Tokens(), nn.Embedding(10, 8), nn.Flatten(), nn.Linear(40, 3)), (5,))
    assert [cut.shape for cut in cuts(chain, (5,))] == [(5, 8), (40,)]


def test_reduced_precision_inside_a_module_is_taken_whole():
    inner = branch(lambda self, x: self.two(self.one(x)).float())
    inner.forward = torch.autocast("cpu", torch.bfloat16)(inner.forward)
    model = sequential_of(
        branch(lambda self, x: self.last(self.inner(self.one(x))), inner=inner, last=nn.Linear(3, 3)), (8,)
    )
    assert [cut.name for cut in cuts(model, (8,))] == ["one", "inner"]


def test_gradients_that_are_rounding_alone_are_no_difference():
    """A bias before a batch norm has none; in place, ELU's slope is rounded in another way."""
    net = branch(
        lambda self, x: self.two(self.elu(self.norm(self.conv(x))).flatten(1)),
        conv=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2), elu=nn.ELU(inplace=True), two=nn.Linear(72, 3),
    )  # fmt: skip
    assert [cut.name for cut in cuts(sequential_of(net, (1, 8, 8)), (1, 8, 8))][:3] == ["conv", "norm", "elu"]


def test_the_shape_of_an_input_is_asked_for():
    said = refused(build, Signal, generator=generator(0))
    assert "the shape of one input must be known to cut it; pass input_shape" in said
    model, _ = build_for("test_bring_model:Signal", (1, 128), 3, generator=generator(0))
    assert len(cuts(model, (1, 128))) == 5


def test_a_module_that_decides_by_values_is_taken_whole():
    inner = branch(deciding)
    net = branch(lambda self, x: self.two(self.inner(self.one(x)).repeat(1, 3)[:, :8]), inner=inner)
    model = sequential_of(net, (8,))
    assert model.inner is inner


class Swap(torch.autograd.Function):
    """Turns gradients around."""

    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, gradient):
        return -gradient


def test_a_gradient_of_its_own_is_kept():
    swap = branch(lambda _, x: Swap.apply(x))

    def make():
        return branch(lambda self, x: self.two(self.swap(self.one(x))), swap=copy.deepcopy(swap))

    assert_same_network(make, (8,), ["one", "swap", "two"])


class Faces(nn.Module):
    """Two named inputs, and a third that may be left out."""

    def __init__(self):
        super().__init__()
        self.tower, self.ages = nn.Conv2d(3, 2, 3, padding=1), nn.Linear(4, 5)
        self.norm, self.head = nn.Linear(2 + 5, 6), nn.Linear(6, 3)

    def forward(self, age, image, scale=None):
        seen = self.tower(image).relu().mean((2, 3))
        joined = torch.cat([seen, self.ages(age)], 1)
        return self.head(self.norm(joined if scale is None else joined * scale).relu())


def test_named_inputs_come_as_one_tensor():
    net = Faces()
    model = sequential_of(net, FACES)
    inputs = NamedInputs(net, FACES)
    assert list(inputs.inputs) == ["age", "image"]
    assert inputs.input_shape == (4 + 3 * 64,)
    values = {"image": torch.rand(2, 3, 8, 8, generator=generator(0)), "age": torch.rand(2, 4, generator=generator(1))}
    packed = inputs.pack(values)
    assert all(torch.equal(value, values[name]) for name, value in inputs.unpack(packed).items())
    assert torch.equal(model(packed), net(**values))
    names = [cut.name for cut in cuts(model, inputs.input_shape)]
    assert names == ["cat", "norm", "relu"]
    assert depth_of(model, "norm") == 1
    assert "tensors cross there" in refused(depth_of, model, "tower")


def test_named_inputs_that_forward_does_not_take():
    assert "takes age, image, scale" in refused(NamedInputs, Faces(), {"image": (3, 8, 8), "years": (4,)})
    assert "give the shape of each one that it needs" in refused(NamedInputs, Faces(), {"image": (3, 8, 8)})
    inputs = NamedInputs(Faces(), FACES)
    assert "with the same number of samples in each" in refused(inputs.pack, {"age": torch.zeros(2, 4)})


@pytest.mark.parametrize("name", ["pytorchcv_resnet10", "vit", "simple_vit"])
def test_blueprints_of_stages_draw_new_weights(name):
    model = foreign(name)
    drawn = Blueprint(model).instantiate(generator=generator(1))
    again = Blueprint(model).instantiate(generator=generator(1))
    assert drawn.state_dict().keys() == model.state_dict().keys()
    assert_identical(drawn.state_dict(), again.state_dict())
    for (key, value), mine in zip(drawn.named_parameters(), model.parameters(), strict=True):
        assert value.data_ptr() != mine.data_ptr()
        assert not torch.equal(value, mine) or bool(((mine == 0) | (mine == 1)).all()), key
    x = torch.rand(2, *RGB, generator=generator(0))
    assert drawn(x).isfinite().all()
    model = copy.deepcopy(model)
    model.load_state_dict(drawn.state_dict())
    assert torch.equal(drawn.eval()(x), model.eval()(x))


def test_a_blueprint_of_stages_holds_no_weight():
    model = foreign("vit")
    assert not held_storages(Blueprint(model)) & held_storages(list(model.parameters()))


def test_layers_of_the_user_s_that_draw_their_weights_stay_whole():
    class Flat(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1))

    model = made(lambda: branch(lambda self, x: self.two(self.flat(x)), flat=Flat(64, 8)), (1, 8, 8))
    assert [type(layer).__name__ for layer in model] == ["Flat", "Linear"]
    drawn = Blueprint(model).instantiate(generator=generator(1))
    assert 0.1 < drawn[0].weight.abs().max() <= 1 / 8


def test_batch_normalisation_is_said():
    model = made(Net)
    assert batch_norm_note(split(model, "conv1")[0]) is None
    assert "1 batch normalisation layer:" in batch_norm_note(split(model, "relu")[0])


def test_tracing_leaves_modes_statistics_and_randomness_as_they_were():
    net = Net()
    net.norm1.eval()
    before = copy.deepcopy(net.state_dict())
    model = sequential_of(net, (1, 8, 8))
    assert_identical(net.state_dict(), before)
    assert model.training
    assert not model.norm1.training
    x, _ = noise(2, (1, 8, 8))
    assert model(x).shape == (2, 10)
