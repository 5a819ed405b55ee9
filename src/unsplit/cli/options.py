"""Options that several commands share, and how the options of a configuration are made of its fields."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from unsplit.choices import DEPTH as DEPTH
from unsplit.choices import GUARDS, METRICS, Precision
from unsplit.errors import InputError, unknown_name
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.settings import (
    CUTS,
    NAMES,
    NUMBERS,
    Reader,
    flag_of,
    flags_of,
    in_options,
    option_name,
    shown_default,
    with_options,
)

if TYPE_CHECKING:
    from unsplit.defenses.detection import GuardConfig

Command = TypeVar("Command", bound=Callable[..., None])
T = TypeVar("T")
_AUDIT = {option_name(each): each for each in with_options(AuditConfig)}


def _of_audits(name: str) -> Any:
    """The option of an audit's setting, without its default, for all commands that have it."""
    told = _AUDIT[name].metadata
    return typer.Option(
        flag_of(name),
        help=in_options(told["text"], flags_of(AuditConfig)),
        **{key: value for key, value in told["option"].items() if key != "shown"},
    )


Data = Annotated[str, _of_audits("data")]
Model = Annotated[str | None, _of_audits("model")]
Seed = Annotated[int, _of_audits("seed")]
Device = Annotated[str, _of_audits("device")]
ReducedPrecision = Annotated[Precision, _of_audits("reduced_precision")]
InputRange = Annotated[str | None, _of_audits("input_range")]
Optimizer = Annotated[str, _of_audits("optimizer")]
Defenses = Annotated[list[str] | None, _of_audits("defense")]
KnownWeights = Annotated[str | None, _of_audits("known_weights")]
WhiteBox = Annotated[str, _of_audits("white_box")]
NotPhotographs = Annotated[bool, _of_audits("not_photographs")]
NotFigures = Annotated[bool, _of_audits("not_figures")]
Loss = Annotated[str, _of_audits("loss")]
States = Annotated[str, _of_audits("states")]
BatchSize = Annotated[int, _of_audits("batch_size")]
Smoothing = Annotated[float, typer.Option("--label-smoothing", help="Label smoothing of the loss, from 0 to below 1.")]
Guard = Annotated[
    str | None,
    typer.Option("--guard", help=f"Stop when the server seems to hijack the training (a): {', '.join(GUARDS)}."),
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        help=f"Exit with 1 if this holds, e.g. 'label_accuracy>0.5'; may be repeated. Metrics: {', '.join(METRICS)}.",
    ),
]
Markdown = Annotated[
    str | None, typer.Option("--markdown", help="Also write the verdict as Markdown to this file; - prints it.")
]
Mlflow = Annotated[
    str | None,
    typer.Option("--mlflow", metavar="EXPERIMENT", help="Also log to MLflow, in the store of MLFLOW_TRACKING_URI."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Threads = Annotated[
    int, typer.Option("--threads", min=1, help="Processor threads; the paper's nets are so small that one is fastest.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON on standard output.")]

# Of studies, which run many cells.
Budget = Annotated[str, typer.Option("--budget", help="How much work: smoke, short or full.")]
Resume = Annotated[bool, typer.Option(help="Skip what is stored already.")]
AnyDevice = Annotated[
    bool, typer.Option("--any-device", help="Skip too what another device, or another build of torch, computed.")
]
Store = Annotated[Path, typer.Option("--store", help="Folder that keeps every result.")]
Executor = Annotated[str, typer.Option("--executor", help="Where to run: local, ray or dask.")]
Address = Annotated[str | None, typer.Option("--address", help="Address of the Ray or Dask cluster.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Cells that run at a time; one for each core if left out.")
]

# Of the parties of a training between machines.
RunFile = Annotated[Path, typer.Argument(help="The configuration that all parties share.", show_default=False)]
Key = Annotated[Path | None, typer.Option("--key", help="Its key, PEM.")]
Live = Annotated[bool, typer.Option("--live", help="Show loss, bytes and speed instead of the log.")]
Log = Annotated[str, typer.Option("--log", help="Log as 'json' or 'text'.")]


def settings_of_audits(command: Command) -> Command:
    """Give a command, which takes them as keyword arguments, an option for every setting of an audit that has one."""
    own = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=shown_default(each), annotation=_annotation(name)
        )
        for name, each in _AUDIT.items()
    ]
    first = [each for each in own if each.kind is not each.KEYWORD_ONLY]
    parameters = [*first, *added, *(each for each in own if each.kind is each.KEYWORD_ONLY)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _annotation(name: str) -> Any:
    kind = _AUDIT[name].metadata["reader"].option
    return Annotated[kind if shown_default(_AUDIT[name]) is not None else kind | None, _of_audits(name)]


def given_settings(context: typer.Context) -> dict[str, Any]:
    """The settings of an audit that were given on the command line, by the names of the fields, as values.

    Raises:
        InputError: a text that a setting cannot have.
    """
    given = {each: name for name, each in _AUDIT.items() if is_given(context, name)}
    return {each.name: read(each.metadata["reader"], context.params[name], name) for each, name in given.items()}


def taken(config: Callable[..., T], options: Mapping[str, Any], **more: Any) -> T:
    """A configuration of those options of a command, by name, that are fields of it, and of `more`."""
    names = {each.name for each in fields(cast(Any, config))} - more.keys()
    return config(**{name: options[name] for name in names if name in options}, **more)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def read(reader: Reader, text: object, name: str) -> Any:
    """What the text of an option means.

    Raises:
        InputError: it means nothing.
    """
    try:
        return reader.read(text)
    except ValueError as error:
        raise InputError(f"{flag_of(name)} takes {reader.takes}; not '{text}'.") from error


def guard(name: str | None) -> "GuardConfig | None":
    """A guard by name, or none.

    Raises:
        InputError: no such guard.
    """
    if name is None:
        return None
    if name not in GUARDS:
        raise unknown_name("guard", name, GUARDS)
    from unsplit.defenses import detection

    return detection.GUARDS[name]()


def names(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list; an empty text or "none" is an empty list."""
    found: tuple[str, ...] = NAMES.read(text)
    return found


def one_cut(text: str) -> int | str:
    """One cut by depth or by name.

    Raises:
        InputError: none, or more than one.
    """
    found: tuple[int | str, ...] = CUTS.read(text)
    if len(found) != 1:
        raise InputError(f"--cut takes one depth or module name, not '{text}'.")
    return found[0]


def integers(text: str, name: str) -> tuple[int, ...]:
    """Whole numbers, of the option of this name.

    Raises:
        InputError: something else is among them.
    """
    found: tuple[int, ...] = read(NUMBERS, text, name.removeprefix("--"))
    return found
