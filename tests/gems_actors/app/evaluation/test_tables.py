"""A comparison is shown as a table, Markdown, LaTeX, CSV, JSON and a bar chart, each with its provenance."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gems_actors import __version__
from gems_actors.app.evaluation.compare import Comparison, Estimate, compare, curve_of
from gems_actors.app.evaluation.description import Description, write_description
from gems_actors.app.evaluation.runs import read_run_folder
from gems_actors.app.evaluation.tables import (
    FORMATS,
    comparison_rows,
    curve_csv_of,
    estimate_text,
    plot_of,
    provenance_lines,
)
from gems_actors.cli import main
from tests.gems_actors.app.evaluation.folders import row, write_folder

PROMPTS = [f"prompt {number}" for number in range(12)]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Write a run of one strategy, and two of another with scores at the end of their scale."""
    found = []
    for name, seed, options in (("single", 0, {"strategy": "single"}), ("gems-0", 0, {}), ("gems-1", 1, {"seed": 1})):
        is_single = name == "single"
        rows = [row(prompt, index, [1 + index % 4] if is_single else [2, 4]) for index, prompt in enumerate(PROMPTS)]
        scores = {f"{index:05d}": (12 + index % 5 if is_single else 30 - index % 2 * seed) for index in range(12)}
        out = write_folder(tmp_path / name, rows, scores=scores, **options)
        described = Description(benchmark="crea", data="/data/a|b_50%.jsonl", data_sha256="c0ffee", prompts=12)
        write_description(out, described)
        found.append(out)
    return found


@pytest.fixture
def compared(folders: list[Path]) -> Comparison:
    return compare([read_run_folder(folder) for folder in folders], resamples=500)


def test_a_table_has_a_row_per_strategy_and_one_per_difference(compared: Comparison) -> None:
    head, single, gems, less = comparison_rows(compared)
    assert head == (
        "", "repeats", "creativity (of 30)", "all met %", "requirements met %", "images each", "calls each"
    )  # fmt: skip
    assert single[:2] == ("single", "1")
    assert re.fullmatch(r"13\.\d \[1[23]\.\d, 1[34]\.\d\]", single[2])
    assert gems[:4] == ("gems", "2", gems[2], "100.0 [100.0, 100.0]")
    assert gems[-1] == "0.0", "what is known of whole runs only has no interval"
    assert less[:2] == ("gems less single", "")
    assert re.fullmatch(r"\+1[56]\.\d \[\+1[45]\.\d, \+1[67]\.\d\]", less[2])
    assert less[-1] == "-"


def test_an_interval_stands_behind_its_figure() -> None:
    assert estimate_text(Estimate(93.75, 88.04, 97.96)) == "93.8 [88.0, 98.0]"
    assert estimate_text(Estimate(-0.04, -2.0, 1.5), "+") == "-0.0 [-2.0, +1.5]"
    assert estimate_text(Estimate(31.0)) == "31.0"


def test_the_provenance_names_versions_models_prompts_and_how_intervals_were_made(compared: Comparison) -> None:
    text = "\n".join(provenance_lines(compared))
    for part in (
        f"compared on 12 prompts (SHA-256 {compared.prompts_sha256})",
        "95 % interval, 500 bootstrap resamples, paired by prompt",
        f"compared by gems-actors {__version__}",
        f"version {__version__}",
        "models chat: talker-2, image: painter-1",
        "judge judge-8b",
        "seed 1",
        "prompt file /data/a|b_50%.jsonl (SHA-256 c0ffee)",
    ):
        assert part in text


def test_markdown_has_a_table_and_a_list(compared: Comparison) -> None:
    lines = FORMATS["markdown"](compared).splitlines()
    assert lines[0].startswith("|  | repeats | creativity (of 30) | all met % |")
    assert re.fullmatch(r"\| :-- (\| --: ){6}\|", lines[1])
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| single", "| gems", "| gems less single"]
    assert lines[5] == ""
    assert all(line.startswith("- ") for line in lines[6:])


