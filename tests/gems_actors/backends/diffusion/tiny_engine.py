"""An engine process whose tiny pipeline is built and not read: the model is the name of one in `tiny.BUILDERS`.

Qwen-Image 2.1's processor cannot be read without torchvision, which the tests do without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from gems_actors.backends.diffusion.engine_messages import Load
from gems_actors.backends.diffusion.engine_process import Link, main, serve


def _serve(link: Link) -> None:
    from gems_actors.backends.diffusion import loading
    from gems_actors.backends.diffusion.devices import Device
    from gems_actors.backends.diffusion.jobs import Pipeline
    from tests.gems_actors.backends.diffusion.tiny import BUILDERS

    def build(load: Load, device: Device, tell: Callable[[str], None]) -> Pipeline:
        return loading.wrap_pipeline(BUILDERS[load.model]())

    loading.load_pipeline = build
    serve(link)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), _serve))
