"""Runs are compared at an equal budget of images or calls, and drawn as curves against both."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from gems_actors.app.evaluation.compare import CurvePoint, Estimate, at_budget, curve_of
from gems_actors.app.evaluation.curve_plot import curve_svg_of
from gems_actors.app.evaluation.runs import CALLS, IMAGES, Run, read_run_folder, read_run_folders
from gems_actors.cli import main
from tests.gems_actors.app.evaluation.folders import row, write_calls, write_folder


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """A run of two prompts: one needs three rounds, the other one."""
    out = write_folder(tmp_path / "loop", [row("a", 0, [1, 2, 4]), row("b", 1, [4])])
    write_calls(out, [[2, 4, 6], [2]], [8, 2])
    return out


@pytest.fixture
def best_of_n(tmp_path: Path) -> Path:
    """A run that draws three pictures of each prompt in one round."""
    rows = [
        row("a", 0, [3], images=3, met_by_image=[1, 3, 2]),
        row("b", 1, [4], images=3, met_by_image=[2, 4, 4]),
    ]
    out = write_folder(tmp_path / "best", rows, strategy="best-of-n", images=3)
    write_calls(out, [[2, 3, 4], [2, 3, 4]], [4, 4])
    return out


def points_of(run: Run) -> list[tuple[int, float, float | None, float]]:
    """Return rounds, images, calls and requirements met."""
    found = curve_of([run], resamples=10)
    return [(p.rounds, p.images, p.calls, p.estimate.mean) for p in found if p.figure == "requirements met %"]


def test_a_loop_has_a_point_a_round_whose_last_one_has_all_calls(loop: Path) -> None:
    assert points_of(read_run_folder(loop)) == [(1, 1.0, 2.0, 62.5), (2, 1.5, 3.0, 75.0), (3, 2.0, 5.0, 100.0)]


def test_best_of_n_has_a_point_an_image(best_of_n: Path) -> None:
    assert points_of(read_run_folder(best_of_n)) == [(1, 1.0, 2.0, 37.5), (1, 2.0, 3.0, 87.5), (1, 3.0, 4.0, 87.5)]


def test_a_folder_of_an_earlier_version_has_no_calls_by_round_but_those_of_the_run(tmp_path: Path) -> None:
    run = read_run_folder(write_folder(tmp_path / "old", [row("a", 0, [1, 4])]))
    assert points_of(run) == [(1, 1.0, None, 25.0), (2, 2.0, None, 100.0)]
    assert "calls each" in run.totals


@pytest.mark.parametrize(
    ("what", "budget", "met"),
    [(CALLS, 2.0, 62.5), (CALLS, 4.9, 75.0), (CALLS, 5.0, 100.0), (CALLS, 99.0, 100.0), (IMAGES, 1.5, 75.0)],
)
def test_a_run_is_cut_after_the_last_round_within_the_budget(
    loop: Path, what: object, budget: float, met: float
) -> None:
    (cut,) = at_budget([read_run_folder(loop)], what, budget)  # type: ignore[arg-type]
    (value,) = {cut.figures["requirements met %"].figure.value(_sums(cut, "requirements met %"))}
    assert value == met


def _sums(run: Run, name: str) -> dict[str, tuple[float, float]]:
    parts = [part[""] for part in run.figures[name].parts.values()]
    return {"": (sum(part[0] for part in parts), sum(part[1] for part in parts))}


def test_a_budget_that_no_round_fits_is_refused(loop: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected runs with a stage of at most 1 calls each, got gems with 2\.0"):
        at_budget([read_run_folder(loop)], CALLS, 1.0)
    old = read_run_folder(write_folder(tmp_path / "old", [row("a", 0, [1, 4])]))
    with pytest.raises(ValueError, match="whose calls each are unknown"):
        at_budget([old], CALLS, 5.0)


def test_the_command_compares_at_an_equal_budget(
    loop: Path, best_of_n: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(best_of_n), str(loop)]
    assert main(["eval", "compare", *folders, "--at-calls", "3.5"]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "87.5" in lines["best-of-n candidates 3"]
    assert "75.0" in lines["gems"]
    assert main(["eval", "compare", *folders, "--at-calls", "3", "--at-images", "2"]) == 2
    assert capsys.readouterr().err == "gems: --at-images: expected either it or --at-calls, got both\n"
    assert main(["eval", "compare", *folders, "--at-images", "0"]) == 2
    assert main(["eval", "compare", *folders, "--at-calls", "1"]) == 2
    assert "expected runs with a stage of at most 1 calls each" in capsys.readouterr().err


@pytest.mark.slow
def test_a_curve_is_also_drawn_as_svg(loop: Path, best_of_n: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svg = loop.parent / "curve.svg"
    assert main(["eval", "compare", str(best_of_n), str(loop), "--curve", str(svg)]) == 0
    texts = [item.text for item in ElementTree.parse(svg).iter() if item.tag.endswith("text")]
    assert {"best-of-n candidates 3", "gems", "images a task", "calls of chat models a task"} <= {*texts}
    assert "prefers-color-scheme:dark" in svg.read_text()


@pytest.mark.parametrize(("option", "name"), [("--curve", "c.csv"), ("--curve", "c.svg"), ("--plot", "p.svg")])
@pytest.mark.slow
def test_a_figure_replaces_an_earlier_one_and_no_other_file(
    loop: Path, best_of_n: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    path = loop.parent / name
    command = ["eval", "compare", str(best_of_n), str(loop), option, str(path)]
    assert main(command) == 0
    first = path.read_text()
    assert main(command) == 0
    assert path.read_text() == first
    for finished in ("<svg>a week of work</svg>", "strategy,score\n"):
        path.write_text(finished)
        capsys.readouterr()
        assert main(command) == 2
        expected = f"gems: {option}: {path}: expected no file, or a figure of gems eval, got another file"
        assert capsys.readouterr().err.startswith(expected)
        assert path.read_text() == finished


def test_every_dot_of_a_curve_lies_in_its_panel() -> None:
    points = [
        CurvePoint(name, 1, number, float(number), 2.0 * number, figure, Estimate(mean, mean - 5, mean + 5))
        for name in ("a <b>", "c" * 40)
        for figure in ("all met %", "requirements met %")
        for number, mean in enumerate((12.0, 70.0, 95.0), 1)
    ]
    tree = ElementTree.fromstring(curve_svg_of(points))
    dots = [item for item in tree.iter() if item.tag.endswith("circle")]
    assert len(dots) == 2 * 2 * 2 * 3
    assert all(0 <= float(dot.get("cx") or -1) <= 400 and 0 <= float(dot.get("cy") or -1) <= 260 for dot in dots)
    assert "a <b>" in [item.text for item in tree.iter()]


def test_a_single_point_is_drawn_too() -> None:
    for mean in (0.0, 100.0):
        ElementTree.fromstring(curve_svg_of([CurvePoint("a", 1, 1, 1.0, None, "all met %", Estimate(mean))]))


def test_single_settings_are_in_the_name_of_a_strategy_unless_all_runs_have_them(tmp_path: Path) -> None:
    common = ("verify.mode=batch", "image.steps=4")
    folders = [
        write_folder(tmp_path / "one", [row("a", 0, [1])], overrides=common, preset="thrifty"),
        write_folder(tmp_path / "two", [row("a", 0, [1])], overrides=(*common, "draw.choose=pairwise")),
    ]
    assert [run.strategy for run in read_run_folders(folders)] == ["gems thrifty", "gems draw.choose=pairwise"]
    assert read_run_folders(folders[:1])[0].strategy == "gems thrifty verify.mode=batch"


@pytest.mark.parametrize("value", ["0", "nan", "inf", "-1", "many"])
def test_a_budget_that_is_not_a_number_from_1_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, value: str
) -> None:
    for option in ("--at-calls", "--at-images"):
        assert main(["eval", "compare", str(tmp_path), option, value]) == 2
        assert capsys.readouterr().err == f"gems: {option}: expected a number of at least 1, got {value!r}\n"


def test_a_file_or_the_folder_of_a_curve_is_told_from_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "curve/single").mkdir(parents=True)
    (tmp_path / "curve/curve.csv").touch()
    (tmp_path / "curve/single/run.json").touch()
    expected = "expected the output of `gems bulk` or `gems eval`, got"
    assert main(["eval", "compare", str(tmp_path / "curve/curve.csv")]) == 2
    assert capsys.readouterr().err == f"gems: DIR: {tmp_path}/curve/curve.csv: {expected} none\n"
    assert main(["eval", "compare", str(tmp_path / "curve")]) == 2
    told = f"a folder of 1; name them, such as {tmp_path}/curve/single"
    assert capsys.readouterr().err == f"gems: DIR: {tmp_path}/curve: {expected} {told}\n"


def test_a_folder_that_is_named_twice_is_not_a_repeat(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "compare", str(loop), f"{loop}/../{loop.name}"]) == 2
    assert "expected each folder once, got it twice" in capsys.readouterr().err
