"""The words of the story: messages, what one party saw of them, what an attack makes of that, and the truth."""

from unsplit.choices import Setup
from unsplit.types._headers import Headers
from unsplit.types._message import Header, Kind, Message, Payload
from unsplit.types._results import DecidedBy, InferredLabels, Reconstruction, Sign, Truth
from unsplit.types._transcript import Converted, Messages, Selection, Transcript

__all__ = [
    "Converted",
    "DecidedBy",
    "Header",
    "Headers",
    "InferredLabels",
    "Kind",
    "Message",
    "Messages",
    "Payload",
    "Reconstruction",
    "Selection",
    "Setup",
    "Sign",
    "Transcript",
    "Truth",
]
