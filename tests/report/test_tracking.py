"""An audit in MLflow: what is logged equals what the report says, and nothing is lost without a store."""

import json
import math
import sys

import pytest

from helpers.reports import LABELS, ROWS, pictures, result
from helpers.verdicts import recorded, whole
from unsplit.errors import InputError, StorageError
from unsplit.experiment import AuditConfig
from unsplit.report import tracking, write_report
from unsplit.report.tracking import metrics, parameters, track
from unsplit.results import PictureScores
from unsplit.verdict import verdict
from unsplit.verdict.assets import named


def test_every_number_of_every_row_is_a_metric():
    content = result().model_copy(update={"whole": whole()})
    found = metrics(content, verdict(content))
    for row in ROWS:
        assert found[f"inversion/{named(row).replace('(', '').replace(')', '').replace(',', '')}/mse"] == row.mse
    assert len([name for name in found if name.endswith("/accuracy_up_to_names")]) == len(LABELS)
    assert found["whole/whole_accuracy"] == 0.7
    assert found["training/accuracy"] == 0.966
    assert found["verdict/leakage"] == verdict(content).leakage
    assert all(math.isfinite(value) for value in found.values())
    assert len([name for name in found if "/accuracy" in name and name.startswith("labels")]) == 2 * len(LABELS) - 1


def test_recorded_rows_are_metrics_too():
    scores = PictureScores(**ROWS[0].model_dump(include=set(PictureScores.model_fields)))
    found = metrics(recorded(scores), verdict(recorded(scores)))
    assert found["inversion/step 9 joint/scores.mse"] == ROWS[0].mse
    assert found["labels/infer_by_surrogate/margin"] == 1.5


def test_settings_are_flat_and_short():
    found = parameters(AuditConfig(data="x" * 9000))
    assert found["optimizer.name"] == "adam"
    assert found["cuts"] == "(1, 2, 3)"
    assert len(found["data"]) == 500
    assert found["label_optimizers"].startswith("(")


def test_without_mlflow_it_is_one_sentence_before_anything_is_done(monkeypatch, tmp_path, capsys):
    from unsplit.cli.app import main

    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'unsplit\[mlflow\]'"):
        tracking.check_installed()
    monkeypatch.setattr("unsplit.cli.trained.run_audit", None)
    monkeypatch.setattr(sys, "argv", ["unsplit", "audit", "--mlflow", "x", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "MLflow, which is not installed" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    write_report(tmp_path / "out", result(), pictures())
    return tmp_path / "out"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """MLflow with a store in a folder."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return mlflow


class TestMlflow:
    """With MLflow itself."""

    def test_a_run_holds_what_the_report_says(self, store, folder, monkeypatch):
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
        judged = verdict(result(), targets=10)
        run = track("audits", result(), judged, AuditConfig(seed=3), folder)
        again = track("audits", result(), judged, AuditConfig(seed=4), folder)
        client = store.MlflowClient()
        assert run != again
        assert client.get_run(run).info.experiment_id == client.get_run(again).info.experiment_id
        found = client.get_run(run)
        assert found.info.status == "FINISHED"
        assert found.data.metrics == metrics(result(), judged)
        report = json.loads((folder / "report.json").read_text())
        row = report["inversion"][0]
        assert found.data.metrics["inversion/depth 1 relu1 before training joint/mse"] == row["mse"]
        assert found.data.params["seed"] == "3"
        assert found.data.tags["unsplit.command"] == "unsplit audit --out runs/demo"
        artifacts = {entry.path for entry in client.list_artifacts(run)}
        assert artifacts == {"report.html", "report.json", "verdict.json", "pictures"}
        assert len(client.list_artifacts(run, "pictures")) == len(ROWS)
        assert tracking.os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

    @pytest.mark.parametrize("address", ["http://127.0.0.1:9", "nowhere://x", "file:/proc/nothing"])
    def test_a_store_that_cannot_be_reached_loses_nothing(self, address, store, folder, monkeypatch):
        assert store
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(StorageError, match=r"The audit is complete in .*MLFLOW_TRACKING_URI") as caught:
            track("audits", result(), verdict(result()), AuditConfig(), folder)
        assert "\n" not in str(caught.value)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
