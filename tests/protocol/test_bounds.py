"""Every field on the wire is bounded, and what earlier versions accepted beyond a bound is cut to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from msgspec import inspect

from protocol.bounds import fit_to_bounds
from protocol.codec import BODIES, decode_body, decode_record, encode_body, encode_checked, is_within_bounds
from protocol.errors import BodyError
from protocol.limits import MAX_COST, MAX_COUNT, MAX_NAME_CHARS, MAX_REQUIREMENTS, MAX_ROUNDS, MAX_SECONDS
from protocol.messages import (
    AnyRecord,
    AttemptVerified,
    Body,
    DrawPicture,
    PlanPrompt,
    PromptPlanned,
    Reply,
    RunBegun,
    Spent,
    TrajectoryBegun,
)
from tests.actors.fakes import attempt
from tests.protocol.strategies import as_map, bodies, extremes


def unbounded(kind: inspect.Type, path: str) -> Iterator[str]:
    """Yield the path of each field that some value of any size or length fits."""
    match kind:
        case inspect.IntType() | inspect.FloatType():
            if kind.le is None or (kind.ge is None and kind.gt is None):
                yield path
        case inspect.StrType(pattern=str(pattern)):
            if any(letter in pattern for letter in "*+"):
                yield path
        case inspect.StrType() | inspect.BytesType():
            if kind.max_length is None:
                yield path
        case inspect.VarTupleType(item_type=item):
            if kind.max_length is None:
                yield path
            yield from unbounded(item, f"{path}[]")
        case inspect.DictType(key_type=key, value_type=value):
            if kind.max_length is None:
                yield path
            yield from unbounded(key, f"{path} key")
            yield from unbounded(value, f"{path} value")
        case inspect.UnionType(types=options):
            for option in options:
                yield from unbounded(option, path)
        case inspect.StructType(cls=cls, fields=fields):
            for field in fields:
                yield from unbounded(field.type, f"{cls.__name__}.{field.name}")
        case inspect.NoneType() | inspect.BoolType() | inspect.LiteralType():
            pass
        case _:
            yield f"{path}: {kind}"


@pytest.mark.parametrize("name", BODIES)
def test_every_field_is_bounded(name: str) -> None:
    assert list(unbounded(inspect.type_info(BODIES[name]), name)) == []


class Loose(msgspec.Struct):
    count: int
    share: float
    above: float | None
    text: str
    data: bytes
    items: tuple[int, ...]
    table: dict[str, int]


def test_the_walk_names_every_kind_of_field_that_is_not_bounded() -> None:
    found = [path.removeprefix("Loose.") for path in unbounded(inspect.type_info(Loose), "Loose")]
    assert found == ["count", "share", "above", "text", "data", "items", "items[]", "table", "table key", "table value"]


# ------------------------------------------------------------------------------------------------------ in the sender

ID = "0" * 32
TASK = DrawPicture(run="r", prompt="a red fox", seed=1)
WRONG: dict[str, tuple[Body, str]] = {
    "text": (PlanPrompt(prompt="x" * 40_000), "PlanPrompt: Expected `str` of length <= 32000 - at `$.prompt`"),
    "empty": (PlanPrompt(prompt=""), "PlanPrompt: Expected `str` of length >= 1 - at `$.prompt`"),
    "count": (RunBegun(run="r", total=-1), "RunBegun: Expected `int` >= 0 - at `$.total`"),
    "nested": (
        TrajectoryBegun(trajectory=ID, task=msgspec.structs.replace(TASK, seed=2**32)),
        "TrajectoryBegun: Expected `int` <= 4294967295 - at `$.task.seed`",
    ),
    "type": (RunBegun(run="r", total="many"), "RunBegun: Expected `int | null`, got `str` - at `$.total`"),  # type: ignore[arg-type]
    "number": (
        PromptPlanned(trajectory=ID, prompt="x", spent=Spent(cost=float("nan"))),
        "PromptPlanned: Expected",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_value_that_its_receiver_would_refuse_is_not_sent(wrong: str) -> None:
    body, reason = WRONG[wrong]
    with pytest.raises(BodyError) as caught:
        encode_checked(body)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


class Odd(Reply, frozen=True, kw_only=True):
    numbers: list[int] | tuple[int, ...] = ()


def test_a_user_s_type_that_nobody_can_decode_is_not_sent() -> None:
    with pytest.raises(BodyError, match="Odd: Type unions may not contain more than one array-like"):
        encode_checked(Odd())


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.slow
def test_a_body_at_its_bounds_is_sent_and_read_back(name: str) -> None:
    @settings(max_examples=5)
    @given(extremes(BODIES[name]))
    def check(body: Body) -> None:
        assert decode_body(encode_checked(body)) == body

    check()


@given(bodies())
@pytest.mark.slow
def test_every_valid_body_is_sent_as_it_is(body: Body) -> None:
    assert encode_checked(body) == encode_body(body)


# ------------------------------------------------------------------------------------------------ earlier versions

FIRST = attempt(1, "mu")
ODD: dict[str, Callable[[], AnyRecord]] = {
    "a count": lambda: RunBegun(run="r", total=2**63),
    "a number below its bound": lambda: TrajectoryBegun(trajectory=ID, task=msgspec.structs.replace(TASK, line=-1)),
    "a round": lambda: AttemptVerified(trajectory=ID, attempt=msgspec.structs.replace(FIRST, round=1000)),
    "a name": lambda: PromptPlanned(trajectory=ID, prompt="x", skill="s" * 1000),
    "a cost": lambda: PromptPlanned(trajectory=ID, prompt="x", spent=Spent(cost=1e300, seconds=2**64 - 1)),
    "an array": lambda: AttemptVerified(
        trajectory=ID, attempt=msgspec.structs.replace(FIRST, verdicts=FIRST.verdicts * 50)
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_record_of_an_earlier_version_is_cut_to_the_bounds_and_known_by_that(odd: str) -> None:
    data = encode_body(ODD[odd]())
    assert not is_within_bounds(data)
    read = decode_record(data)
    assert is_within_bounds(encode_checked(read))
    match read:
        case RunBegun():
            assert read.total == MAX_COUNT
        case TrajectoryBegun():
            assert read.task == TASK
        case PromptPlanned():
            assert len(read.skill or "") in {0, MAX_NAME_CHARS}
            assert read.spent in {Spent(), Spent(cost=MAX_COST, seconds=MAX_SECONDS)}
        case AttemptVerified(attempt=found):
            assert (found.round, len(found.verdicts)) in {(MAX_ROUNDS, 2), (1, MAX_REQUIREMENTS)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "RunBegun", "run": 5},
        {"type": "RunBegun", "run": "r", "total": "many"},
        {"type": "RunBegun", "run": "r", "total": [2**60]},
        {"type": "RunEnded", "run": "r"},
        {"run": "r"},
        {"type": "TrajectoryBegun", "trajectory": "0" * 33, "task": {}},
        [1],
        {"type": ["RunBegun"]},
    ],
)
def test_what_is_no_record_is_refused_and_never_mended(wrong: Any) -> None:
    data = msgpack.packb(wrong)
    assert not is_within_bounds(data)
    with pytest.raises(BodyError, match="expected a record"):
        decode_record(data)


@given(bodies())
@pytest.mark.slow
def test_a_value_within_its_bounds_stays_as_it_is(body: Body) -> None:
    value = msgpack.unpackb(msgpack.packb(as_map(body)))
    assert fit_to_bounds(value, inspect.type_info(type(body))) == value
