"""A command that says options where the library says settings."""

from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand

from unsplit.errors import UnsplitError
from unsplit.experiment.auditing.config import AuditConfig
from unsplit.settings import flag_of, flags_of, in_options

_OTHERWISE: dict[str, tuple[str, ...]] = {
    "cut": ("--cuts",),
    "datasets": ("--data",),
    "folder": ("--out",),
    "head": ("--label-heads",),
    "names": ("--smashed", "--features"),
    "quiet_for": ("--follow",),
    "seal": ("--peer-key",),
    **{name: (flag,) for name, flag in flags_of(AuditConfig).items()},
}
"""Settings whose option has another name, where the command has no option of theirs."""
_OF_THE_OTHER_PARTY = ("client_ca",)


class Command(TyperCommand):
    """A command whose errors name its options."""

    def invoke(self, ctx: Any) -> Any:
        """Run it.

        Raises:
            UnsplitError: as the command does, with options in place of the names of settings.
        """
        try:
            return super().invoke(ctx)
        except UnsplitError as error:
            error.args = (in_options(str(error), flags(self)),)
            raise


def flags(command: TyperCommand) -> Mapping[str, str]:
    """The options of a command, as they are typed, by the names of the settings that they set."""
    typed = {each.name: max(each.opts, key=len) for each in command.params if each.name is not None}
    own = {name: flag for name, flag in typed.items() if flag.startswith("--")}
    others = {name: " or ".join(theirs) for name, theirs in _OTHERWISE.items() if {*theirs} <= {*own.values()}}
    return {name: flag_of(name) for name in _OF_THE_OTHER_PARTY} | others | own
