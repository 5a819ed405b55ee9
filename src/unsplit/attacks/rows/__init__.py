"""Inversion of tables: rows are found up to one affine map of their columns, and what a server knows beside the smashed
data fixes that map.
"""

from unsplit.attacks.rows.known import invert_from_known_rows
from unsplit.attacks.rows.latent import RowsConfig
from unsplit.attacks.rows.statistics import invert_from_statistics

__all__ = ["RowsConfig", "invert_from_known_rows", "invert_from_statistics"]
