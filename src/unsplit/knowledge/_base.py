"""The base of all knowledge types."""

from typing import ClassVar


class Knowledge:
    """Base of all knowledge types."""

    means: ClassVar[str]
