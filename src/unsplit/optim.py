"""An optimiser as a plain value, so that it can be agreed on, written down and known to an attacker."""

import inspect
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from .errors import InputError, unknown_name

# These want more than gradients: a closure that evaluates the loss again, sparse gradients, or matrices alone.
_UNFIT = ("LBFGS", "SparseAdam", "Muon")

# One kernel does a step of these.
_FUSED = ("adam", "adamw")


def _known() -> dict[str, type[torch.optim.Optimizer]]:
    return {
        name.lower(): member
        for name, member in vars(torch.optim).items()
        if isinstance(member, type)
        and issubclass(member, torch.optim.Optimizer)
        and member is not torch.optim.Optimizer
        and name not in _UNFIT
    }


class _OptionsTakenError(Exception):
    """An optimiser has come as far as its parameters."""


class _Parameters(Iterable[Tensor]):
    """Parameters that stop whoever asks for them."""

    def __iter__(self) -> NoReturn:
        raise _OptionsTakenError


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """Any optimiser of `torch.optim` with its options.

    Args:
        name: name of its class, in any case: "adam", "SGD", ... (not LBFGS, SparseAdam or Muon, which want more).
        lr: learning rate, above 0.
        options: the other keyword arguments of that class, for example `{"momentum": 0.9}`.

    Raises:
        InputError: the name is not in `torch.optim`, or an option is not one of its arguments or out of range.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str = "adam"
    lr: float = 1e-3
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name.lower() not in _known():
            raise unknown_name("optimiser", self.name, _known())
        if not self.lr > 0:
            raise InputError(f"The learning rate is {self.lr}; it must be above 0, for example 0.001.")
        options = [name for name in inspect.signature(self._kind).parameters if name not in ("params", "lr")]
        for unknown in (name for name in self.options if name not in options):
            raise self._refusal(f"it has no option '{unknown}'; its options are {', '.join(options)}")
        # A class looks at its options before it looks at its parameters. To build one would load torch._dynamo.
        with suppress(_OptionsTakenError):
            self.build(_Parameters())

    @property
    def _kind(self) -> Any:
        return _known()[self.name.lower()]

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"The optimiser {self.name} refuses its options {self.options}: {reason}.")

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The optimiser for these parameters."""
        try:
            optimizer: torch.optim.Optimizer = self._kind(parameters, lr=self.lr, **self.options)
        except (TypeError, ValueError) as error:
            raise self._refusal(str(error)) from error
        return optimizer

    def fastest(self, device: torch.device) -> "OptimizerSpec":
        """The same optimiser as this device steps it fastest: by one kernel where torch has one, and on CUDA with its
        state there, so that a graph can do its steps. The numbers are the same within rounding.
        """
        known = inspect.signature(self._kind).parameters
        more: dict[str, Any] = {"capturable": True} if device.type == "cuda" and "capturable" in known else {}
        chosen = {"foreach", "fused", "differentiable"} & self.options.keys()
        if self.name.lower() in _FUSED and device.type in ("cpu", "cuda") and not chosen:
            more["fused"] = True
        return replace(self, options=more | self.options) if more else self

    def __str__(self) -> str:
        options = "".join(f", {key} {value}" for key, value in self.options.items())
        return f"{self.name.lower()}, rate {self.lr:g}{options}"


def check_betas(betas: tuple[float, float]) -> None:
    """Check Adam's betas.

    Raises:
        InputError: one is outside [0, 1).
    """
    if not all(0 <= beta < 1 for beta in betas):
        raise InputError(f"betas are {betas}; each must be from 0 to below 1.")


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as "PARAMETER NUMBER/KEY"."""
    return {
        f"{index}/{key}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
        if value is not None
    }


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state_tensors` gave, where it is not empty."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value.clone()
    if state:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def parse_optimizer(text: str) -> OptimizerSpec:
    """An optimiser written as name or name:option=value,...

    Raises:
        InputError: not of this form, or refused by torch.
    """
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"The optimiser '{text}' is not of the form name:option=value, for example adam:lr=0.001.")
        options[key.strip()] = _value(value.strip())
    rate = options.pop("lr", 0.01 if name.lower() == "sgd" else 1e-3)
    if not isinstance(rate, float | int):
        raise InputError(f"The learning rate '{rate}' is not a number; write for example {name}:lr=0.001.")
    return OptimizerSpec(name=name, lr=float(rate), options=options)


def _value(text: str) -> float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text
