"""Attention row by row, for batches whose rows have different lengths.

A batch of texts of different lengths is padded, and stock attention masks the padding. Flash kernels take no mask, so
a masked batch falls back to a slower kernel; a call for each row without padding does not, but launches more. Which
is faster depends on device and sizes: `loading` measures both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


class RowLengths:
    """Lengths of the rows of the current forward, on the host; reading them from a mask would wait for the device."""

    def __init__(self) -> None:
        self._lengths: dict[str, list[int]] = {}

    def set(self, **lengths: Sequence[int]) -> None:
        """Set the lengths of the current forward, by the name of what they count."""
        self._lengths = {name: list(values) for name, values in lengths.items()}

    def __getitem__(self, name: str) -> list[int]:
        return self._lengths[name]


class Processors:
    """The attention processors of a transformer's blocks: stock ones, or ours that attend row by row."""

    def __init__(self, blocks: Sequence[Any], ours: Callable[[Any], Any]) -> None:
        """Take blocks with an attention module each, and a function from that module to our processor of it."""
        self._attentions = list(blocks)
        self._stock = [attention.processor for attention in self._attentions]
        self._ours = [ours(attention) for attention in self._attentions]
        self._is_by_row = False

    def use(self, *, by_row: bool) -> None:
        """Attend row by row from now on, or as the stock pipeline does."""
        if by_row == self._is_by_row:
            return
        self._is_by_row = by_row
        for attention, processor in zip(self._attentions, self._ours if by_row else self._stock, strict=True):
            attention.set_processor(processor)


Rows = Sequence[tuple[slice, ...]]
"""Slices of the tokens of each row that are no padding."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Rows | None = None,
    queries: Rows | None = None,
    *,
    is_causal: bool = False,
) -> Tensor:
    """Return attention of (rows, tokens, heads, width), computed row by row if `keys` has slices.

    Args:
        query: queries; with `queries` None, all of them attend.
        key: keys.
        value: values.
        keys: tokens of each row that are attended to; None for all, in one call.
        queries: tokens of each row that attend; the result for others is zero.
        is_causal: whether tokens attend to themselves and what precedes them only; not together with `keys`.
    """
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    if keys is None:
        return scaled_dot_product_attention(query, key, value, is_causal=is_causal).transpose(1, 2)
    attended = torch.zeros_like(query)
    for row, parts in enumerate(keys):
        asking = queries[row] if queries else (slice(None),)
        found = scaled_dot_product_attention(
            _tokens(query, row, asking), _tokens(key, row, parts), _tokens(value, row, parts)
        )
        done = 0
        for part in asking:
            own = attended[row : row + 1, :, part]
            own[:] = found[:, :, done : done + own.shape[2]]
            done += own.shape[2]
    return attended.transpose(1, 2)


def _tokens(states: Tensor, row: int, parts: tuple[slice, ...]) -> Tensor:
    found = [states[row : row + 1, :, part] for part in parts]
    return found[0] if len(found) == 1 else torch.cat(found, 2)


def rotate(states: Tensor, frequencies: Tensor) -> Tensor:
    """Apply rotary position embeddings: (rows, tokens, heads, width) by complex (..., tokens, width / 2)."""
    pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * frequencies.unsqueeze(-2)).flatten(3).type_as(states)
