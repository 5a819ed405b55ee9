"""Data sets: an embedded default, the standard files, folders of images, tensors."""

from unsplit.data.arrays import read_arrays
from unsplit.data.dataset import Dataset, Splits, from_tensors
from unsplit.data.dealing import stratified
from unsplit.data.folder import read_folder
from unsplit.data.loading import load
from unsplit.data.scaling import Scaling
from unsplit.data.sources import SOURCES, Availability, FileStatus, available, fetch, locate, require, verify
from unsplit.data.table import read_table
from unsplit.data.tokens import as_read

__all__ = [
    "SOURCES",
    "Availability",
    "Dataset",
    "FileStatus",
    "Scaling",
    "Splits",
    "as_read",
    "available",
    "fetch",
    "from_tensors",
    "load",
    "locate",
    "read_arrays",
    "read_folder",
    "read_table",
    "require",
    "stratified",
    "verify",
]
