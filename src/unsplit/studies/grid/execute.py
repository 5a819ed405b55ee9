"""Running tasks side by side: joblib over local processes, or over a Ray or Dask cluster through its back ends."""

import importlib
import socket
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import torch
from joblib import Parallel, delayed, parallel_config, register_parallel_backend
from joblib.externals.loky.process_executor import TerminatedWorkerError

from unsplit.errors import InputError, check_at_least_one, unknown_name

T = TypeVar("T")
R = TypeVar("R")

Deaths = tuple[type[BaseException], ...]
EXECUTORS = ("local", "ray", "dask")


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where tasks run.

    Args:
        executor: "local" processes, a "ray" or a "dask" cluster.
        jobs: tasks at a time, one thread each; None for one on each core.
        address: the cluster's address; without one, Ray starts a cluster of its own.

    Raises:
        InputError: an unknown executor, or fewer than one job.
    """

    executor: str = "local"
    jobs: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        check_at_least_one(self, "jobs")
        if self.executor not in EXECUTORS:
            raise unknown_name("executor", self.executor, EXECUTORS)


@dataclass(frozen=True, kw_only=True)
class TaskResult(Generic[R]):
    """What became of one task: its result, or what went wrong."""

    index: int
    result: R | None = None
    error: str | None = None
    details: str = ""


def execute(work: Callable[[T], R], tasks: Sequence[T], config: ExecutorConfig) -> Iterator[TaskResult[R]]:
    """Run `work` on every task; outcomes come as they end, each exactly once.

    A task that raises gives an outcome with its error, and the others go on. Where a worker is killed (for memory,
    say), the tasks that had no outcome yet are run again: side by side as long as any of them ends before the next
    death, then one at a time, so that only a task that kills its worker by itself is given up.

    Raises:
        InputError: the cluster's library is not installed, or there is no cluster at the address.
    """
    left = set(range(len(tasks)))
    with _backend(config) as deaths:
        before = len(left) + 1
        while len(left) < before:
            before = len(left)
            try:
                for outcome in _parallel(work, tasks, sorted(left), config.jobs or -1):
                    left.discard(outcome.index)
                    yield outcome
            except deaths:
                continue
        for index in sorted(left):
            yield _alone(work, tasks, index, deaths)


def _parallel(work: Callable[[T], R], tasks: Sequence[T], indices: Sequence[int], jobs: int) -> Iterator[TaskResult[R]]:
    calls = (delayed(_attempt)(work, index, tasks[index]) for index in indices)
    # A single job would run in this very process, which must survive: two workers then, with one task at a time.
    side_by_side = Parallel(
        n_jobs=2 if jobs == 1 else jobs,
        pre_dispatch=1 if jobs == 1 else "2 * n_jobs",
        return_as="generator_unordered",
        batch_size=1,
    )
    outcomes: Iterator[TaskResult[R]] = side_by_side(calls)
    return outcomes


def _alone(work: Callable[[T], R], tasks: Sequence[T], index: int, deaths: Deaths) -> TaskResult[R]:
    try:
        return next(_parallel(work, tasks, [index], 1))
    except deaths:
        return TaskResult(
            index=index, error="Its process was killed, most likely because memory ran out; run fewer `jobs`."
        )


def _attempt(work: Callable[[T], R], index: int, task: T) -> TaskResult[R]:
    torch.set_num_threads(1)
    try:
        return TaskResult(index=index, result=work(task))
    except Exception as error:
        return TaskResult(index=index, error=said(error), details=traceback.format_exc())


def said(error: Exception) -> str:
    """What a task's error says, after its kind."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@contextmanager
def _backend(config: ExecutorConfig) -> Iterator[Deaths]:
    """Joblib set to run where it is to run; gives the errors that mean that a worker has died."""
    begin = {"local": _local, "ray": _ray, "dask": _dask}[config.executor]
    with begin(config) as deaths:
        yield deaths


@contextmanager
def _local(_: ExecutorConfig) -> Iterator[Deaths]:
    with parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        # Loky replaces a worker whose memory has grown, as it does by cells of several kinds. It warns of that in the
        # thread that hands out work: nobody need know, and where warnings are errors the thread would end.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        yield (TerminatedWorkerError,)


@contextmanager
def _ray(config: ExecutorConfig) -> Iterator[Deaths]:
    ray, backend = _library("ray"), _library("ray.util.joblib.ray_backend").RayBackend
    if config.address and ":" in config.address:
        _reachable(config.address)
    try:
        ray.init(address=config.address, log_to_driver=False, num_cpus=None if config.address else config.jobs)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster("Ray", config.address) from error
    # Ray's back end can hand out results as they come; it only does not say so.
    streaming = type("Streaming", (backend,), {"supports_return_generator": True})
    register_parallel_backend("unsplit-ray", streaming)
    try:
        with parallel_config(backend="unsplit-ray"):
            yield (ray.exceptions.RayError,)
    finally:
        ray.shutdown()


@contextmanager
def _dask(config: ExecutorConfig) -> Iterator[Deaths]:
    distributed = _library("distributed")
    own = {"n_workers": config.jobs, "threads_per_worker": 1, "dashboard_address": None}
    try:
        client = distributed.Client(config.address, timeout=10) if config.address else distributed.Client(**own)
    except (OSError, ValueError) as error:
        raise _no_cluster("Dask", config.address) from error
    with client, parallel_config(backend="dask"):
        yield (distributed.KilledWorker,)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        extra = "ray" if name.startswith("ray") else "dask"
        raise InputError(
            f"The executor needs {name}, which is not installed; install it with `pip install unsplit[{extra}]`."
        ) from error


def _reachable(address: str) -> None:
    """Ray looks for minutes for a cluster that is not there."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_cluster("Ray", address) from error


def _no_cluster(kind: str, address: str | None) -> InputError:
    return InputError(
        f"There is no {kind} cluster at {address or 'this machine'}; start one, or give the `address` of one that runs."
    )
