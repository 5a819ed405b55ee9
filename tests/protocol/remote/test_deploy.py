"""The page on deployment is true: its path is walked, and what it names exists."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from helpers.parties import free_port
from unsplit.cli.app import app
from unsplit.protocol.remote import RunConfig, Telemetry, logger

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
DEPLOY = ROOT / "deploy"

# `unsplit` as the page's commands find it: notes how it was called, and listens on a port that is free.
SHIM = f"""#!{sys.executable}
import json, sys
from pathlib import Path

with Path("calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
place = {{"serve": "--address", "join": "--server"}}.get(sys.argv[1])
sys.argv += [place, "localhost:PORT"] if place else []
from unsplit.cli import main

main()
"""


def part(name):
    """The code block of the page that is marked with this name."""
    block = re.search(rf"<!-- path: {re.escape(name)} -->\n(?:```\w*\n(.*?)```|((?:    [^\n]*\n)+))", PAGE, re.S)
    return block[1] or re.sub(r"^    ", "", block[2], flags=re.M)


@pytest.fixture
def walk(tmp_path):
    """Runs lines of the shell in an empty folder, each of them beside the others; returns what they print."""
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "unsplit"
    shim.write_text(SHIM.replace("PORT", str(free_port())))
    shim.chmod(0o755)
    begun = []

    def walk(*lines):
        now = []
        for number, line in enumerate(lines, len(begun)):
            command = ["sh", "-c", f'PATH="{tmp_path}/bin:$PATH"\n{line}']
            with (tmp_path / f"printed{number}").open("w") as out:
                streams = {"stdout": out, "stderr": subprocess.STDOUT, "start_new_session": True}
                now.append(subprocess.Popen(command, cwd=tmp_path, **streams))
        begun.extend(now)
        printed = []
        for process in now:
            process.wait(timeout=240)
            printed.append((tmp_path / f"printed{begun.index(process)}").read_text())
            assert process.returncode == 0, printed[-1]
        return printed

    yield walk
    for process in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # all that it has started, too
        process.wait(10)


@pytest.mark.slow
def test_the_path_of_a_newcomer(tmp_path, walk):
    """Every command of it, with nothing changed but the port, so that several can be walked at once. The script stands
    for the four terminals, since its commands are theirs.
    """
    (tmp_path / "run.yaml").write_text(part("run.yaml"))
    assert "120 steps" in walk(part("script"))[0]
    ran = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    shown = [line for name in ("certs", "server", "clients") for line in part(name).splitlines()]
    assert sorted(ran) == sorted(shlex.split(line)[1:] for line in shown)
    walk(*part("attack").splitlines())
    assert json.loads((tmp_path / "runs" / "attack" / "attack.json").read_text())["inputs"] > 0
    report = json.loads((tmp_path / "runs" / "audit" / "report.json").read_text())
    (row,) = report["recorded"]["inversion"]
    assert row["scores"]["mse"] < row["scores"]["mse_best_trivial"] / 5
    assert (tmp_path / "runs" / "audit" / "report.html").stat().st_size > 10_000


def test_every_setting_is_on_the_page_with_its_default():
    rows = dict(re.findall(r"^\| (`.+?`) \| (.+?) \|", PAGE, re.M))
    found = {name: default for names, default in rows.items() for name in re.findall(r"`(\w+)`", names)}
    defaults = json.loads(RunConfig().model_dump_json())
    assert defaults.keys() <= found.keys()
    for name, default in defaults.items():
        if isinstance(default, dict):
            assert found[name].split(", ")[0] == default["name"]
            assert "lr" not in default or float(found[name].split(", ")[1]) == default["lr"]
        else:
            assert yaml.safe_load(found[name]) == ("none" if default is None else default), name


def test_every_metric_of_the_page_exists_and_the_other_way_round():
    telemetry = Telemetry(log=logger(quiet=True))
    there = {family.name + ("_total" if family.type == "counter" else "") for family in telemetry.registry.collect()}
    assert set(re.findall(r"`(unsplit_\w+)`", PAGE)) == there


def test_every_event_and_reason_of_the_page_exists_and_the_other_way_round():
    source = "".join(path.read_text() for path in (ROOT / "src/unsplit/protocol/remote").glob("*.py"))
    events = re.search(r"Events: (.*?)\. The last", PAGE, re.S)[1]
    assert set(re.findall(r"`(\w+)`", events)) - {"steps_again"} == set(re.findall(r'log\.\w+\("(\w+)"', source))
    table = re.search(r"^\| reason \|.*?\n\n", PAGE, re.M | re.S)[0]
    reasons = re.findall(r'(?:\.refused\(|_refuse\(\s*context, )"(\w+)"', source)
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == set(reasons)


def test_every_option_of_the_page_exists():
    commands = typer.main.get_command(app).commands
    params = [param for name in ("attack", "audit", "certs", "join", "serve") for param in commands[name].params]
    known = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    assert set(re.findall(r"--[a-z][a-z-]*", PAGE)) - {"--build"} - known == set()


def understood(words):
    """The program takes these words, short of running them."""
    from typer.main import get_command

    from unsplit.cli.app import app

    context = get_command(app).make_context("unsplit", list(words))
    name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
    return command.make_context(name, rest, parent=context).params


def test_containers_use_what_there_is():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    config = RunConfig.model_validate(yaml.safe_load((DEPLOY / "run.yaml").read_text()))
    services = compose["services"]
    assert set(services) == {"server", *config.clients}
    assert [name for name, service in services.items() if "build" in service] == ["server"]
    for name, service in services.items():
        asked = understood(service["command"].split())
        assert asked.get("name", "server") == name
        places = {place: Path(source) for source, place, *_ in (volume.split(":") for volume in service["volumes"])}
        wanted = [str(value) for value in asked.values() if isinstance(value, Path)]
        assert set(wanted) == set(places)
        files = {source.name for place, source in places.items() if place.startswith("/certs")}
        assert files == {"ca.pem", f"{name}.pem", f"{name}.key"}
    copied = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.M)
    assert all((ROOT / name).exists() for name in copied)
    needed = ["pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "src", "constraints.txt"]
    assert set(needed) == set(copied)


def test_the_service_uses_what_there_is(tmp_path):
    unit = (DEPLOY / "unsplit-server.service").read_text()
    command = re.search(r"^ExecStart=(\S+) ((?:.*\\\n)*.*)$", unit, re.M)
    assert understood(command[2].replace("\\\n", " ").split())["out"] == Path("/var/lib/unsplit")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here to ask")
    copy = tmp_path / "unsplit-server.service"
    copy.write_text(unit.replace(command[1], "/bin/true"))
    asked = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")
