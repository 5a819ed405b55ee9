"""Running tasks side by side: joblib over local processes, or over a Ray or Dask cluster through its back ends."""

import importlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from unsplit.errors import InputError, check_at_least_one, unknown_name

T = TypeVar("T")
R = TypeVar("R")

EXECUTORS = ("local", "ray", "dask")


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where tasks run.

    Args:
        executor: "local" processes, a "ray" or a "dask" cluster.
        jobs: tasks at a time, one thread each; None for one on each core.
        address: of the cluster; Ray starts one of its own without.

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
class Outcome(Generic[R]):
    """What became of one task: its result, or what went wrong."""

    index: int
    result: R | None = None
    error: str | None = None
    details: str = ""


def execute(work: Callable[[T], R], tasks: Sequence[T], config: ExecutorConfig) -> Iterator[Outcome[R]]:
    """Run `work` on every task; outcomes come as they end, each exactly once.

    A task that raises gives an outcome with its error, and the others go on. Where a local worker is killed (for
    memory, say), the tasks that had no outcome yet are run again one at a time, so that only a task that kills its
    worker by itself is given up.

    Raises:
        InputError: the cluster's library is not installed, or there is no cluster at the address.
    """
    left = set(range(len(tasks)))
    with ExitStack() as stack:
        stack.enter_context(_backend(config))
        try:
            for outcome in _parallel(work, tasks, sorted(left), config.jobs or -1):
                left.discard(outcome.index)
                yield outcome
        except TerminatedWorkerError:
            for index in sorted(left):
                yield _alone(work, tasks, index)


def _parallel(work: Callable[[T], R], tasks: Sequence[T], indices: Sequence[int], jobs: int) -> Iterator[Outcome[R]]:
    calls = (delayed(_attempt)(work, index, tasks[index]) for index in indices)
    outcomes: Iterator[Outcome[R]] = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)(calls)
    return outcomes


def _alone(work: Callable[[T], R], tasks: Sequence[T], index: int) -> Outcome[R]:
    try:
        # Two jobs, since a single one would run in this very process, which must survive.
        return next(_parallel(work, tasks, [index], 2))
    except TerminatedWorkerError:
        return Outcome(index=index, error="Its process was killed, most likely for want of memory; run fewer --jobs.")


def _attempt(work: Callable[[T], R], index: int, task: T) -> Outcome[R]:
    torch.set_num_threads(1)
    try:
        return Outcome(index=index, result=work(task))
    except Exception as error:
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Outcome(index=index, error=message, details=traceback.format_exc())


def _backend(config: ExecutorConfig) -> AbstractContextManager[Any]:
    stack = ExitStack()
    if config.executor == "local":
        stack.enter_context(parallel_config(backend="loky", inner_max_num_threads=1))
        return stack
    if config.executor == "ray":
        ray = _library("ray")
        register = _library("ray.util.joblib").register_ray
        try:
            if not ray.is_initialized():
                ray.init(address=config.address, log_to_driver=False, num_cpus=None if config.address else config.jobs)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster("Ray", config.address) from error
        register()
        stack.enter_context(parallel_config(backend="ray"))
        return stack
    distributed = _library("distributed")
    try:
        client = distributed.Client(config.address, timeout=10) if config.address else distributed.Client()
    except (OSError, ValueError) as error:
        raise _no_cluster("Dask", config.address) from error
    stack.enter_context(client)
    stack.enter_context(parallel_config(backend="dask"))
    return stack


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        extra = "ray" if name.startswith("ray") else "dask"
        raise InputError(
            f"The executor needs {name}, which is not installed; install it with `pip install unsplit[{extra}]`."
        ) from error


def _no_cluster(kind: str, address: str | None) -> InputError:
    return InputError(
        f"There is no {kind} cluster at {address or 'this machine'}; start one, or give the --address of one that runs."
    )
