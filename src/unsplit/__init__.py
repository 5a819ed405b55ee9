"""What can the other side see? Audits of split learning.

The story of the package: a server and its clients train a network split between them (`protocol`); a `Transcript`
keeps what one party saw; an attack makes of it, and of what the attacker may know (`knowledge`), a reconstruction, a
clone or labels (`attacks`); and scores compare those with the truth, beside trivial guesses (`metrics`). `audit` plays
it all.
"""

from typing import TYPE_CHECKING

from unsplit.lazily import loading

if TYPE_CHECKING:
    from unsplit.choices import Setup
    from unsplit.errors import UnsplitError
    from unsplit.experiment import Audit, AuditConfig, audit
    from unsplit.protocol import Recorder, SplitConfig, load_transcript, save_transcript, split_training
    from unsplit.protocol.importing import import_arrays
    from unsplit.protocol.kept_truth import keep_truth
    from unsplit.protocol.observe import observe
    from unsplit.randomness import generator
    from unsplit.report import Pictures, write_report
    from unsplit.types import Kind, Message, Transcript

__all__ = [
    "Audit",
    "AuditConfig",
    "Kind",
    "Message",
    "Pictures",
    "Recorder",
    "Setup",
    "SplitConfig",
    "Transcript",
    "UnsplitError",
    "audit",
    "generator",
    "import_arrays",
    "keep_truth",
    "load_transcript",
    "observe",
    "save_transcript",
    "split_training",
    "write_report",
]

_HOMES = {
    "choices": ("Setup",),
    "errors": ("UnsplitError",),
    "experiment": ("Audit", "AuditConfig", "audit"),
    "protocol": ("Recorder", "SplitConfig", "load_transcript", "save_transcript", "split_training"),
    "protocol.importing": ("import_arrays",),
    "protocol.kept_truth": ("keep_truth",),
    "protocol.observe": ("observe",),
    "randomness": ("generator",),
    "report": ("Pictures", "write_report"),
    "types": ("Kind", "Message", "Transcript"),
}

if not TYPE_CHECKING:
    __getattr__ = loading(__name__, {f"{__name__}.{home}": names for home, names in _HOMES.items()})

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
