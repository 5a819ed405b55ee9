"""What `parties` imports before it starts processes, so that none of them loads torch or parses the digits again."""

import unsplit.cli.live
import unsplit.protocol.remote
from unsplit.data import load

assert unsplit
load("digits")
