"""Studies: many experiments planned as a grid of cells, run anywhere, kept in one store, and laid out on a page."""
