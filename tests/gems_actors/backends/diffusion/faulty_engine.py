"""An engine process whose device fails at once, which no CPU does by itself."""

from __future__ import annotations

import sys

from gems_actors.backends.diffusion.engine_process import Link, main


def _fail(link: Link) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), _fail))
