"""Modules that a command loads, and its help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gems_actors import __version__
from gems_actors.cli import main
from gems_actors.cli.commands import COMMANDS
from tests.gems_actors.cli.commands import run_gems


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_version_and_help_load_no_heavy_module(arguments: list[str]) -> None:
    code = (
        "import sys; from gems_actors.cli import main; main(sys.argv[1:]);"
        "print(sorted({'rich', 'zmq', 'trio', 'PIL', 'msgspec', 'structlog', 'apsw'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_draw_loads_no_heavy_module_before_it_has_read_its_options() -> None:
    heavy = "{'rich', 'zmq', 'trio', 'PIL', 'structlog'}"
    code = f"import sys, gems_actors.cli.draw; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_gems_without_arguments_shows_its_help(tmp_path: Path) -> None:
    done = run_gems(tmp_path, is_fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_gems(tmp_path, "--help", is_fresh=True).stdout
    assert run_gems(tmp_path, "--version", is_fresh=True).stdout == f"gems {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_an_uncut_line_for_each_subcommand(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"Usage: gems {command} [OPTIONS]")
    assert "..." not in output.out.partition("Commands:")[2]
    assert output.err == ""
