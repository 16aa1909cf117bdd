"""An engine's process whose device fails at once: what no CPU does by itself."""

from __future__ import annotations

import sys

from gems_actors.backends.diffusion import engine_process
from gems_actors.backends.diffusion.engine_process import Link


def _fail(link: Link) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")


if __name__ == "__main__":
    engine_process._serve = _fail
    sys.exit(engine_process.main(int(sys.argv[1]), int(sys.argv[2])))
