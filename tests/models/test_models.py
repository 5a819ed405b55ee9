"""Where networks can be cut, and architectures without weights."""

import copy
import logging
import sys
import warnings

import pytest
import torch
from torch import nn

from helpers.storages import held_storages
from unsplit.errors import InputError
from unsplit.knowledge import Blueprint, ClientArchitecture
from unsplit.models import (
    build,
    build_for,
    check_crossing,
    check_fits,
    cuts,
    default_for,
    sequential_of,
    split,
    split_head,
    split_u,
)
from unsplit.randomness import generator, seeded

MNIST_CUTS = {
    0: (8, 24, 24), 1: (8, 24, 24), 2: (8, 12, 12), 3: (16, 8, 8), 4: (16, 8, 8), 5: (16, 4, 4), 6: (120,), 7: (120,),
    8: (84,), 9: (84,),
}  # fmt: skip
CIFAR_CUTS = {0: (64, 32, 32), 1: (64, 32, 32), 3: (64, 32, 32), 4: (64, 16, 16), 8: (128, 16, 16), 15: (512,)}


def test_the_cuts_of_the_paper_s_nets():
    """Depth d leaves modules 0 to d with the client; the first dense layer is depth 6 and 15."""
    found = {cut.depth: cut.shape for cut in cuts(build("mnist-net", generator=generator(0)), (1, 28, 28))}
    assert found == MNIST_CUTS
    found = {cut.depth: cut.shape for cut in cuts(build("cifar-net", generator=generator(0)), (3, 32, 32))}
    assert len(found) == 17
    assert {depth: found[depth] for depth in CIFAR_CUTS} == CIFAR_CUTS


@pytest.mark.parametrize(
    ("name", "shape"), [("mnist-net", (1, 28, 28)), ("cifar-net", (3, 32, 32)), ("resnet", (1, 28, 28))]
)
def test_parts_together_are_the_model_at_every_cut(name, shape):
    model = build(name, generator=generator(0)).eval()
    inputs = torch.rand(2, *shape, generator=generator(1))
    whole = model(inputs)
    for cut in cuts(model, shape):
        by_depth, top = split(model, cut.depth)
        by_name, _ = split(model, cut.name)
        assert [*by_depth] == [*by_name]
        assert torch.equal(top(by_depth(inputs)), whole)
    for layers in (1, 2):
        body, head = split_head(model, layers)
        assert torch.equal(head(body(inputs)), whole)
        parts = split_u(model, 0, layers)
        assert torch.equal(parts.head(parts.body(parts.bottom(inputs))), whole)


def test_a_head_counts_layers_with_weights():
    model = build("mnist-net", generator=generator(0))
    assert [name for name, _ in split_head(model, 1)[1].named_children()] == ["fc3"]
    assert [name for name, _ in split_head(model, 2)[1].named_children()] == ["fc2", "relu4", "fc3"]


@pytest.mark.parametrize("cut", [-1, 10, 99, "conv9"])
def test_a_cut_outside_the_net_names_those_inside(cut):
    with pytest.raises(InputError, match=r"no cut .*0 \(conv1\), 1 \(relu1\).*9 \(relu4\)"):
        split(build("mnist-net", generator=generator(0)), cut)


def net(name="mnist-net"):
    return build(name, generator=generator(0))


