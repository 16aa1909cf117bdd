"""Draws one prompt file with several strategies, each in its own folder, for a curve of score against cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gems_actors.app.evaluation.compare import curve_of
from gems_actors.app.evaluation.curve_plot import curve_svg_of
from gems_actors.app.evaluation.figure_files import check_figure, write_figure
from gems_actors.app.evaluation.runner import EvaluationOptions, EvaluationResult, EvaluationView, run
from gems_actors.app.evaluation.runs import read_run_folders
from gems_actors.app.evaluation.tables import curve_csv_of
from gems_actors.app.options import DrawOptions
from gems_actors.config.loading import explain_config
from gems_actors.config.presets import PRESETS
from gems_actors.errors import UsageError

IMAGES: Final = 8
"""Images that best-of-n draws for a picture, and rounds of the loop, unless the options say otherwise."""
_FILES: Final = ("curve.csv", "curve.svg")
_CHECKED: Final = "verify.mode"


@dataclass(frozen=True, slots=True)
class CurveResult:
    """What was drawn for a curve."""

    results: Mapping[str, EvaluationResult]
    """Results by strategy, up to the first that is not complete."""
    is_complete: bool
    """Whether all strategies have all pictures, so that the curve was written."""


def strategies_of(options: DrawOptions) -> dict[str, DrawOptions]:
    """Return the options of every strategy of a curve, by the name of its folder.

    All check pictures in the same way: with `verify.mode` as configured, or in batches where nobody set it, because a
    preset with fewer calls for a picture would otherwise win by that alone.

    Raises:
        UsageError: an option contradicts a curve.
        ConfigError: a setting is wrong.
    """
    for name in ("strategy", "rounds", "candidates", "memory", "skill", "preset"):
        if (value := getattr(options, name)) is not None:
            raise UsageError(f"--curve: expected it without --{name}, because it draws several, got {value}")
    images = options.images or IMAGES
    given = explain_config(options.config_file, settings=options.overrides)
    is_set = any(item.key == _CHECKED for item in given)
    common = replace(options, images=None, overrides=(*(() if is_set else (f"{_CHECKED}=batch",)), *options.overrides))
    loop = replace(common, images=images)
    mode = common.read_config().verify.mode
    return {
        "single": replace(common, strategy="single"),
        "best-of-n": replace(loop, strategy="best-of-n"),
        "no-memory": replace(loop, memory="none"),
        "gems": loop,
        **{name: replace(loop, preset=name, overrides=(f"{_CHECKED}={mode}", *options.overrides)) for name in PRESETS},
    }


async def run_curve(
    options: EvaluationOptions, view_of: Callable[[str], EvaluationView] = lambda name: EvaluationView()
) -> CurveResult:
    """Draw what is missing of every strategy in its folder below `options.out`, and write curve.csv and curve.svg.

    `view_of` returns the view of a strategy.

    Raises:
        UsageError: an option contradicts a curve, or as `run`.
        OutputError: curve.csv or curve.svg is another file than a curve.
        GemsError: as `run`.
    """
    if options.image_budget is not None:
        raise UsageError(
            "--curve: expected it without --run-images and --mean-images, because strategies that draw a fixed number "
            "of images for each picture have none to spread"
        )
    for name in _FILES:
        check_figure(options.out / name)
    results: dict[str, EvaluationResult] = {}
    chosen = strategies_of(options.options)
    for name, drawing in chosen.items():
        results[name] = await run(replace(options, options=drawing, out=options.out / name), view_of(name))
        if results[name].missing:
            return CurveResult(results, is_complete=False)
    write_curve(options.out, [options.out / name for name in chosen])
    return CurveResult(results, is_complete=True)


def write_curve(folder: Path, runs: list[Path]) -> None:
    """Write curve.csv and curve.svg of the runs in some folders.

    Raises:
        UsageError: a folder has no run, or they have no prompt in common.
        OutputError: a file cannot be written, or is another file than a curve.
    """
    try:
        found = zip(runs, read_run_folders(runs), strict=True)
        points = curve_of([replace(run, strategy=path.name) for path, run in found])
    except ValueError as error:
        raise UsageError(f"{folder}: {error}") from error
    for name, content in zip(_FILES, (f"{curve_csv_of(points)}\n", curve_svg_of(points)), strict=True):
        write_figure(folder / name, content)
