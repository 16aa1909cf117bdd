"""Engine processes that are killed, stopped and misconfigured; their requests are drawn all the same.

A real engine takes seconds of CPU to import torch and diffusers. What its host alone decides is tested
with `quick_engine`.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch
import trio
import trio.testing
from msgspec.structs import replace as replaced
from PIL import Image as Pillow

from gems_actors.backends import ImagePart
from gems_actors.backends.diffusion.engine_host import ENGINE_MODULE, DrawnPixels, EngineHost
from gems_actors.backends.diffusion.engine_messages import Draw, Load
from gems_actors.backends.diffusion.reference_memory import pack
from gems_actors.backends.pictures import png_of
from gems_actors.errors import BackendError, ConfigError, PoisonedError, RefusedError
from gems_actors.tasks import open_background
from tests.gems_actors.backends.diffusion import quick_engine
from tests.gems_actors.backends.diffusion.engines import draw_alone
from tests.gems_actors.backends.diffusion.tiny import save_tiny
from tests.processes import await_gone, descendants

pytestmark = pytest.mark.slow
LONG = 1000
"""Steps of a request that takes some seconds."""
QUICK = quick_engine.__name__
COMPILER = """#!/bin/sh
for word; do
    case $word in *.h.pch) ln -sf "$word" "${word%pch}gch" ;; esac
done
exec g++ "$@" -O0
"""
"""GCC in a fraction of the time of -O3, which finds the precompiled headers that torch names as Clang does."""


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A tiny Z-Image, on the CPU."""
    folder = tmp_path_factory.mktemp("models")
    return Load(str(save_tiny("z-image", folder)), "cpu", str(folder / "locks"), warm_up=((64, 64),))


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Settings of the quick engine, which can be started; its model is any folder that exists."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    (tmp_path / "model").mkdir()
    return Load(str(tmp_path / "model"), "cpu", str(tmp_path))


def draw(prompt: str = "a red fox", *, steps: int = 2) -> Draw:
    return Draw(0, prompt, 7, 64, 64, steps=steps)


@asynccontextmanager
async def open_host(load: Load, timeout_s: float = 60.0, *, module: str = ENGINE_MODULE) -> AsyncIterator[EngineHost]:
    async with open_background() as nursery:
        host = EngineHost(load, timeout_s, module=module)
        await nursery.start(host.run)
        yield host


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():  # noqa: ASYNC110 -- what is waited for happens in another process
        await trio.sleep(0.01)


def pixels_of(drawn: DrawnPixels) -> bytes:
    with drawn.memory as memory:
        return memory[:]


@pytest.mark.time_limit(480)  # two engines start, each for half a minute of a busy machine
async def test_a_host_draws_makes_room_after_cancellations_and_outlives_killed_engines(load: Load) -> None:
    """Each part has the host to itself; they share it because an engine takes seconds to start."""
    async with open_host(load) as host:
        await _pictures_are_drawn_and_impossible_ones_refused(host)
        await _cancelled_requests_make_room_for_others(host)
        await _requests_of_a_killed_engine_are_drawn_by_its_successor(host)
        pid = host.pid
    assert await_gone({pid}) == set(), "the engine ends with its host"


async def _pictures_are_drawn_and_impossible_ones_refused(host: EngineHost) -> None:
    first, again = pixels_of(await host.draw(draw())), pixels_of(await host.draw(draw()))
    assert len(first) == 64 * 64 * 3
    assert first == again
    assert host.capacity == 64
    with pytest.raises(RefusedError, match="multiples of 16 px, got 72x64"):
        await host.draw(Draw(0, "a red fox", 7, 72, 64))


async def _cancelled_requests_make_room_for_others(host: EngineHost) -> None:
    await until(lambda: host.totals.images == 2)  # of the pictures above; the engine reports them a moment later
    async with open_background() as nursery:
        for _ in range(3):
            nursery.start_soon(host.draw, draw(steps=LONG))
        await until(lambda: len(host.in_forward) == 3)
    assert host.pixels_in_flight == 0
    assert pixels_of(await host.draw(draw()))
    await until(lambda: host.totals.images == 3 and host.totals.running == 0)


async def _requests_of_a_killed_engine_are_drawn_by_its_successor(host: EngineHost) -> None:
    expected = pixels_of(await host.draw(draw(steps=150)))
    drawn: list[bytes] = []

    async def ask() -> None:
        drawn.append(pixels_of(await host.draw(draw(steps=150))))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await until(lambda: len(host.in_forward) == 3)
        killed = host.pid
        os.kill(killed, signal.SIGKILL)
    assert drawn == [expected] * 3, "each runs alone after the crash"
    assert host.restarts == 1
    assert host.pid != killed


async def test_a_request_that_crashes_two_engines_is_poisoned_and_others_go_on(quick: Load) -> None:
    poisoned: list[str] = []

    async def ask() -> None:
        with pytest.raises(PoisonedError) as caught:
            await host.draw(draw(steps=LONG))
        poisoned.append(str(caught.value))

    async with open_host(quick, module=QUICK) as host:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for crashes in range(2):
                await until(lambda: host.restarts == crashes and host.in_forward != ())  # noqa: B023 -- awaited here
                os.kill(host.pid, signal.SIGKILL)
        assert poisoned == ["crashed 2 engines, the last with signal SIGKILL"]
        assert pixels_of(await host.draw(draw())) == quick_engine.pixels_of(draw())


