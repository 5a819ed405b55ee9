"""What can the other side see? Audits of split learning.

The story of the package: a server and its clients train a network split between them (`protocol`); a `Transcript`
keeps what one party saw; an attack makes of it, and of what the attacker may know (`knowledge`), a reconstruction, a
clone or labels (`attacks`); and scores compare those with the truth, beside trivial guesses (`metrics`). `audit` plays
it all.
"""

from unsplit.errors import UnsplitError
from unsplit.experiment import Audit, AuditConfig, audit
from unsplit.protocol import Recorder, SplitConfig, load_transcript, save_transcript, split_training
from unsplit.protocol.importing import import_arrays
from unsplit.protocol.kept_truth import keep_truth
from unsplit.protocol.observe import observe
from unsplit.randomness import generator
from unsplit.report import Pictures, write_report
from unsplit.types import Kind, Message, Setup, Transcript

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
