"""Two checkouts are compared figure by figure."""

from __future__ import annotations

from collections import defaultdict

from tests.benchmarks.against import Samples, describe, read_figures

OUTPUT = """== mesh
mesh              4,200 round trips/s, alone p50 0.55 ms, p99 1.20 ms
mesh / raw: 0.31
"""


def test_figures_are_the_numbers_of_a_line_by_its_text_and_their_position() -> None:
    line = "mesh # round trips/s, alone p50 # ms, p99 # ms"
    assert read_figures(OUTPUT) == {(line, 0): 4200.0, (line, 1): 0.55, (line, 2): 1.2, ("mesh / raw: #", 0): 0.31}


def test_a_figure_is_the_ratio_of_both_medians_and_a_figure_of_one_side_is_named() -> None:
    samples: dict[tuple[str, int], Samples] = defaultdict(Samples)
    samples["rate # of #", 1] = Samples([90.0, 99.0, 120.0], [100.0, 110.0, 90.0])
    samples["new #", 0] = Samples([1.0], [])
    first, second = describe(samples)
    assert first.split() == ["99.00", "100.00", "0.990", "rate", "#", "of", "[#]"]
    assert second.split() == ["only", "here", "new", "[#]"]