async def test_references_reach_an_engine_and_its_successor(quick: Load) -> None:
    pictures = [Pillow.new("RGB", (300, 200), (1, 2, 3)), Pillow.new("RGBA", (16, 16), (4, 5, 6, 7))]
    packed = pack([ImagePart(png_of(picture), "image/png") for picture in pictures])
    wanted, expected = replaced(draw(steps=100), references=packed.rasters), quick_engine.pixels_of(draw(), pictures)
    drawn: list[bytes] = []

    async def ask() -> None:
        drawn.append(pixels_of(await host.draw(wanted, packed.memory)))

    async with open_host(quick, module=QUICK) as host, trio.open_nursery() as nursery:
        assert host.can_edit
        nursery.start_soon(ask)
        await until(lambda: host.in_forward != ())
        os.kill(host.pid, signal.SIGKILL)
        await until(lambda: len(drawn) == 1)
        assert host.restarts == 1
    os.close(packed.memory)
    assert drawn == [expected]


async def test_a_request_that_is_cancelled_before_it_is_sent_leaves_its_memory_alone(quick: Load) -> None:
    packed = pack([ImagePart(png_of(Pillow.new("RGB", (16, 16))), "image/png")])
    async with open_host(quick, timeout_s=math.inf, module=QUICK) as host:
        os.kill(host.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            for _ in range(3):  # more than a socket holds, so that the last one waits
                nursery.start_soon(host.draw, draw("a red fox " * 200_000))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(host.draw, replaced(draw(), references=packed.rasters), packed.memory)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        os.close(packed.memory)
        os.kill(host.pid, signal.SIGCONT)
        assert pixels_of(await host.draw(draw())) == quick_engine.pixels_of(draw())
        assert host.restarts == 0


async def test_an_engine_that_hangs_is_replaced(quick: Load) -> None:
    async with open_host(quick, timeout_s=2.0, module=QUICK) as host:
        os.kill(host.pid, signal.SIGSTOP)
        assert pixels_of(await host.draw(draw())) == quick_engine.pixels_of(draw())
        assert host.restarts == 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")
@pytest.mark.time_limit(560)  # compiling takes minutes of a busy machine
async def test_compiled_blocks_draw_the_same_and_their_compilers_end_with_the_engine(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where torch keeps a precompiled header of 127 MB
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "0")  # plain loops, which compile faster than vector instructions
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    wanted = [replaced(draw("a red fox " * (1 + 4 * number)), guidance=0.0) for number in range(3)]
    drawn: dict[str, bytes] = {}
    async with open_host(replaced(load, compile=True, warm_up=()), timeout_s=math.inf) as host:

        async def ask(one: Draw) -> None:
            drawn[one.prompt] = pixels_of(await host.draw(one))

        async with trio.open_nursery() as nursery:
            os.kill(host.pid, signal.SIGSTOP)  # until it has all requests: each new batch size compiles for seconds
            for one in wanted:
                nursery.start_soon(ask, one)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(host.pid, signal.SIGCONT)
        below = {host.pid, *descendants(host.pid)}
    assert await_gone(below) == set()
    for one in wanted:
        pixels = torch.frombuffer(bytearray(drawn[one.prompt]), dtype=torch.uint8).reshape(64, 64, 3)
        assert (pixels.to(torch.int32) - draw_alone("z-image", one).pixels).abs().max() <= 1


async def test_settings_that_the_engine_reports_as_unusable_are_a_configuration_error(quick: Load) -> None:
    with pytest.raises(ConfigError, match=r"^image\.model: /nowhere does not exist$"):
        async with open_host(replaced(quick, model="/nowhere"), module=QUICK):
            pass


async def test_a_model_that_disappears_before_a_restart_is_a_backend_error(quick: Load) -> None:
    async def lose_the_model() -> None:
        async with open_host(quick, module=QUICK) as host:
            Path(quick.model).rmdir()  # noqa: ASYNC240 -- of an empty folder
            os.kill(host.pid, signal.SIGKILL)
            await trio.sleep_forever()

    with pytest.raises(BackendError, match=r"^image\.model: .* does not exist$"):
        await lose_the_model()


async def test_a_failed_device_is_a_one_line_error_without_a_traceback(
    quick: Load, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BackendError) as caught:
        await EngineHost(quick, module="tests.gems_actors.backends.diffusion.faulty_engine").run()
    assert str(caught.value) == (
        "the engine ended before it was ready, "
        "RuntimeError: CUDA error: device-side assert triggered Compile with TORCH_USE_CUDA_DSA"
    )
    assert capfd.readouterr().err == ""


async def test_an_engine_that_dies_before_it_is_ready_is_an_error(load: Load) -> None:
    async with open_background() as nursery:
        host = EngineHost(load)

        async def kill() -> None:
            await until(lambda: host.pid != 0)
            os.kill(host.pid, signal.SIGKILL)

        nursery.start_soon(kill)
        with pytest.raises(BackendError, match="the engine ended before it was ready, signal SIGKILL"):
            await host.run()
