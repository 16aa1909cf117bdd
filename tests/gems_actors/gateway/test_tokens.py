"""Tokens of a file and of the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.config import GatewayConfig
from gems_actors.errors import ConfigError
from gems_actors.gateway.tokens import Caller, Tokens, TokenTable, parse_variable, read_tokens


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_each_token_has_its_caller(tmp_path: Path) -> None:
    callers = read_tokens(write(tmp_path, '[alice]\ntoken = "0123456789abcdef"\n[bob]\ntoken = "fedcba9876543210"\n'))
    table = TokenTable(callers)
    assert table.caller_of("0123456789abcdef") == Caller("alice")
    assert table.caller_of("fedcba9876543210") == Caller("bob")
    assert table.caller_of("0123456789abcde") is None
    assert table.caller_of("") is None
    assert table.caller_of("\udcff") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "got none"),
        ("x", "expected tables"),
        ('[alice]\ntoken = "short"\n', "16 to 256 printable"),
        ('[alice]\ntoken = "with a space 0123456"\n', "16 to 256 printable"),
        ("[alice]\ntoken = 1\n", "expected tables"),
        ('[alice]\ntoken = "0123456789abcdef"\nmay = "all"\n', "expected tables"),
        ('[alice]\ntoken = "0123456789abcdef"\nadmin = "yes"\n', "expected tables"),
        ('[Alice]\ntoken = "0123456789abcdef"\n', "lower-case"),
        ('[a]\ntoken = "0123456789abcdef"\n[b]\ntoken = "0123456789abcdef"\n', "no other name"),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_tokens(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        read_tokens(write(tmp_path, text))
    assert "0123456789abcdef" not in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeff[alice]\r\ntoken = "0123456789abcdef"\r\n')
    assert [*read_tokens(path).values()] == [Caller("alice")]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only its owner can read, got mode 0640"):
        read_tokens(write(tmp_path, '[alice]\ntoken = "0123456789abcdef"\n', 0o640))
    with pytest.raises(ConfigError, match="No such file"):
        read_tokens(tmp_path / "none")


def test_an_admin_is_one_whose_table_says_so(tmp_path: Path) -> None:
    text = '[alice]\ntoken = "0123456789abcdef"\n[root]\ntoken = "fedcba9876543210"\nadmin = true\n'
    callers = read_tokens(write(tmp_path, text))
    assert {caller.name: caller.is_admin for caller in callers.values()} == {"alice": False, "root": True}
    settings = GatewayConfig(tokens=str(tmp_path / "tokens.toml"), images_per_day=5)
    assert Tokens(settings).named("root") == Caller("root", images_per_day=5, is_admin=True)
    assert not any(caller.is_admin for caller in parse_variable("T", "root=0123456789abcdef").values())


def test_a_variable_holds_names_and_tokens() -> None:
    callers = parse_variable("TOKENS", "alice=0123456789abcdef bob=fedcba9876543210")
    assert [caller.name for caller in callers.values()] == ["alice", "bob"]
    for text in ("", "alice", "alice=short", "=0123456789abcdef"):
        with pytest.raises(ConfigError, match="environment TOKENS"):
            parse_variable("TOKENS", text)
