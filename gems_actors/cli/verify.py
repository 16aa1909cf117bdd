"""`gems verify`: fits the verifier's thresholds to answers that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from gems_actors.app.calibration.runner import CalibrationResult, calibrate, check_target, write_fragment
from gems_actors.cli import options as flags
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import config_options, json_option, path_option
from gems_actors.cli.suggestions import Group
from gems_actors.cli.terminal.tables import table_lines
from gems_actors.config import MeshConfig


@click.group(cls=Group)
def verify() -> None:
    """Fit the verifier's thresholds to known answers."""


@verify.command("calibrate", short_help="Fit thresholds by kind of requirement.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@path_option("--out", metavar="TOML", help_text="Settings file to write (default thresholds.toml).")
@flags.choice_option(
    "--method", names=("platt", "isotonic"), help_text="Curve that is fitted (default platt).", default="platt"
)
@config_options
@json_option
def calibrate_thresholds(file: Path, out: Path | None, method: Any, config: MeshConfig, as_json: bool) -> int:
    """Fit thresholds of the verifier's scores, by kind of requirement, to the right answers in FILE.

    FILE has JSON lines or CSV with the fields image (relative to FILE), question and answer (yes or no), and where
    known kind and score. Every third picture is held out and measures the fit.
    """
    target = out or Path("thresholds.toml")
    check_target(target)
    result = trio.run(calibrate, file, config, method, lambda text: click.echo(f"gems: {text}", err=True))
    has_found_any = any(group.thresholds for group in result.groups.values())
    if has_found_any:
        write_fragment(result, file, target, method)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        click.echo("\n".join(table_lines(result_rows(result))))
        if has_found_any:
            click.echo(f'wrote {target}; in the mesh file: include = ["{target.name}"]')
    if result.in_words:
        text = f"{result.in_words} answers were words without a probability, to which thresholds do not apply"
        click.echo(f"gems: {text}", err=True)
    if not has_found_any:
        click.echo("gems: expected scores that tell met from unmet, got ones that do not; wrote no file", err=True)
    return DONE if has_found_any else FAILED


def result_rows(result: CalibrationResult) -> list[tuple[str, ...]]:
    """Return the rows of a table: the heading, and one row for each group."""
    rows: list[tuple[str, ...]] = [
        ("", "cases", "yes", "held out", "AUROC", "after", "ECE", "after", "met from", "unmet below")
    ]
    for name, group in result.groups.items():
        quality = (group.before.auroc, group.after.auroc, group.before.ece, group.after.ece)
        found = group.thresholds
        rows.append(
            (
                name,
                *(str(number) for number in (group.cases, group.met, group.held_out)),
                *("-" if value is None else f"{value:.3f}" for value in quality),
                *((f"{found.met_from:.3f}", f"{found.unmet_below:.3f}") if found else (f"as all: {group.note}", "")),
            )
        )
    return rows
