"""Data sets: an embedded default, the standard files, folders of images, tensors."""

from unsplit.data.dataset import Dataset, Splits, from_tensors, stratified
from unsplit.data.folder import read_folder
from unsplit.data.sources import SOURCES, Availability, FileStatus, available, fetch, load, locate, require, verify

__all__ = [
    "SOURCES",
    "Availability",
    "Dataset",
    "FileStatus",
    "Splits",
    "available",
    "fetch",
    "from_tensors",
    "load",
    "locate",
    "read_folder",
    "require",
    "stratified",
    "verify",
]
