"""`unsplit data`."""
