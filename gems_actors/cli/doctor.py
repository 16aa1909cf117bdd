"""`gems doctor`: checks the installation, the settings, and what they point to."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import click

from gems_actors.app.doctor import examine
from gems_actors.app.picture_files import encode_json
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import config_option, json_option, preset_option, router_option, set_option


@click.command()
@preset_option
@config_option
@set_option
@router_option
@json_option
def doctor(
    config_file: Path | None, overrides: tuple[str, ...], router: str | None, preset: str | None, as_json: bool
) -> int:
    """Check installation, settings, servers and folders, and advise how to fix what fails."""
    findings = list(examine(config_file, overrides, router, preset))
    if as_json:
        click.echo(encode_json([finding._asdict() for finding in findings]))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            advice = f": {finding.advice}" if finding.advice else ""
            click.echo(_wrap(f"{finding.state:<4}  {finding.what:<{width}}  {finding.found}{advice}", width + 8))
    failures = sum(finding.state == "fail" for finding in findings)
    if failures:
        click.echo(f"gems: {failures} of {len(findings)} checks failed", err=True)
    return FAILED if failures else DONE


def _wrap(line: str, indent: int) -> str:
    """Return a line wrapped at the width of the terminal; unchanged where standard output is not a terminal."""
    if not sys.stdout.isatty():
        return line
    columns, margin = shutil.get_terminal_size().columns, " " * indent
    return textwrap.fill(line, columns, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False)
