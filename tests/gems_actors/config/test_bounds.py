"""Every number among the settings has both bounds, and nothing outside them is accepted from any source."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from msgspec import Meta, Struct

from gems_actors.cli import main
from gems_actors.config import MeshConfig, load_config
from gems_actors.config.checks import unwrap
from gems_actors.errors import ConfigError

ODD = (
    *("nan", "inf", "-inf", "1e-300", "1e300", "-1e300", "1e400", "0", "-0.0", "-1", "true", "false", "''", "[]", "{}"),
    *("9223372036854775808", "-9223372036854775809", "18446744073709551616", "1979-05-27"),
    *("1" + "0" * 400, "0x" + "f" * 5000, "1" + "0" * 5000),
)


def numbers(kind: Any, key: str) -> Iterator[tuple[str, Any, Meta]]:
    """Yield key, type and bounds of every number of a type; names of roles are `verifier`."""
    bare, meta = unwrap(kind)
    if get_origin(bare) in (Union, types.UnionType):
        for option in get_args(bare):
            yield from numbers(option, key)
    elif get_origin(bare) is Annotated:
        yield from numbers(bare, key)
    elif isinstance(bare, type) and issubclass(bare, Struct):
        for name, inner in get_type_hints(bare, include_extras=True).items():
            if name in bare.__struct_fields__:
                yield from numbers(inner, f"{key}.{name}" if key else name)
    elif get_origin(bare) is dict:
        yield from numbers(get_args(bare)[1], f"{key}.verifier")
    elif get_origin(bare) is tuple:
        for inner in get_args(bare):
            yield from numbers(inner, f"{key}[]")
    elif bare in (int, float):
        yield key, bare, meta


NUMBERS = {key: (kind, meta) for key, kind, meta in numbers(MeshConfig, "")}
PLAIN = sorted(key for key in NUMBERS if "[]" not in key)
"""Numbers that a flag can set."""


def test_no_number_is_without_both_bounds() -> None:
    assert len(NUMBERS) > 40
    for key, (_, meta) in NUMBERS.items():
        lower = [bound for bound in (meta.ge, meta.gt) if bound is not None]
        upper = [bound for bound in (meta.le, meta.lt) if bound is not None]
        assert lower, f"{key}: no lower bound"
        assert upper, f"{key}: no upper bound"
        assert all(math.isfinite(bound) and abs(bound) <= 10**15 for bound in (*lower, *upper)), key


def value_of(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config[name] if isinstance(config, dict) else getattr(config, name)
    return config


@pytest.mark.parametrize("key", PLAIN)
def test_an_odd_value_is_refused_with_its_key_or_lies_within_the_bounds(key: str) -> None:
    _, meta = NUMBERS[key]
    for text in ODD:
        try:
            config = load_config(None, {}, [f"{key}={text}"])
        except ConfigError as error:
            message = str(error)
            assert "expected" in message, message
            assert "got" in message, message
            assert "\n" not in message, message
            assert len(message) < 500, message
            continue
        value = value_of(config, key)
        assert type(value) in (int, float), (key, text, value)
        assert meta.ge is None or value >= meta.ge, (key, text)
        assert meta.gt is None or value > meta.gt, (key, text)
        assert meta.le is None or value <= meta.le, (key, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-300", "a number of at least 0.05, got 1e-300"),
        ("61", "a number of at most 60, got 61"),
        ("0x" + "f" * 5000, "a number of at most 60, got a number of more than 4300 digits"),
        ("true", "a number, got true"),
    ],
)
def test_each_source_is_named_with_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text(f"[router]\nheartbeat_s = {text}\n")
    loads: dict[str, Callable[[], object]] = {
        str(file): lambda: load_config(file, {}),
        "environment GEMS__ROUTER__HEARTBEAT_S": lambda: load_config(None, {"GEMS__ROUTER__HEARTBEAT_S": text}),
        "--set": lambda: load_config(None, {}, [f"router.heartbeat_s={text}"]),
    }
    for source, load in loads.items():
        with pytest.raises(ConfigError) as caught:
            load()
        assert str(caught.value) == f"{source}: router.heartbeat_s: expected {expected}"


def test_a_file_with_a_number_of_thousands_of_digits_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text(f"[router]\nmax_queue = 1{'0' * 5000}\n")
    with pytest.raises(ConfigError, match=r"mesh.toml: expected TOML, got: Exceeds the limit"):
        load_config(file, {})


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("image.extra={cfg=[1.0, nan]}", "image.extra.cfg[1]: expected a finite number, got NaN"),
        ("chat.extra={top_p=inf}", "chat.extra.top_p: expected a finite number, got Infinity"),
        (f"image.extra={{seed={2**64}}}", f"image.extra.seed: expected a whole number of up to 64 bits, got {2**64}"),
        ("chat.roles.verifier.extra={a={b=nan}}", "chat.roles.verifier.extra.a.b: expected a finite number, got NaN"),
    ],
)
def test_a_free_field_of_a_server_holds_numbers_that_json_can_carry(flag: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, [flag])
    assert str(caught.value) == f"--set: {message}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["router.silence_s=0.2"],
            "router.silence_s: expected at least 3 times router.heartbeat_s (1), got 0.2",
        ),
        (
            ["supervisor.backoff_s=20"],
            "supervisor.max_backoff_s: expected at least supervisor.backoff_s (20), got 10",
        ),
        (
            ["supervisor.max_restarts=10000"],
            "supervisor.max_restarts: expected at most 600 with supervisor.period_s = 30, got 10000",
        ),
    ],
)
def test_times_that_contradict_each_other_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, flags)
    assert str(caught.value) == message


def test_a_command_ends_with_exit_code_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--set", "router.heartbeat_s=1e-300"]) == 78
    assert capsys.readouterr().err.strip().endswith("expected a number of at least 0.05, got 1e-300")
