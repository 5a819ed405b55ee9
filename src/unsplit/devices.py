"""Choosing where tensors live, and how precisely to compute there."""

import functools
import os
from typing import Literal, get_args

import torch

from unsplit.choices import Precision as Precision
from unsplit.errors import InputError, unknown_name


def device(name: str) -> torch.device:
    """The device of this name, once a tensor was seen to fit on it.

    Raises:
        InputError: torch knows no such device, or this machine does not have it.
    """
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"The device '{name}' is not available on this machine; use `device='cpu'`.") from error
    if chosen.type == "meta":
        raise InputError("The device 'meta' holds no numbers; use `device='cpu'`.")
    return chosen


def is_cuda(name: str) -> bool:
    """Whether the device of this name is a CUDA device, be it there or not."""
    return torch.device(name).type == "cuda"


def card(name: str) -> str | None:
    """The model of the device of this name, as its driver says it; None for the processor, which torch cannot tell."""
    kind = torch.device(name).type
    if kind == "cpu":
        return None
    return str(torch.cuda.get_device_name(torch.device(name))) if kind == "cuda" else kind


def check_precision(precision: str) -> None:
    """Check a setting of reduced precision.

    Raises:
        InputError: it is not "auto", "on" or "off".
    """
    if precision not in get_args(Precision):
        raise unknown_name("setting of reduced precision", precision, get_args(Precision))


def reduces_precision(precision: str, device: torch.device) -> bool:
    """Whether this setting means bfloat16 on this device.

    Args:
        precision: "on", "off", or "auto": where the device computes in bfloat16 natively. Where it does not, torch
            computes it all the same, several times slower than float32.
        device: device of the tensors.

    Raises:
        InputError: no such setting.
    """
    check_precision(precision)
    return precision == "on" or (precision == "auto" and _computes_bfloat16(device.type))


def resolved_precision(precision: str, device: torch.device) -> Precision:
    """The same setting as "on" or "off", which says the same on every machine."""
    return "on" if reduces_precision(precision, device) else "off"


def decoder_arithmetic(precision: str, device: torch.device) -> Literal["float32", "bfloat16"]:
    """The number type in which this setting has decoders compute their convolutions, as reports name it."""
    return "bfloat16" if reduces_precision(precision, device) else "float32"


@functools.cache
def _computes_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # oneDNN, which computes torch's convolutions, can be told to keep to fewer instructions than the processor has.
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "DEFAULT")).upper()
    if kind != "cpu" or not any(word in allowed for word in ("DEFAULT", "ALL", "BF16", "FP16", "AMX", "AVX10")):
        return False
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        # Private, and not there before torch 2.6.
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
