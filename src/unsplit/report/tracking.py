"""An audit as a run of MLflow: its settings, every number of its rows, its verdict and its files.

Needs the extra `mlflow`. The store is the one that MLflow's own settings name (`MLFLOW_TRACKING_URI`).
"""

import dataclasses
import importlib
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unsplit.errors import InputError, StorageError
from unsplit.results import AuditResult, Row
from unsplit.verdict import Verdict
from unsplit.verdict.assets import named, named_label

_NAMES = ("depth", "head", "known_samples", "step")
"""Numbers that say which row it is."""
_ARTIFACTS = ("report.html", "report.json", "verdict.json")
_LONGEST, _BATCH = 500, 100  # MLflow's limits of a parameter's value and of parameters in one request


def check_installed() -> None:
    """Refuse to track where MLflow is not installed, which is better known before a training than after it.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise InputError("Logging needs MLflow, which is not installed; run: pip install 'unsplit[mlflow]'.")


def track(experiment: str, result: AuditResult, verdict: Verdict, settings: object, folder: Path) -> str:
    """Log one run, finished; returns its id.

    Args:
        experiment: the name of the experiment, which is made if it does not exist.
        result: the result whose rows become metrics.
        verdict: the verdict whose scores become metrics.
        settings: a dataclass, whose fields become parameters.
        folder: the folder of the report, whose files become artifacts.

    Raises:
        InputError: MLflow is not installed.
        StorageError: the store cannot be reached or refuses the run.
    """
    check_installed()
    # An audit of private data tells nobody that it was made, unless it is asked to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = importlib.import_module("mlflow")
    refused = importlib.import_module("mlflow.exceptions").MlflowException
    try:
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(experiment)
        home = client.create_experiment(experiment) if found is None else found.experiment_id
        run = client.create_run(home, run_name=_title(result)).info.run_id
        _log(client, run, result, verdict, settings)
        for name in _ARTIFACTS:
            if (folder / name).is_file():
                client.log_artifact(run, str(folder / name))
        if (folder / "pictures").is_dir():
            client.log_artifacts(run, str(folder / "pictures"), "pictures")
        client.set_terminated(run)
    except (refused, OSError, ImportError) as error:
        # Only the first line: what follows is the server's or the library's own advice and traceback.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StorageError(
            f"The audit is complete in {folder}, but MLflow did not take it ({reason.rstrip('.')}); check "
            "MLFLOW_TRACKING_URI."
        ) from error
    return str(run)


def parameters(settings: object) -> dict[str, str]:
    """The fields of a dataclass by name, nested ones with dots between; values as text, cut where MLflow would refuse
    them.
    """
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        raise TypeError("settings must be a dataclass")
    flat = _flat({field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)})
    return {name: str(value)[:_LONGEST] for name, value in flat}


def metrics(result: AuditResult, verdict: Verdict) -> dict[str, float]:
    """Every finite number of every row by the row's name, and the verdict's scores."""
    found: dict[str, float] = {}
    for name, row in _rows(result):
        for key, value in _flat(row.model_dump(exclude=set(_NAMES))):
            _put(found, f"{name}/{key}", value)
    for score in verdict.scores:
        _put(found, f"verdict/{score.asset}", score.score)
    _put(found, "verdict/leakage", verdict.leakage)
    return found


def _log(client: Any, run: str, result: AuditResult, verdict: Verdict, settings: object) -> None:
    entities = importlib.import_module("mlflow.entities")
    now = int(time.time() * 1000)
    values = [entities.Metric(name, value, now, 0) for name, value in metrics(result, verdict).items()]
    chosen = [entities.Param(name, value) for name, value in parameters(settings).items()]
    for start in range(0, max(len(values), len(chosen)), _BATCH):
        stop = start + _BATCH
        client.log_batch(run, metrics=values[start:stop], params=chosen[start:stop])
    client.set_tag(run, "unsplit.command", result.provenance.command)
    for name, version in result.provenance.versions.items():
        client.set_tag(run, f"unsplit.version.{name}", version)


def _rows(result: AuditResult) -> Iterator[tuple[str, Row]]:
    for inversion in result.inversion:
        yield f"inversion/{named(inversion)}", inversion
    for label in result.labels:
        yield f"labels/{named_label(label)}", label
    for whole in result.u_shapes:
        yield "whole, aware" if whole.aware else "whole", whole
    if result.training is not None:
        yield "training", result.training
    for cost in result.defended.costs if result.defended is not None else ():
        yield f"defended/setup ({cost.setup}), depth {cost.depth}", cost
    if result.recorded is not None:
        for row in result.recorded.inversion:
            yield f"inversion/step {row.step} {row.preset}", row
        for read in result.recorded.labels:
            yield f"labels/{read.attack}", read


def _flat(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Leaves by their path; a list's elements by their place, but short lists of plain values as they are."""
    for name, value in fields.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", leaf) for key, leaf in _flat(value))
        elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
            yield from (
                (f"{name}.{key}", leaf) for key, leaf in _flat({str(at): part for at, part in enumerate(value)})
            )
        else:
            yield name, value


def _put(found: dict[str, float], name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return
    found[re.sub(r"[^\w./ :-]", "", name)] = float(value)


def _title(result: AuditResult) -> str:
    return result.training.dataset if result.training is not None else "recorded traffic"
