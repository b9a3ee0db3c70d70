"""One file per table, and the one place that starts Ray."""
