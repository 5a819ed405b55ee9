"""Reduced precision is chosen by what the processor or GPU computes natively, and what was used is told."""

import jaxtyping
import pytest
import torch

from helpers.checks import refused
from unsplit import devices
from unsplit.attacks.auxiliary import SdarConfig, sdar_preset
from unsplit.attacks.inversion import LearningConfig, preset
from unsplit.devices import reduces_precision, resolved_precision
from unsplit.experiment import AuditConfig
from unsplit.experiment.provenance import provenance

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """A processor of a given kind: what torch and oneDNN say of it."""

    def make(*, capability: str = "AVX512", avx512_bf16: bool = False, onednn: bool = True, cap: str | None = None):
        devices._computes_bfloat16.cache_clear()
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16, raising=False)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
        for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)
        if cap is not None:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)

    yield make
    devices._computes_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("kind", "native"),
    [
        ({"capability": "AVX2", "onednn": False}, False),
        # oneDNN emulates bfloat16 on any AVX-512, which torch takes for support.
        ({"capability": "AVX512", "onednn": True}, False),
        ({"capability": "AVX512", "avx512_bf16": True}, True),
        ({"capability": "AVX512", "avx512_bf16": True, "cap": "AVX2"}, False),
        ({"capability": "AVX512", "avx512_bf16": True, "cap": "AVX512_CORE"}, False),
        ({"capability": "AVX512", "avx512_bf16": True, "cap": "AVX512_CORE_BF16"}, True),
        ({"capability": "DEFAULT", "onednn": True}, True),  # an Arm processor with its instructions
        ({"capability": "DEFAULT", "onednn": False}, False),
    ],
)
def test_auto_asks_for_instructions_not_for_support(processor, kind, native):
    processor(**kind)
    assert reduces_precision("auto", CPU) is native
    assert resolved_precision("auto", CPU) == ("on" if native else "off")


def test_a_device_without_a_known_answer_computes_in_full_precision():
    assert reduces_precision("auto", torch.device("mps")) is False


@pytest.mark.parametrize("native", [False, True])
def test_on_and_off_are_obeyed_everywhere(processor, native):
    processor(avx512_bf16=native)
    assert reduces_precision("on", CPU) is True
    assert reduces_precision("off", CPU) is False


def test_another_word_is_refused(monkeypatch):
    # The type checker of the tests would come first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for call in (
        lambda: reduces_precision("maybe", CPU),
        lambda: LearningConfig(reduced_precision="maybe"),
        lambda: SdarConfig(reduced_precision="maybe"),
        lambda: AuditConfig(reduced_precision="maybe"),
        lambda: preset("strong", 1, precision="maybe"),
    ):
        assert "auto, off, on" in refused(call)


def test_presets_take_the_setting_and_the_authors_code_is_left_in_float32():
    assert preset("strong", 1).learning.reduced_precision == "auto"
    assert preset("strong-quick", 1, precision="on").learning.reduced_precision == "on"
    assert preset("joint", 1, precision="on") == preset("joint", 1)
    assert sdar_preset("paper").reduced_precision == "off"


@pytest.mark.parametrize(("precision", "used"), [("on", "bfloat16"), ("off", "float32")])
def test_provenance_says_what_was_used(precision, used):
    told = provenance("x", seed=0, device=CPU, precision=precision, started=0.0)
    assert told.precision == used
