"""One device, and the queues of work on it: what is launched beside the denoising runs beside it.

On a GPU launching returns at once, and a `Span` tells when the device has done what was launched in it. A CPU does
everything while it is launched, so there a span is over when its block ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Memory(NamedTuple):
    """Of a device, in bytes."""

    free: int
    total: int


class Span:
    """Work that was launched together."""

    def __init__(self) -> None:
        self._events: tuple[Any, Any] | None = None
        self._seconds = 0.0

    @property
    def is_done(self) -> bool:
        """Whether the device has done it."""
        return self._events is None or bool(self._events[1].query())

    @property
    def seconds(self) -> float:
        """What the device took for it; only once it is done."""
        return self._seconds if self._events is None else float(self._events[0].elapsed_time(self._events[1])) / 1000

    def wait(self) -> None:
        """Return when it is done."""
        if self._events is not None:
            self._events[1].synchronize()

    def before_next(self) -> None:
        """Have the device begin what is launched from now on only after it, without waiting here."""
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
        """Launch what is in the block; beside what is launched outside, which it may use, where that is asked for."""
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

    def to_host(self, pixels: Tensor) -> Tensor:
        """Launch the copy of a tensor to the host's memory; whole once the span it is launched in is done."""
        if not self.is_gpu:
            return pixels.contiguous()
        host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
        return host.copy_(pixels, non_blocking=True)

    def settle(self) -> None:
        """Wait for everything and give back what is kept for reuse: before trying again what did not fit."""
        if self.is_gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def memory(self) -> Memory:
        """Return what of the device's memory is free, and how much there is."""
        if self.is_gpu:
            return Memory(*torch.cuda.mem_get_info(self.torch_device))
        page = os.sysconf("SC_PAGE_SIZE")
        return Memory(os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page)

    def peak_bytes(self) -> int:
        """Return the most memory that has been in use; on a CPU that of the process."""
        if self.is_gpu:
            return int(torch.cuda.max_memory_allocated(self.torch_device))
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
