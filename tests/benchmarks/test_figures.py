"""Figures are compared repeat by repeat, and a run is kept with its machine, date and commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import figures
from tests.benchmarks.figures import Figure, as_json, save, table

FIGURE = Figure("256 requests in flight", "/s", [100.0, 80.0, 120.0], "NATS", [200.0, 100.0, 200.0])


def test_a_ratio_is_the_median_of_the_ratios_of_the_repeats() -> None:
    assert FIGURE.ratios == [0.5, 0.8, 0.6]
    *_, row = table([FIGURE])
    assert row == "| 256 requests in flight | 100 /s | NATS: 200 | 0.60 (0.50 to 0.80) |"


def test_a_run_is_kept_with_its_machine_date_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results")
    kept = json.loads(save({"mesh": as_json([FIGURE])}).read_text())
    assert {"date", "commit", "cpu", "cores", "python", "load"} <= kept["machine"].keys()
    assert kept["results"]["mesh"][0]["ratio_median"] == 0.6
