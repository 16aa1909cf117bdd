"""A shell completes commands, options and values, without loading what only a draw needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gems_actors.cli.commands import environment

MAIN = "import sys; from gems_actors.cli import main; sys.exit(main())"


def completions(folder: Path, line: str) -> list[str]:
    """Return what bash offers for a command line whose last word is being typed."""
    words = line.split(" ")
    asked = {"_GEMS_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", MAIN], env={**environment(folder), **asked}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return [offered.partition(",")[2] for offered in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gems d", {"draw", "down", "doctor"}),
        ("gems bulk re", {"retry", "report"}),
        ("gems bulk --sh", {"--shard"}),
        ("gems bulk prompts.txt --gui", {"--guidance"}),
        ("gems bulk prompts.txt --strategy r", {"rewrite"}),
        ("gems memory ex", {"export"}),
    ],
)
@pytest.mark.slow
def test_the_word_that_is_typed_is_completed(line: str, expected: set[str], tmp_path: Path) -> None:
    assert set(completions(tmp_path, line)) == expected


def test_the_script_for_a_shell_is_printed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", MAIN], env={**environment(tmp_path), "_GEMS_COMPLETE": "zsh_source"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "#compdef gems" in done.stdout
