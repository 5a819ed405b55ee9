"""An audit with data of the server's own: which attacks run, what they may not have, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from unsplit.attacks.auxiliary import FORA_PRESETS, SDAR_PRESETS, fora_preset, sdar_preset
from unsplit.data import load
from unsplit.errors import InputError
from unsplit.experiment import AuditConfig, audit
from unsplit.experiment.auditing.fitting import auxiliary_data


@pytest.fixture
def short(monkeypatch):
    """Both attacks with a few iterations of small networks."""
    sdar = dataclasses.replace(sdar_preset("quick"), iterations=4, feature_width=8, picture_width=4, batch_size=8)
    fora = dataclasses.replace(
        fora_preset("quick"), iterations=4, inverse_iterations=4, substitute_width=4, inverse_width=4
    )
    monkeypatch.setitem(SDAR_PRESETS, "quick", sdar)
    monkeypatch.setitem(FORA_PRESETS, "quick", fora)


@pytest.mark.usefixtures("short")
def test_attacks_with_data_stand_beside_the_presets():
    config = AuditConfig(
        cuts=(2,), states=("after",), epochs=1, presets=("joint-quick",), label_setups=(), auxiliary="test"
    )
    found = audit(config)
    rows = {row.preset: row for row in found.result.inversion}
    assert list(rows) == ["joint-quick", "sdar", "fora"]
    assert all(picture.shape == found.originals.shape for picture in found.reconstructions)
    assert rows["sdar"].guesses == rows["joint-quick"].guesses
    threats = {row.attack for row in found.result.threat_models}
    assert {"invert_by_simulation_without_labels", "invert_by_feature_matching"} <= threats


def test_no_target_is_among_the_server_s_own_data():
    splits = load("digits")
    targets = splits.test.one_per_class()
    own = auxiliary_data("test", splits, targets, None)
    assert len(own) == len(splits.test) - len(targets)
    flat = targets.images.flatten(1)
    assert not any(bool((flat == image).all(1).any()) for image in own.images.flatten(1))


def test_data_of_another_form_are_refused(tmp_path):
    splits = load("digits")
    np.savez(tmp_path / "other.npz", x=torch.zeros(6, 1, 8, 8).numpy(), y=np.arange(6) % 2)
    with pytest.raises(InputError, match="name data of the same form, or 'test'"):
        auxiliary_data(str(tmp_path / "other.npz"), splits, splits.test.one_per_class(), None)
