"""Strategies for headers and bodies, derived from the message types, so that new types are tested at once."""

import math
import operator
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from protocol.codec import BODIES
from protocol.envelope import ROLE_NAME, Header, Kind, Lane
from protocol.messages import Body


@cache
def bodies() -> st.SearchStrategy[Body]:
    return st.sampled_from(sorted(BODIES)).flatmap(lambda name: _instances(BODIES[name]))


def headers() -> st.SearchStrategy[Header]:
    return st.builds(
        Header,
        kind=st.sampled_from(Kind),
        id=_bytes(16),
        role=st.just("") | st.from_regex(ROLE_NAME, fullmatch=True),
        lane=st.sampled_from(Lane),
        attempt=st.integers(0, 0xFFFF),
        time_left_ms=st.integers(0, 0xFFFFFFFF),
        trajectory=_bytes(16),
        run=_bytes(8),
        trace=_bytes(16),
        span=_bytes(8),
    )


def _bytes(length: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=length, max_size=length)


@cache
def _instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    fields = {field.name: _values(field.type) for field in described.fields}
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values))


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=least, le=most):
            return st.integers(-(2**63) if least is None else least, 2**63 - 1 if most is None else most)
        case inspect.FloatType(gt=above, ge=least, le=most):
            least = above if least is None else least
            return st.floats(least, most, exclude_min=above is not None, allow_nan=False)
        case inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern)
        case inspect.StrType(min_length=shortest, max_length=longest):
            letters = st.characters(exclude_categories=["Cs"])
            return st.text(letters, min_size=shortest or 0, max_size=min(longest or 20, 20))
        case inspect.BytesType(min_length=shortest, max_length=longest):
            return st.binary(min_size=shortest or 0, max_size=longest)
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.VarTupleType(item_type=item, min_length=fewest):
            return st.lists(_values(item), min_size=fewest or 0, max_size=3).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key), _values(value), max_size=3)
        case inspect.UnionType(types=options):
            return st.one_of(*map(_values, options))
        case inspect.StructType(cls=struct):
            return _instances(struct)
        case _:
            raise TypeError(f"expected a type that messages have so far, got {kind}")


_PATTERNED = {
    r"^[0-9a-f]{32}\Z": ("0" * 32, "f" * 32),
    r"^[0-9a-f]{0,32}\Z": ("", "f" * 32),
    r"^sha256:[0-9a-f]{64}\Z": (f"sha256:{'0' * 64}", f"sha256:{'f' * 64}"),
    r"^([0-9a-f]{16})?\Z": ("", "f" * 16),
}
_LETTERS = ("a", "<", "\0", "\x1b", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{SPEAK-NO-EVIL MONKEY}")
_MAX_REPEATED = 64


@cache
def extremes(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return values of a message type or struct, all of whose fields are at their bounds."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return st.builds(kind, **{field.name: _extremes(field.type) for field in described.fields})


def _extremes(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.IntType(ge=int(least), le=int(most)):
            return st.sampled_from((least, most))
        case inspect.FloatType(ge=None, gt=float(above), le=float(most)):
            return st.sampled_from((math.nextafter(above, most), most))
        case inspect.FloatType(ge=float(least), le=float(most)):
            return st.sampled_from((least, most))
        case inspect.StrType(pattern=str(pattern)):
            return st.sampled_from(_PATTERNED[pattern])
        case inspect.StrType(min_length=shortest, max_length=int(longest)):
            return st.builds(operator.mul, st.sampled_from(_LETTERS), st.sampled_from((shortest or 0, longest)))
        case inspect.BytesType(max_length=int(longest)):
            return st.sampled_from((bytes(longest), b"\xff" * longest))
        case inspect.VarTupleType(item_type=item, min_length=fewest, max_length=int(most)):
            sizes = {fewest or 0, 1, min(most, _MAX_REPEATED)}
            return st.builds(lambda value, size: (value,) * size, _extremes(item), st.sampled_from(sorted(sizes)))
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_extremes(key), _extremes(value), max_size=3)
        case inspect.UnionType(types=options):
            return st.one_of(*map(_extremes, options))
        case inspect.StructType(cls=struct):
            return extremes(struct)
        case _:
            return _values(kind)


def as_map(body: Body) -> dict[str, Any]:
    """Return what a body is on the wire, in plain Python values."""
    plain: dict[str, Any] = msgspec.to_builtins(body, builtin_types=(bytes,))
    return plain
