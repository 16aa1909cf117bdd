"""How the tests run: async tests under trio, property tests alike on every machine."""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from functools import partial, wraps
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, settings

from tests.processes import take_signals

settings.register_profile("mesh", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mesh")

# The suite starts some thousand Python processes: without cached bytecode each of them would compile the packages.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

take_signals()

# Models of the tests are so small that further threads of torch and NumPy only wait in loops for one another.
os.environ["OMP_NUM_THREADS"] = "1"

os.environ["XDG_STATE_HOME"] = mkdtemp(prefix="gems-tests-")  # what tests draw is not in the history of who runs them
atexit.register(rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

TIME_LIMIT_S = 120.0
"""Default time limit of an async test in real time, long enough for a machine that is four times busier."""

_WHOLLY_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of slow tests only without importing them, in the fast part: what they import takes seconds."""
    if config.option.markexpr != "not slow" or not collection_path.match("test_*.py"):
        return None
    return _WHOLLY_SLOW.search(collection_path.read_text()) is not None or None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect garbage neither while modules are imported nor, later, among the million objects that they leave."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no worker is left alone with one: those of slow tests only, and few of them.

    Most other files have a few slow tests. The fewer tests a file has, the longer they take.
    """
    counts = Counter(item.path for item in items)
    others = {item.path for item in items if not item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path in others, counts[item.path]))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Run an `async def` test under trio; with the marker `virtual_time`, under a clock that jumps over every wait."""
    is_virtual = pyfuncitem.get_closest_marker("virtual_time") is not None
    marker = pyfuncitem.get_closest_marker("time_limit")
    limit_s = TIME_LIMIT_S if marker is None else float(marker.args[0])
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = _under_trio(pyfuncitem.obj, is_virtual, limit_s)
    elif inspect.iscoroutinefunction(inner := getattr(getattr(pyfuncitem.obj, "hypothesis", None), "inner_test", None)):
        pyfuncitem.obj.hypothesis.inner_test = _under_trio(inner, is_virtual, limit_s)


def _under_trio(
    test: Callable[..., Coroutine[Any, Any, None]], is_virtual: bool, limit_s: float
) -> Callable[..., None]:
    async def within_limit(*args: object, **kwargs: object) -> None:
        with trio.fail_after(limit_s):
            await test(*args, **kwargs)

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        if is_virtual:
            trio.run(partial(test, *args, **kwargs), clock=trio.testing.MockClock(autojump_threshold=0))
        else:
            trio.run(partial(within_limit, *args, **kwargs))

    return run
