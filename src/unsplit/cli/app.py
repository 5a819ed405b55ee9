"""The program `unsplit`."""

import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from unsplit.cli import attack, audit, certs, compare, data, importing, join, reproduce, serve, tradeoff, train
from unsplit.cli.command import Command
from unsplit.cli.console import err, out, warn
from unsplit.errors import UnsplitError

FAULT = 70
"""The exit code of a fault of the program, as in sysexits.h (EX_SOFTWARE)."""
_INTERRUPTED, _BROKEN_PIPE = 130, 141  # 128 and the signal's number

app = typer.Typer(
    name="unsplit",
    help="What can the other side see? Audits of split learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("audit", cls=Command, epilog=audit.EXAMPLES)(audit.audit)
app.command("train", cls=Command, epilog=train.EXAMPLES)(train.train)
app.command("attack", cls=Command, epilog=attack.EXAMPLES)(attack.attack)
app.command("import", cls=Command, epilog=importing.EXAMPLES)(importing.import_traffic)
app.command("reproduce", cls=Command, epilog=reproduce.EXAMPLES)(reproduce.reproduce)
app.command("compare", cls=Command, epilog=compare.EXAMPLES)(compare.compare)
app.command("tradeoff", cls=Command, epilog=tradeoff.EXAMPLES)(tradeoff.tradeoff)
app.command("serve", cls=Command, epilog=serve.EXAMPLES)(serve.serve)
app.command("join", cls=Command, epilog=join.EXAMPLES)(join.join)
app.command("certs", cls=Command, epilog=certs.EXAMPLES)(certs.certs)
app.add_typer(data.app, name="data")


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """What can the other side see? Audits of split learning."""
    if show_version:
        out.print(f"unsplit {version('unsplit')}")
        raise typer.Exit


def main() -> None:
    """Run the program. An `UnsplitError` becomes one sentence and exit code 2; a fault of the program keeps its
    traceback and exits with `FAULT`, since 1 means that a condition holds.
    """
    try:
        app()
    except UnsplitError as error:
        warn(f"unsplit: {error}")
        sys.exit(2)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # whoever read our output has left
            sys.exit(_BROKEN_PIPE)
        if leaving.code == _INTERRUPTED:  # how typer ends on Ctrl-C
            err.print("unsplit: interrupted; what was finished is kept, run the command again to go on.")
        raise
    except Exception:
        traceback.print_exc()
        err.print("unsplit: this is a fault of the program, not of your input; please report it with the lines above.")
        sys.exit(FAULT)
