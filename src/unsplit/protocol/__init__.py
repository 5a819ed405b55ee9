"""Split learning: parties that exchange messages, the engine that carries them, and the transcripts they leave."""

from unsplit.protocol.build import split_training
from unsplit.protocol.checkpoint import load_network
from unsplit.protocol.client import Client
from unsplit.protocol.config import SplitConfig
from unsplit.protocol.engine import SplitTraining, StepEnded
from unsplit.protocol.parties import SERVER, Loss, MaliciousServer, Server
from unsplit.protocol.recorder import Recorder
from unsplit.protocol.segment import Segment, evaluated, predicted
from unsplit.protocol.store import load_transcript
from unsplit.protocol.transcript_writer import TranscriptWriter, save_transcript
from unsplit.protocol.whole import WholeTraining

Progress = StepEnded
"""The name that it had before, for programs that were written then."""

__all__ = [
    "SERVER",
    "Client",
    "Loss",
    "MaliciousServer",
    "Progress",
    "Recorder",
    "Segment",
    "Server",
    "SplitConfig",
    "SplitTraining",
    "StepEnded",
    "TranscriptWriter",
    "WholeTraining",
    "evaluated",
    "load_network",
    "load_transcript",
    "predicted",
    "save_transcript",
    "split_training",
]
