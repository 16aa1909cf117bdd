"""Values of Arrow arrays as JSON can say them: what has no JSON type is text, and binary values are left out.

Times are formatted here and not by `as_py`, which fails for nanoseconds, for years that Python's calendar lacks, and
for time zones that this machine does not know; instants with a time zone are in UTC.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow
from pyarrow import types

_EPOCH: Final = datetime(1970, 1, 1)
_DAY_S: Final = 86_400
_DIGITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}
"""Decimal places of a second, by unit."""
_IS_BINARY: Final = (
    types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view,
)  # fmt: skip
_IS_LIST: Final = (
    types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view,
)  # fmt: skip
_IS_TEXT: Final = (types.is_string, types.is_large_string, types.is_string_view)


def has_values(type_: Any) -> bool:
    """Return whether values of a type say anything besides binary values such as pictures."""
    if isinstance(type_, pyarrow.BaseExtensionType):
        return _is_uuid(type_) or has_values(type_.storage_type)
    if types.is_dictionary(type_):
        return has_values(type_.value_type)
    if types.is_map(type_):
        return has_values(type_.key_type) and has_values(type_.item_type)
    if any(is_list(type_) for is_list in _IS_LIST):
        return has_values(type_.value_type)
    if types.is_struct(type_):
        return not type_.num_fields or any(has_values(field.type) for field in type_)
    return not any(is_binary(type_) for is_binary in _IS_BINARY)


def has_binary(type_: Any) -> bool:
    """Return whether a type has binary values in it."""
    if types.is_struct(type_):
        return any(has_binary(field.type) for field in type_)
    return not has_values(type_)


def holds_bytes(type_: Any) -> bool:
    """Return whether a type is binary, or a list or struct with binary values in it."""
    if types.is_struct(type_):
        return any(holds_bytes(field.type) for field in type_)
    if any(is_list(type_) for is_list in _IS_LIST):
        return holds_bytes(type_.value_type)
    return any(is_binary(type_) for is_binary in _IS_BINARY)


def values_of(array: Any) -> list[Any]:
    """Return the values of an array of a type that `has_values`."""
    if _is_plain(array.type):
        try:
            values: list[Any] = array.to_pylist()
            return values
        except UnicodeDecodeError:
            pass  # value by value: bytes that are not UTF-8 become lone surrogates, which no record may have
    return [_value_of(scalar) for scalar in array]


def _is_plain(type_: Any) -> bool:
    """Return whether Python's own values are what JSON can say; NaN and infinities are left to the encoder."""
    if isinstance(type_, pyarrow.BaseExtensionType):
        return False
    if types.is_struct(type_):
        return all(_is_plain(field.type) for field in type_)
    if types.is_map(type_):
        return False
    if any(is_list(type_) for is_list in _IS_LIST):
        return _is_plain(type_.value_type)
    if types.is_dictionary(type_):
        return _is_plain(type_.value_type)
    is_number = types.is_integer(type_) or types.is_float32(type_) or types.is_float64(type_)
    is_other = types.is_boolean(type_) or types.is_null(type_)
    return is_number or is_other or any(is_text(type_) for is_text in _IS_TEXT)


def _value_of(scalar: Any) -> Any:
    type_ = scalar.type
    if not scalar.is_valid:
        return None
    if isinstance(type_, pyarrow.BaseExtensionType):
        return str(scalar.as_py()) if _is_uuid(type_) else _value_of(scalar.value)
    if types.is_dictionary(type_):
        return _value_of(scalar.value)
    if types.is_struct(type_):
        kept = (index for index, field in enumerate(type_) if has_values(field.type))
        return {type_.field(index).name: _value_of(scalar[index]) for index in kept}
    if types.is_map(type_):
        return [[_value_of(item[0]), _value_of(item[1])] for item in scalar.values]
    if any(is_list(type_) for is_list in _IS_LIST):
        return [_value_of(item) for item in scalar.values]
    if any(is_text(type_) for is_text in _IS_TEXT):
        return scalar.as_buffer().to_pybytes().decode(errors="surrogateescape")
    if types.is_temporal(type_) and not types.is_interval(type_):
        return _time_of(type_, scalar.value)
    value = scalar.as_py()
    if types.is_floating(type_):
        return float(value)
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, bool | int | str) else str(value)


def _time_of(type_: Any, value: int) -> str:
    """Return a date, a time or a duration in the form of ISO 8601, or as a number with its unit where that has none."""
    if types.is_date32(type_):
        return _date_of(value, f"{value} days")
    if types.is_date64(type_):
        return _date_of(value // (1000 * _DAY_S), f"{value} ms")
    digits = _DIGITS[type_.unit]
    seconds, rest = divmod(abs(value) if types.is_duration(type_) else value, 10**digits)
    fraction = f".{rest:0{digits}}" if rest else ""
    if types.is_duration(type_):
        return f"{'-' * (value < 0)}PT{seconds}{fraction}S"
    if types.is_timestamp(type_):
        try:
            return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}{fraction}{'Z' * (type_.tz is not None)}"
        except OverflowError:
            return f"{value} {type_.unit} since 1970-01-01"
    if 0 <= seconds < _DAY_S:
        return f"{(_EPOCH + timedelta(seconds=seconds)).time().isoformat()}{fraction}"
    return f"{value} {type_.unit}"


def _date_of(days: int, text: str) -> str:
    try:
        return (_EPOCH + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return f"{text} since 1970-01-01"


def _is_uuid(type_: Any) -> bool:
    return getattr(type_, "extension_name", "") == "arrow.uuid"
