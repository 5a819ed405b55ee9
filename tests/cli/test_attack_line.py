"""What the command `attack` says of what it found."""

from pathlib import Path

import pytest

from unsplit.cli.attack import _line
from unsplit.experiment.traffic.attack import InversionFindings


@pytest.mark.parametrize(
    ("told", "ending"),
    [
        ({"sign": "untested"}, "sign untested."),
        ({"sign": "resolved", "decided_by": "objective", "sure": False}, "sign resolved (decided by objective)."),
        (
            {"sign": "resolved", "decided_by": "agreement", "sure": True},
            "sign resolved (decided by agreement); the attack is sure of its pictures.",
        ),
        ({"sign": "ambiguous", "decided_by": "nothing"}, "sign ambiguous (decided by nothing)."),
    ],
)
def test_the_line_says_what_decided_the_sign(told, ending):
    found = InversionFindings(inputs=3, residual=0.02, seconds=1.0, tensors="tensors", **told)
    line = _line(Path("folder"), found)
    assert line == f"3 inputs and a clone in folder/tensors; relative residual 0.02, {ending}"