BAD_MODELS = {
    "head too deep": (
        lambda: split_head(net(), 5),
        r"has 5 layers with weights, so a head can have 1 to 4",
    ),
    "nothing between": (lambda: split_u(net(), "relu4", 1), "leave nothing for the server"),
    "one module": (lambda: split(nn.Sequential(nn.ReLU()), 0), "must be an nn.Sequential of two modules or more"),
    "not a sequence": (lambda: net(lambda: nn.ReLU()), "is a ReLU and not an nn.Sequential .* pass input_shape"),
    "channels": (lambda: cuts(net(), (3, 28, 28)), r"module 0 'conv1' \(Conv2d\) refuses shape \(3, 28, 28\)"),
    "size": (lambda: cuts(net("cifar-net"), (3, 8, 8)), "use inputs of the size and channels"),
    "classes": (lambda: check_fits(net(), (1, 28, 28), 7), r"has shape \(10,\) .* 7 classes"),
    "name": (lambda: net("mnist_net"), "did you mean 'mnist-net'"),
    "module": (lambda: net("no_such_module:f"), "no module 'no_such_module'"),
    "function": (lambda: net("json:no_such"), "no function 'no_such'"),
    "shape": (lambda: default_for((1, 64, 64)), "name a model that takes yours"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models_are_one_sentence(case):
    call, words = BAD_MODELS[case]
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_model_of_the_user_s(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n\ndef tiny():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = build("my_models:tiny", generator=generator(0))
    check_fits(model, (1, 28, 28), 10)
    assert [cut.depth for cut in cuts(model, (1, 28, 28))] == [0]


def test_a_blueprint_holds_no_weight():
    model = build("mnist-net", generator=generator(0))
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    assert held_storages(list(model.parameters())) == weights
    assert not held_storages(ClientArchitecture.of(model, (1, 28, 28))) & weights


def test_a_blueprint_draws_new_weights_as_torch_does():
    model = build("mnist-net", generator=generator(0))
    blueprint = Blueprint(model)
    drawn = blueprint.instantiate(generator=generator(1))
    again = blueprint.instantiate(generator=generator(1))
    for (name, value), other, mine in zip(
        drawn.named_parameters(), again.parameters(), model.parameters(), strict=True
    ):
        assert torch.equal(value, other)
        assert not torch.equal(value, mine), name
        layer = drawn.get_submodule(name.rpartition(".")[0])
        assert value.abs().max() <= 1 / layer.weight[0].numel() ** 0.5


def test_a_blueprint_resets_statistics_and_keeps_constants():
    class Normalise(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor(0.3))

        def forward(self, inputs):
            return inputs - self.mean

    model = nn.Sequential(Normalise(), nn.BatchNorm2d(1))
    model(torch.rand(4, 1, 5, 5, generator=generator(0)))
    drawn = Blueprint(model).instantiate(generator=generator(1))
    assert drawn[0].mean == torch.tensor(0.3)
    assert drawn[1].running_mean == 0
    assert model[1].running_mean != 0


def test_a_blueprint_draws_weights_of_layers_that_cannot_by_form_and_name():
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls_token = nn.Parameter(torch.full((1, 1, 400), 7.0))
            self.position = nn.Parameter(torch.full((1, 20, 400), 7.0))
            self.gamma, self.bias = nn.Parameter(torch.full((400,), 7.0)), nn.Parameter(torch.full((400,), 7.0))

    with seeded(0):
        model = nn.Sequential(Token(), nn.MultiheadAttention(8, 2))
    drawn = Blueprint(model).instantiate(generator=generator(1))
    assert 0.015 < drawn[0].cls_token.std() < 0.025
    assert 0.015 < drawn[0].position.std() < 0.025
    assert (drawn[0].gamma == 1).all()
    assert (drawn[0].bias == 0).all()
    assert drawn[1].in_proj_weight.abs().max() <= (6 / (8 + 24)) ** 0.5


def test_a_blueprint_leaves_the_model_as_it_is():
    model = build("mnist-net", generator=generator(0))
    before = copy.deepcopy(model.state_dict())
    Blueprint(model).instantiate(generator=generator(1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


MODULES = {
    "raises": ("def build(): return [][0]", "failed: IndexError: list index out of range (.*, line 1)"),
    "arguments": ("def build(classes): pass", "missing 1 required positional argument: 'classes'; .* no arguments"),
    "lacks": ("def build():\n    import no_such_package", "No module named 'no_such_package' .*, line 2"),
    "package": ("import no_such_package", "needs the package 'no_such_package', which is not installed"),
    "syntax": ("def build(: pass", "cannot be imported: SyntaxError: invalid syntax"),
    "script": ("import sys; sys.exit(1)", "cannot be imported: SystemExit: 1"),
    "none": ("def build(): pass", "returned a NoneType; it must return an nn.Module"),
    "no function": ("", "has no function 'build'"),
    "forward": (
        "from torch import nn\nclass Keyed(nn.Module):\n    def forward(self, x): return {}[0]\n"
        "def build(): return nn.Sequential(nn.Conv2d(1, 1, 1), Keyed(), nn.Flatten())",
        r"module 1 '1' \(Keyed\) refuses shape \(1, 28, 28\)",
    ),
}


@pytest.mark.parametrize("case", MODULES)
def test_a_users_module_that_fails_is_a_sentence(case, tmp_path, monkeypatch):
    text, words = MODULES[case]
    (tmp_path / "users_own.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_own", raising=False)
    with pytest.raises(InputError, match=words) as caught:
        build_for("users_own:build", (1, 28, 28), 10, generator=generator(0))
    assert "\n" not in str(caught.value)
    sys.modules.pop("users_own", None)


CROSSINGS = {
    (8, 12, 12): None,
    (8, 24, 24): r"cut 2 \(pool1\) gives \(8, 12, 12\); that shape crosses at 0 \(conv1\), 1 \(relu1\)",
    (12, 12, 8): r"the axes seem swapped, as where channels come last; .*\.permute\(0, 3, 1, 2\)",
    (24, 24, 8): r"no cut of this network gives that shape \(with swapped axes: 0 \(conv1\), 1 \(relu1\)\)",
    (5,): r"no cut of this network gives that shape for inputs of shape \(1, 28, 28\)",
}


@pytest.mark.parametrize("seen", CROSSINGS)
def test_a_shape_that_does_not_cross_there_is_named_with_the_cuts_where_it_does(seen):
    model = build("mnist-net", generator=generator(0))
    if CROSSINGS[seen] is None:
        check_crossing(model, 2, (1, 28, 28), seen)
        return
    with pytest.raises(InputError, match=CROSSINGS[seen]):
        check_crossing(model, 2, (1, 28, 28), seen)


def test_torch_s_own_words_about_graphs_do_not_come_before_ours(monkeypatch, caplog):
    """With warnings as errors, as in all tests here, one of them would end the tracing."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.two(self.one(x).relu())

    make = torch.fx.GraphModule

    def talking(*arguments, **named):
        warnings.warn("Attempted to insert a get_attr Node into the owning GraphModule!", stacklevel=1)
        logging.getLogger("torch.fx._symbolic_trace").warning("is_fx_tracing will return true")
        return make(*arguments, **named)

    monkeypatch.setattr(torch.fx, "GraphModule", talking)
    with seeded(0):
        assert len(sequential_of(Two(), (4,))) == 3
    assert caplog.records == []
