"""LiteLLM's proxy as a process, in an environment of its own, because its pins contradict ours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.gems_actors.cli.commands import environment
from tests.processes import started


@contextmanager
def open_litellm(folder: Path, models: Sequence[dict[str, Any]], *, key: str) -> Iterator[str]:
    """Start a proxy with a list of models and a key, and yield its address, which ends with /v1."""
    settings = {
        "model_list": models,
        "litellm_settings": {"num_retries": 0},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": key},
    }
    (folder / "proxy.yaml").write_text(json.dumps(settings))  # JSON is YAML
    port_file = folder / "port"
    python = Path(sys.prefix) / "litellm/bin/python"
    command = [str(python), "-c", _SERVE, str(folder / "proxy.yaml"), str(port_file)]
    env = environment(folder, LITELLM_LOCAL_MODEL_COST_MAP="True", NO_PROXY="127.0.0.1")
    with (folder / "log").open("wb") as log, started(command, env=env, stdout=log, stderr=subprocess.STDOUT) as process:
        with httpx.Client(trust_env=False) as client:
            while True:  # until it answers
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    url = f"http://127.0.0.1:{int(port_file.read_text())}"
                    client.get(f"{url}/health/liveliness", timeout=5.0).raise_for_status()
                    break
                except (OSError, ValueError, httpx.HTTPError):
                    time.sleep(0.1)  # it takes many seconds to start, and needs the processor
        yield f"{url}/v1"


_SERVE = """\
import os, socket, sys, uvicorn
os.environ["CONFIG_FILE_PATH"] = sys.argv[1]
from litellm.proxy.proxy_server import app
server = socket.create_server(("127.0.0.1", 0))
open(sys.argv[2], "w").write(str(server.getsockname()[1]))
uvicorn.Server(uvicorn.Config(app)).run(sockets=[server])
"""
