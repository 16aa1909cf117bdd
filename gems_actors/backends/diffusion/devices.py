"""A CPU or GPU, and its streams of work: text and decoding run concurrently with denoising.

On a GPU, launching work returns at once, and a `Span` reports when the device has finished it. On a CPU, work finishes
while it is launched, so a span is done when its block ends.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Memory(NamedTuple):
    """Memory of a device, in bytes."""

    free: int
    total: int


class Span:
    """Work that was launched together."""

    def __init__(self) -> None:
        self._events: tuple[Any, Any] | None = None
        self._seconds = 0.0

    @property
    def is_done(self) -> bool:
        """Whether the device has finished the work."""
        return self._events is None or bool(self._events[1].query())

    @property
    def seconds(self) -> float:
        """Seconds that the device took; valid once the work is done."""
        return self._seconds if self._events is None else float(self._events[0].elapsed_time(self._events[1])) / 1000

    def wait(self) -> None:
        """Block until the work is done."""
        if self._events is not None:
            self._events[1].synchronize()

    def before_next(self) -> None:
        """Order work launched from now on after this span, without blocking the host."""
        if self._events is not None:
            torch.cuda.current_stream().wait_event(self._events[1])


class Device:
    """A CPU or one GPU."""

    def __init__(self, name: str) -> None:
        """Use a device that torch knows by this name, such as `cuda:0` or `cpu`."""
        self.torch_device = torch.device(name)
        self.is_gpu = self.torch_device.type == "cuda"
        if self.is_gpu:
            torch.cuda.set_device(self.torch_device)
            self._side_stream = torch.cuda.Stream(self.torch_device)

    @contextmanager
    def span(self, *, is_concurrent: bool = False) -> Iterator[Span]:
        """Time the work launched in the block; with `is_concurrent`, on a second stream that sees all earlier work."""
        span = Span()
        if not self.is_gpu:
            began = time.perf_counter()
            yield span
            span._seconds = time.perf_counter() - began
            return
        stream = torch.cuda.current_stream()
        if is_concurrent:
            self._side_stream.wait_stream(stream)
            stream = self._side_stream
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(stream):
            start.record()
            yield span
            end.record()
        span._events = start, end

    def seconds_of(self, work: Callable[[], object], repeats: int = 3) -> float:
        """Return the median seconds that some work takes, after one run to warm up."""
        seconds = []
        for _ in range(repeats + 1):
            with self.span() as span:
                work()
            span.wait()
            seconds.append(span.seconds)
        return statistics.median(seconds[1:])

    def to_host(self, pixels: Tensor) -> Tensor:
        """Launch the copy of a tensor to host memory; the copy is complete once the enclosing span is done."""
        if not self.is_gpu:
            return pixels.contiguous()
        host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
        return host.copy_(pixels, non_blocking=True)

    def settle(self) -> None:
        """Wait for all work and release cached memory, before retrying what did not fit."""
        if self.is_gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def memory(self) -> Memory:
        """Return the free and the total memory of the device."""
        if self.is_gpu:
            return Memory(*torch.cuda.mem_get_info(self.torch_device))
        page = os.sysconf("SC_PAGE_SIZE")
        return Memory(os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page)

    def peak_bytes(self) -> int:
        """Return the peak memory in use, in bytes; on a CPU that of the process."""
        if self.is_gpu:
            return int(torch.cuda.max_memory_allocated(self.torch_device))
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
