"""What `parties` imports before it starts processes, so that none of them parses the digits again."""

from unsplit.data import load

load("digits")
