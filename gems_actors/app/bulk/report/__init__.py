"""The report of a run: one page that opens offline, loads nothing and runs no script."""
