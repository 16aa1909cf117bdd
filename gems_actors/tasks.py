"""Background tasks, and running several functions concurrently."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

import trio

FirstT = TypeVar("FirstT")
SecondT = TypeVar("SecondT")


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks are cancelled when the block ends.

    If there is exactly one exception, in the block or in a task, it is raised as itself rather than in a group.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = _only_error(group)
        if error is None:
            raise
        raise error from error.__cause__


@overload
async def gather(
    first: Callable[[], Awaitable[FirstT]], second: Callable[[], Awaitable[SecondT]], /
) -> tuple[FirstT, SecondT]: ...
@overload
async def gather(*functions: Callable[[], Awaitable[FirstT]]) -> tuple[FirstT, ...]: ...
async def gather(*functions: Callable[[], Awaitable[Any]]) -> tuple[Any, ...]:
    """Run functions concurrently and return their results in order; the first error cancels the rest and is raised."""
    if len(functions) == 1:
        return (await functions[0](),)  # a nursery and a task cost more than most functions
    results: dict[int, Any] = {}
    errors: list[Exception] = []

    async with trio.open_nursery() as nursery:

        async def run(index: int, function: Callable[[], Awaitable[Any]]) -> None:
            try:
                results[index] = await function()
            except Exception as error:  # raised below, outside the nursery, as itself and not in a group
                errors.append(error)
                nursery.cancel_scope.cancel()

        for index, function in enumerate(functions):
            nursery.start_soon(run, index, function)
    if errors:
        raise errors[0]
    return tuple(results[index] for index in range(len(functions)))


def _only_error(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the only exception of a group apart from cancellations, or None if there are several or none.

    The same exception object raised by several tasks counts once.
    """
    _, rest = group.split(trio.Cancelled)
    errors = [] if rest is None else _errors_of(rest)
    return errors[0] if errors and all(error is errors[0] for error in errors) else None


def _errors_of(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _errors_of(inner)]
    return [error]
