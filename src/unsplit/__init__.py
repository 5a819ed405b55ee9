"""unsplit."""
