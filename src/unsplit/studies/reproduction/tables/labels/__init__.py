"""The table "labels": label inference in the settings that people use, beyond the paper's."""

from unsplit.studies.reproduction.tables.labels.cells import cells
from unsplit.studies.reproduction.tables.labels.rows import label_rows
from unsplit.studies.reproduction.tables.labels.section import labels_plot, labels_section
from unsplit.studies.reproduction.tables.table import Table

TABLE = Table(name="labels", cells=cells, rows=label_rows, section=labels_section, plot=labels_plot)
