"""How the end of a process is put into words."""

from __future__ import annotations

import pytest

from gems_actors.os_process import describe_exit


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (1, "exit code 1"),
        (-11, "signal SIGSEGV"),
        (-40, "signal 40"),
        (78, "exit code 78 (bad configuration)"),
    ],
)
def test_an_exit_is_described_by_code_or_signal_name(code: int, words: str) -> None:
    assert describe_exit(code) == words
