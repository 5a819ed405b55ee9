"""Cells on real clusters: two workers of Ray or Dask, one of which is killed half-way."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from unsplit.cli import main
from unsplit.studies.grid import Cell
from unsplit.studies.reproduction import ExecutorConfig, Store, run

CLUSTER = {
    "dask": """
        from distributed import LocalCluster
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        address = cluster.scheduler_address
    """,
    "ray": """
        from ray.cluster_utils import Cluster
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        address = cluster.address
    """,
}


@dataclass(frozen=True, kw_only=True)
class SlowCell(Cell):
    """Says in a file by which process it is run, and takes a second."""

    kind = "slow"
    folder: str

    @property
    def label(self):
        return f"slow cell {self.seed}"

    def run(self, needed):  # noqa: ARG002
        with (Path(self.folder) / f"{self.seed}.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(1)
        return {"square": self.seed**2}, {"value": torch.full((2,), float(self.seed))}


@pytest.fixture(params=sorted(CLUSTER))
def cluster(request):
    """The name of an executor, and the address of a cluster of two workers in processes of its own."""
    pytest.importorskip("distributed" if request.param == "dask" else "ray")
    body = "\n".join(line.strip() for line in CLUSTER[request.param].strip().splitlines())
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    script = f"if __name__ == '__main__':\n{indented}\n    print('at', address, flush=True)\n    input()\n"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
        start_new_session=True,
    )
    try:
        address = next(line.split()[1] for line in process.stdout if line.startswith("at "))
        yield request.param, address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Of the clusters' own libraries.
def test_a_worker_killed_half_way_loses_nothing_and_does_nothing_twice(cluster, tmp_path):
    executor, address = cluster
    log = tmp_path / "log"
    log.mkdir()
    cells = [SlowCell(dataset="digits", seed=seed, folder=str(log)) for seed in range(10)]
    ended = []

    def tell(progress):
        ended.append(progress.cell.seed)
        if len(ended) == 4:
            os.kill(int((log / f"{progress.cell.seed}.txt").read_text().split()[-1]), signal.SIGKILL)

    with Store(tmp_path / "store") as store:
        summary = run(store, cells, ExecutorConfig(executor=executor, address=address), tell=tell)
        stored = {cell.config["seed"]: (cell.status, cell.row["square"]) for cell in store}
        assert float(store.tensors(store.get(cells[3].key))["value"][0]) == 3
        again = run(store, cells, ExecutorConfig(executor=executor, address=address))
    assert summary.failed == 0
    assert Counter(ended) == Counter(range(10)), "each ends once"
    assert stored == {seed: ("done", seed**2) for seed in range(10)}
    assert again.ran == 0
    runs = [len(file.read_text().split()) for file in log.iterdir()]
    assert sum(runs) <= 10 + 4, "only what was under way or not yet handed over at the death was run again"
    workers = {line for file in log.iterdir() for line in file.read_text().split()}
    assert len(workers) >= 2


@pytest.mark.parametrize(("executor", "address"), [("dask", "tcp://127.0.0.1:9"), ("ray", "127.0.0.1:9")])
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there(executor, address, tmp_path, monkeypatch, capsys):
    pytest.importorskip("distributed" if executor == "dask" else "ray")
    arguments = ["table2", "--budget", "smoke", "--executor", executor, "--address", address, "--quiet"]
    monkeypatch.setattr(sys, "argv", ["unsplit", "reproduce", *arguments, "--store", str(tmp_path / "store")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert f"cluster at {address}; start one" in capsys.readouterr().err


def test_a_library_that_is_not_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = ["table2", "--budget", "smoke", "--executor", "dask", "--quiet", "--store", str(tmp_path / "store")]
    monkeypatch.setattr(sys, "argv", ["unsplit", "reproduce", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "pip install unsplit[dask]" in capsys.readouterr().err
