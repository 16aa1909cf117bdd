"""Chaos: bulks under seeded schedules of faults, checked from outside; `python -m tests.chaos` and `make chaos`."""
