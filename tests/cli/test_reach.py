"""What no command reaches says so."""

import ast
from pathlib import Path

import pytest

import unsplit
import unsplit.attacks.auxiliary
import unsplit.attacks.he2019
import unsplit.attacks.inversion
import unsplit.attacks.labels
import unsplit.attacks.rows
from unsplit.attacks._threat_model import _THREAT_MODELS
from unsplit.protocol import averaging

SOURCE = Path(unsplit.__file__).parent
USED = {
    node.id
    for path in SOURCE.rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Name)
}
OURS = [attack for attack in _THREAT_MODELS if attack.__module__.startswith("unsplit.")]


@pytest.mark.parametrize("public", [*OURS, averaging.splitfed_training], ids=lambda public: public.__name__)
def test_what_is_for_python_alone_says_so(public):
    assert ("no command runs it" in " ".join(public.__doc__.split())) != (public.__name__ in USED)