def test_latex_has_a_tabular_whose_special_characters_are_escaped(compared: Comparison) -> None:
    lines = FORMATS["latex"](compared).splitlines()
    table = lines[next(number for number, line in enumerate(lines) if not line.startswith("%")) :]
    assert table[0] == r"\begin{tabular}{lrrrrrr}"
    assert table[2].endswith(r"& all met \% & requirements met \% & images each & calls each \\")
    assert [line for line in table if not line.endswith(r"\\")] == [
        r"\begin{tabular}{lrrrrrr}", r"\toprule", r"\midrule", r"\midrule", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    assert re.search(r"\$\+\$1[56]\.\d \[\$\+\$1", table[-3])
    assert not re.search(r"(?<!\\)[%_#]", "\n".join(table))


def test_csv_has_numbers_that_are_not_rounded_and_the_provenance_in_columns(compared: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](compared))))
    assert [(item["strategy"], item["figure"]) for item in rows][5:7] == [
        ("gems", "creativity (of 30)"),
        ("gems", "all met %"),
    ]
    found = compared.rows["gems"].figures["creativity (of 30)"]
    assert (float(rows[5]["mean"]), float(rows[5]["low"]), float(rows[5]["high"])) == (
        found.mean,
        found.low,
        found.high,
    )
    less = compared.rows["gems"].differences["creativity (of 30)"]
    assert (rows[5]["baseline"], float(rows[5]["difference"])) == ("single", less.mean)
    assert (rows[0]["baseline"], rows[0]["difference"]) == ("", "")
    assert rows[5]["seed"] == "0; 1"
    assert rows[5]["prompts_sha256"] == compared.prompts_sha256
    assert {item["models"] for item in rows} == {"chat: talker-2, image: painter-1"}
    assert {item["prompt_file"] for item in rows} == {"/data/a|b_50%.jsonl (SHA-256 c0ffee)"}


def test_json_has_all_of_it(compared: Comparison) -> None:
    tree = json.loads(FORMATS["json"](compared))
    found = tree["strategies"]["gems"]
    assert found["repeats"] == 2
    assert found["figures"]["all met %"] == {"mean": 100.0, "low": 100.0, "high": 100.0}
    assert found["differences"]["all met %"]["mean"] == 75.0
    assert [item["seed"] for item in tree["provenance"]["runs"]] == ["0", "0", "1"]


def test_a_curve_is_csv_with_a_row_per_round_and_figure(folders: list[Path]) -> None:
    points = curve_of([read_run_folder(folder) for folder in folders], resamples=100)
    rows = list(csv.DictReader(io.StringIO(curve_csv_of(points))))
    found = [
        (item["strategy"], item["rounds"], item["images"]) for item in rows if item["figure"] == "requirements met %"
    ]
    assert found == [("single", "1", "1.0"), ("gems", "1", "1.0"), ("gems", "2", "2.0")]
    final = [item for item in rows if item["figure"] == "creativity (of 30)"]
    assert [(item["strategy"], item["images"]) for item in final] == [("single", "1.0"), ("gems", "2.0")]
    assert all(float(item["low"]) <= float(item["mean"]) <= float(item["high"]) for item in rows)


def test_a_plot_has_a_bar_and_an_interval_per_strategy_right_of_the_labels(compared: Comparison) -> None:
    rows = {"a <b> & c " * 6: compared.rows["gems"], **compared.rows}
    for figure in ("creativity (of 30)", "all met %", "calls each"):
        wide = Comparison(**{name: getattr(compared, name) for name in Comparison.__slots__} | {"rows": rows})
        tree = ElementTree.fromstring(plot_of(wide, figure))
        bars = [item for item in tree if item.tag.endswith("rect") and item.get("x")]
        whiskers = [item.get("d") or "" for item in tree if item.tag.endswith("path")]
        assert (len(bars), len(whiskers)) == (3, 0 if figure == "calls each" else 3)
        assert next(iter(rows)) in [item.text for item in tree]
        (left,) = {float(item.get("x") or 0) for item in bars}
        width = float(tree.get("width") or 0)
        assert all(left <= float(x) <= width for line in whiskers for x in re.findall(r"[MH]([\d.]+)", line))
        assert left > 13 * 0.5 * len(next(iter(rows))), "the longest label ends before the bars begin"


@pytest.mark.slow
def test_the_command_writes_a_plot_and_a_curve_and_prints_the_format(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plot, curve = folders[0].parent / "plot.svg", folders[0].parent / "curve.csv"
    command = [
        "eval",
        "compare",
        *map(str, folders),
        "--format",
        "markdown",
        "--plot",
        str(plot),
        "--curve",
        str(curve),
    ]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("|  | repeats | creativity (of 30) |")
    assert shown.err == ""
    assert plot.read_text().startswith("<svg ")
    assert curve.read_text().startswith("strategy,repeats,rounds,images,calls,figure,mean,low,high\n")


def test_the_command_prints_a_table_above_its_provenance(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "compare", *map(str, folders)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == ["gems", "2", "29.8"]
    assert lines[4] == ""
    assert lines[5].startswith("compared on 12 prompts (SHA-256 ")


def test_runs_of_other_prompts_are_a_usage_error(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_folder(tmp_path / "other", [row("something else", 0, [4])])
    assert main(["eval", "compare", str(folders[0]), str(other)]) == 2
    assert capsys.readouterr().err.startswith("gems: DIR: expected runs of the same prompts, got no prompt that all of")
    missing = tmp_path / "missing" / "plot.svg"
    assert main(["eval", "compare", str(folders[0]), "--plot", str(missing)]) == 2
    assert capsys.readouterr().err.startswith(f"gems: --plot: {missing}: expected to write ")
