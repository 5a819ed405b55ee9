"""The run-time type checker of the tests: beartype, with a whole number good enough for a float (PEP 484)."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
