"""What is loaded before it is needed: by the program for a word of help, and by the package for its names."""

import json
import subprocess
import sys

import pytest

import unsplit
from unsplit import choices
from unsplit.attacks.he2019 import WHITE_BOX
from unsplit.attacks.inversion import PRESETS
from unsplit.attacks.labels import LABEL_ATTACKS
from unsplit.cli import options
from unsplit.defenses import DEFENSES
from unsplit.defenses.detection import GUARDS
from unsplit.studies.reproduction import TABLES
from unsplit.studies.tradeoff import STRENGTHS
from unsplit.verdict.thresholds import METRICS

# Top-level packages beside the standard library; what torch itself loads goes without saying in the second list.
PROGRAM = {
    "annotated_doc", "annotated_types", "attr", "click", "markdown_it", "mdurl", "pydantic", "pydantic_core",
    "pygments", "rich", "shellingham", "typer", "typing_extensions", "typing_inspection", "unsplit",
}  # fmt: skip
PACKAGE = {
    "PIL", "annotated_types", "backports", "certifi", "charset_normalizer", "cython_runtime", "idna", "jaxtyping",
    "jinja2", "markupsafe", "numpy", "packaging", "platformdirs", "pooch", "pydantic", "pydantic_core", "requests",
    "safetensors", "torch", "typing_inspection", "unsplit", "urllib3", "yaml",
}  # fmt: skip

SAY = """
import contextlib, io, json, os, sys
before = set()
from unsplit.cli import main

def say(*words):
    sys.argv, printed = ["unsplit", *words], io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main()
    return printed.getvalue()

said = [say("--version"), say("--help")]
"""
HELP = """
import typer
from unsplit.cli.app import app

def helped(group, *above):
    for name, command in group.commands.items():
        said.append(say(*above, name, "--help"))
        if hasattr(command, "commands"):
            helped(command, *above, name)

helped(typer.main.get_command(app))
os.environ |= {"_UNSPLIT_COMPLETE": "complete_bash", "COMP_WORDS": "unsplit audit --pre", "COMP_CWORD": "2"}
said.append(say())
"""
USE = """
import json, sys
import torch
before = set(sys.modules)
from unsplit import *
said = [str(AuditConfig().optimizer)]
"""
TELL = "\nprint(json.dumps({'said': said, 'loaded': sorted(set(sys.modules) - before)}))"


def loaded(code):
    """What a new process that runs this code says, and the packages and the modules that it has then loaded."""
    done = subprocess.run([sys.executable, "-c", code + TELL], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    packages = {name.partition(".")[0] for name in told["loaded"]} - set(sys.stdlib_module_names)
    return told["said"], {name for name in packages if not name.startswith("_")}, set(told["loaded"])


def test_version_help_and_completion_load_no_torch():
    said, packages, _ = loaded(SAY + HELP)
    assert said[0].startswith("unsplit 0.")
    assert len(said) == 3 + 11 + 3
    assert all("Usage" in text for text in said[1:-1])
    assert said[-1].split() == ["--presets"]
    assert packages <= PROGRAM


def test_the_package_loads_nothing_that_its_names_do_not_need():
    said, packages, modules = loaded(USE)
    assert said == ["adam, rate 0.001"]
    assert packages <= PACKAGE
    assert "torch._dynamo" not in modules


def test_every_public_name_has_a_home():
    assert sorted(name for names in unsplit._HOMES.values() for name in names) == sorted(unsplit.__all__)
    assert set(unsplit.__all__) <= set(dir(unsplit))
    assert unsplit.metrics.mse
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        unsplit.audits  # noqa: B018


@pytest.mark.parametrize(
    ("offered", "there_are"),
    [
        ("PRESETS", PRESETS),
        ("DEFENSES", DEFENSES),
        ("GUARDS", GUARDS),
        ("LABEL_ATTACKS", LABEL_ATTACKS),
        ("METRICS", METRICS),
        ("STRENGTHS", STRENGTHS),
        ("TABLES", TABLES),
        ("WHITE_BOX", WHITE_BOX),
    ],
)
def test_options_offer_what_there_is(offered, there_are):
    assert getattr(choices, offered) == tuple(there_are), (
        f"Name them in unsplit/choices.py, in this order: {(*there_are,)}"
    )


def test_every_guard_that_is_offered_can_be_made():
    assert len({type(options.guard(name)) for name in choices.GUARDS}) == len(choices.GUARDS)
