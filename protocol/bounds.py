"""Brings values that earlier versions accepted within the bounds of today's message types."""

from __future__ import annotations

from typing import Any

from msgspec import inspect


def fit_to_bounds(value: Any, kind: inspect.Type) -> Any:
    """Return a decoded msgpack value with each number, text and array of it cut to the bounds of its field.

    For records, which have no maps but structs. What no bound explains, such as a value of another type, stays as it is
    and is refused by the decoder.
    """
    match kind, value:
        case ((inspect.IntType() | inspect.FloatType()), (int() | float())) if not isinstance(value, bool):
            value = value if kind.ge is None else max(value, kind.ge)
            return value if kind.le is None else min(value, kind.le)
        case inspect.StrType(pattern=None), str():
            return value[: kind.max_length]
        case inspect.VarTupleType(), list():
            return [fit_to_bounds(item, kind.item_type) for item in value[: kind.max_length]]
        case inspect.StructType(), dict():
            kinds = {field.encode_name: field.type for field in kind.fields}
            return {key: fit_to_bounds(item, kinds[key]) if key in kinds else item for key, item in value.items()}
        case inspect.UnionType(), _ if (option := _option_of(kind, value)) is not None:
            return fit_to_bounds(value, option)
    return value


def _option_of(union: inspect.UnionType, value: Any) -> inspect.Type | None:
    """Return the type of a union that a value is meant to be: the struct of its tag, or the only one besides nil."""
    options = [option for option in union.types if not isinstance(option, inspect.NoneType)]
    if value is None or len(options) == 1:
        return None if value is None else options[0]
    tag = value.get("type") if isinstance(value, dict) else None
    return next((option for option in options if isinstance(option, inspect.StructType) and option.tag == tag), None)
