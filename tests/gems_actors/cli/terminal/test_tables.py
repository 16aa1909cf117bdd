"""Tables of plain text."""

from __future__ import annotations

import sys

import pytest

from gems_actors.cli.terminal.tables import fit_to_terminal, table_lines


def test_columns_are_aligned_and_the_last_one_keeps_its_length() -> None:
    rows = [("role", "busy", "where"), ("planner", "1/12", "box 17"), ("memory", "0/1", "")]

    assert list(table_lines(rows)) == ["role     busy  where", "planner  1/12  box 17", "memory    0/1"]
    assert next(iter(table_lines(rows, left=(0, 1)))) == "role     busy  where"
    assert list(table_lines(rows, left=(0, 1)))[2] == "memory   0/1"


def test_a_line_is_cut_to_the_terminal_but_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert fit_to_terminal("0123456789") == "0123456789"
    assert fit_to_terminal("0123456789a") == "0123456..."

    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert fit_to_terminal("0123456789a") == "0123456789a"
