"""Tasks that run beside a block of code, and tasks that are waited for together."""

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

    An exception of the block, or of a task, comes out as itself where it is the only one: a caller that waits for a
    `RequestError` need not look for it in a group.
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
    """Run functions at once and return their results in order; the first to fail cancels the others and is raised."""
    if len(functions) == 1:
        return (await functions[0](),)  # a nursery and a task for one function cost more than most of them do
    results: dict[int, Any] = {}
    errors: list[Exception] = []

    async with trio.open_nursery() as nursery:

        async def run(index: int, function: Callable[[], Awaitable[Any]]) -> None:
            try:
                results[index] = await function()
            except Exception as error:  # raised again below, outside the nursery, as itself and not as a group
                errors.append(error)
                nursery.cancel_scope.cancel()

        for index, function in enumerate(functions):
            nursery.start_soon(run, index, function)
    if errors:
        raise errors[0]
    return tuple(results[index] for index in range(len(functions)))


def _only_error(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the one exception of a group that is no cancellation, or None where there are none or several.

    One that two tasks were told of, and both raise, is one.
    """
    _, rest = group.split(trio.Cancelled)
    errors = [] if rest is None else _errors_of(rest)
    return errors[0] if errors and all(error is errors[0] for error in errors) else None


def _errors_of(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _errors_of(inner)]
    return [error]
