"""The page on deployment is true: its path is walked, and what it names exists."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from parties import free_port
from unsplit.protocol.remote import RunConfig, Telemetry, logger

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "deploy.md").read_text()


def part(name):
    """The code block of the page that is marked with this name."""
    block = re.search(rf"<!-- path: {re.escape(name)} -->\n(?:```\w*\n(.*?)```|((?:    [^\n]*\n)+))", PAGE, re.S)
    return block[1] or re.sub(r"^    ", "", block[2], flags=re.M)


@pytest.mark.slow
def test_the_path_of_a_newcomer(tmp_path):
    """Every command of it, with nothing changed but the port, so that several can be walked at once."""
    port = free_port()

    def begin(line):
        words = [sys.executable, "-c", "from unsplit.cli import main; main()", *shlex.split(line)[1:]]
        address = {"serve": "--address", "join": "--server"}.get(words[3])
        return subprocess.Popen(
            [*words, *([address, f"localhost:{port}"] if address else [])],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(process):
        printed, _ = process.communicate(timeout=240)
        assert process.returncode == 0, printed
        return printed

    finish(begin(part("certs").strip()))
    (tmp_path / "run.yaml").write_text(part("run.yaml"))
    together = [begin(line) for line in [*part("server").splitlines(), *part("clients").splitlines()]]
    try:
        printed = [finish(process) for process in together]
    finally:
        for process in together:
            process.kill()
    assert "120 steps" in printed[0]
    for line in part("attack").splitlines():
        finish(begin(line))
    report = json.loads((tmp_path / "runs" / "audit" / "report.json").read_text())
    assert report
    assert (tmp_path / "runs" / "audit" / "report.html").stat().st_size > 10_000


def test_every_setting_is_on_the_page_with_its_default():
    rows = dict(re.findall(r"^\| (`.+?`) \| (.+?) \|", PAGE, re.M))
    found = {name: default for names, default in rows.items() for name in re.findall(r"`(\w+)`", names)}
    defaults = {name: field.default for name, field in RunConfig.model_fields.items()}
    assert defaults.keys() <= found.keys()
    for name, default in defaults.items():
        plain = json.loads(RunConfig().model_dump_json())[name]
        if isinstance(plain, dict):
            continue
        shown = yaml.safe_load(found[name])
        assert shown == ("none" if default is None else plain), name


def test_every_metric_of_the_page_exists_and_the_other_way_round():
    telemetry = Telemetry(log=logger(quiet=True))
    there = {family.name + ("_total" if family.type == "counter" else "") for family in telemetry.registry.collect()}
    assert set(re.findall(r"`(unsplit_\w+)`", PAGE)) == there


def test_every_option_of_the_page_exists():
    from unsplit.cli import attack, audit, certs, join, serve

    texts = " ".join(Path(module.__file__).read_text() for module in (attack, audit, certs, join, serve))
    known = {name.replace("_", "-") for name in re.findall(r"^    (\w+): ", texts, re.M)}
    named = set(re.findall(r"--([a-z][a-z-]*)", PAGE.replace("--no-record", "--record"))) - {"build"}
    assert named - known - set(re.findall(r'"--([a-z-]+)"', texts)) == set()


def test_containers_and_service_use_what_there_is():
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    assert len(compose["services"]) == 4
    unit = (ROOT / "deploy" / "unsplit-server.service").read_text()
    commands = [service["command"].split() for service in compose["services"].values()]
    commands.append(re.sub(r"\\\n", " ", re.search(r"ExecStart=\S+ (.*?)\nState", unit, re.S)[1]).split())
    from unsplit.cli import join, serve

    options = {"serve": Path(serve.__file__).read_text(), "join": Path(join.__file__).read_text()}
    for command in commands:
        for option in (word for word in command if word.startswith("--")):
            assert re.search(rf'^    {option[2:].replace("-", "_")}: |"{option}"', options[command[0]], re.M) or (
                option == "--out"
            )
    for name, service in compose["services"].items():
        mounted = [volume for volume in service["volumes"] if "certs" in volume]
        assert not any("ca.key" in volume or "peer" in volume for volume in mounted)
        assert all(name in volume or "ca.pem" in volume for volume in mounted)
    assert "name: unsplit" in (ROOT / "deploy" / "compose.yaml").read_text()
    RunConfig.model_validate(yaml.safe_load((ROOT / "deploy" / "run.yaml").read_text()))
