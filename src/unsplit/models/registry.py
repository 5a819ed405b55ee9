"""Models by name, and models of the user's own."""

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from unsplit.errors import InputError, unknown_name
from unsplit.randomness import draw_seed, seeded

from ._cuts import cuts
from ._resnet import resnet
from .bring import sequential_of
from .paper import cifar_net, mnist_net
from .resnet20 import resnet20

MODELS: dict[str, Callable[[], nn.Sequential]] = {
    "mnist-net": mnist_net,
    "cifar-net": cifar_net,
    "resnet": resnet,
    "resnet-rgb": lambda: resnet(channels=3),
    "resnet20": resnet20,
}
"""The models that come with unsplit, by name."""


def build(
    model: str | Callable[[], nn.Module],
    *,
    generator: torch.Generator,
    input_shape: tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None,
) -> nn.Sequential:
    """A model with weights drawn from `generator`.

    Args:
        model: a name in `MODELS`, "module:function" for a function of the user's that returns an `nn.Module`, or such
            a function itself.
        input_shape: shape of one input, or of each by name; needed where the model is no `nn.Sequential` of two modules
            or more, which is then traced (see `sequential_of`).

    Raises:
        InputError: no such model, a function that fails, or what was returned cannot be cut.
    """
    make = builder_of(model) if isinstance(model, str) else model
    with seeded(draw_seed(generator)):
        return sequential_of(_made(make), input_shape)


def build_for(
    model: str | None, input_shape: tuple[int, ...], classes: int, *, generator: torch.Generator
) -> tuple[nn.Sequential, str]:
    """The model of this name (the paper's net for such inputs if None), checked against the data, and its name.

    Raises:
        InputError: no such model, or one that does not fit.
    """
    name = model or default_for(input_shape)
    built = build(name, generator=generator, input_shape=input_shape)
    check_fits(built, input_shape, classes)
    return built, name


def default_for(input_shape: tuple[int, ...]) -> str:
    """The name of the paper's net for pictures of this shape.

    Raises:
        InputError: neither net takes such pictures.
    """
    nets: dict[tuple[int, ...], str] = {(1, 28, 28): "mnist-net", (3, 32, 32): "cifar-net"}
    if tuple(input_shape) not in nets:
        raise InputError(
            f"The paper's nets take pictures of shape (1, 28, 28) or (3, 32, 32), not {tuple(input_shape)}; "
            "name a model that takes yours, for example `model='my_module:build_model'`."
        )
    return nets[tuple(input_shape)]


def check_fits(model: nn.Sequential, input_shape: tuple[int, ...], classes: int) -> None:
    """Check that `model` turns inputs of this shape into one score for each class.

    Raises:
        InputError: it does not.
    """
    last = cuts(nn.Sequential(*model, nn.Identity()), input_shape)[-1]
    if last.shape != (classes,):
        raise InputError(
            f"The model's output has shape {last.shape} for each input but the data have {classes} classes; "
            f"end the model in a layer with {classes} outputs."
        )


def builder_of(name: str) -> Callable[[], nn.Module]:
    """The function that builds the model of this name: one of `MODELS`, or the user's own as "module:function".

    Raises:
        InputError: there is no such model, module or function, or the module cannot be imported.
    """
    if name in MODELS:
        return MODELS[name]
    if ":" not in name:
        raise unknown_name("model", name, MODELS)
    module_name, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"There is no module '{module_name}' here for the model '{name}'; write module:function."
            ) from error
        raise InputError(
            f"The module '{module_name}' for the model needs the package '{error.name}', which is not installed here; "
            "install it beside unsplit."
        ) from error
    except (Exception, SystemExit) as error:
        raise InputError(f"The module '{module_name}' for the model cannot be imported: {_said(error)}.") from error
    make = getattr(module, function, None)
    if not callable(make):
        raise InputError(f"The module '{module_name}' has no function '{function}' to build the model with.")
    built: Callable[[], nn.Module] = make
    return built


def _made(make: Callable[[], nn.Module]) -> nn.Module:
    """What the user's function builds.

    Raises:
        InputError: it fails, or builds no module.
    """
    made: object
    try:
        made = make()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The function that builds the model failed: {_said(error)}; mend it, or wrap it in a function that needs "
            "no arguments and returns the model."
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"The function that builds the model returned a {type(made).__name__}; it must return an nn.Module."
        )
    return made


def _said(error: BaseException) -> str:
    """An error of the user's code in one line, with the innermost place in it that is not a library's."""
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {text}"
    ours, libraries = str(Path(__file__).parent), ("site-packages", "dist-packages", "<")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in libraries) and not frame.filename.startswith(ours)
    ]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"
